//! The audit: every transfer has ended in one state, and every account has exactly what that leaves it.

use std::collections::BTreeMap;

use anyhow::Context as _;
use bowline_runtime::{task::JoinSet, time};
use example_load::{ASKED_AGAIN_MAX, Host, PAUSE};
use serde::Deserialize;

use crate::{
    accounts::{self, Account, Accounts, DEPOSIT},
    load::{Answered, Asked, Run, Transfer},
};

/// How many transfers are asked for again, and looked up, at once.
const LOOKUPS: usize = 16;

/// How a transfer may end.
const ENDS: [&str; 3] = ["settled", "declined", "failed"];

/// The bank's own judgement of its ledger.
#[derive(Debug, Deserialize)]
struct Ledger {
    balanced: bool,
}

/// What the audit found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    asked_again: usize,
    looked_up: usize,
    /// Transfers that are something else than they were acknowledged as, or have no end.
    changed: Vec<String>,
    /// Keys that were used twice, and those of them that named two transfers.
    repeated: u64,
    torn: Vec<String>,
    /// Accounts that have something else than the transfers leave them, or something still held.
    differing: Vec<String>,
    /// Accounts below what they may be.
    overdrawn: Vec<String>,
    /// What the accounts had at the beginning, and have now.
    sums: (i64, i64),
    is_balanced: bool,
}

/// Asks again for what was not answered, looks up every transfer of the run, then every account.
///
/// The accounts are the run's own: what the bank does meanwhile for others is none of its business.
pub(crate) async fn audit(bank: &Host, accounts: &Accounts, run: &Run) -> anyhow::Result<Verdict> {
    let mut ended = run.ended.clone();
    let mut asking = JoinSet::new();
    for share in run.unanswered.chunks(run.unanswered.len().div_ceil(LOOKUPS).max(1)) {
        asking.spawn(ask_all_again(bank.clone(), share.to_vec()));
    }
    while let Some(share) = asking.join_next().await {
        ended.extend(share.context("asking again panicked")??);
    }
    let mut verdict = Verdict {
        asked_again: run.unanswered.len(),
        looked_up: ended.len(),
        repeated: run.repeated,
        torn: run.torn.clone(),
        ..Verdict::default()
    };
    let mut lookups = JoinSet::new();
    for share in ended.chunks(ended.len().div_ceil(LOOKUPS).max(1)) {
        lookups.spawn(look_up(bank.clone(), share.to_vec()));
    }
    while let Some(share) = lookups.join_next().await {
        verdict.changed.extend(share.context("a lookup panicked")??);
    }
    let mut connection = bank.connect();
    let expected = balances(accounts, &ended);
    for (id, balance) in &expected {
        verdict.take(*balance, &accounts::look(bank, &mut connection, id).await?);
    }
    let ledger = connection.insist(&bank.get("/ledger")).await?;
    let ledger: Ledger = serde_json::from_slice(&ledger).context("the ledger cannot be read")?;
    verdict.is_balanced = ledger.balanced;
    Ok(verdict)
}

/// What each account has, where every settled transfer moved its money once, and nothing else did.
fn balances(accounts: &Accounts, ended: &[Transfer]) -> BTreeMap<String, i64> {
    let mut balances: BTreeMap<String, i64> = accounts.0.iter().map(|id| (id.clone(), DEPOSIT)).collect();
    for transfer in ended.iter().filter(|transfer| transfer.state == "settled") {
        *balances.entry(transfer.from.clone()).or_default() -= transfer.amount;
        *balances.entry(transfer.to.clone()).or_default() += transfer.amount;
    }
    balances
}

/// Holds transfers against what the bank says of them now; those that are something else.
async fn look_up(bank: Host, ended: Vec<Transfer>) -> anyhow::Result<Vec<String>> {
    let (mut connection, mut changed) = (bank.connect(), Vec::new());
    for transfer in ended {
        let shown = connection.insist(&bank.get(&format!("/transfers/{}", transfer.id))).await?;
        let has_end = ENDS.contains(&transfer.state.as_str());
        if !has_end || !serde_json::from_slice::<Transfer>(&shown).is_ok_and(|shown| shown == transfer) {
            changed.push(transfer.id);
        }
    }
    Ok(changed)
}

async fn ask_all_again(bank: Host, unanswered: Vec<Asked>) -> anyhow::Result<Vec<Transfer>> {
    let mut ended = Vec::new();
    for asked in &unanswered {
        ended.push(ask_again(&bank, asked).await?);
    }
    Ok(ended)
}

async fn ask_again(bank: &Host, asked: &Asked) -> anyhow::Result<Transfer> {
    let (mut connection, mut last) = (bank.connect(), None);
    for _ in 0..ASKED_AGAIN_MAX {
        match asked.send(bank, &mut connection).await {
            Answered::Ended(transfer) => return Ok(transfer),
            other => last = Some(other),
        }
        time::sleep(PAUSE).await;
    }
    let key = &asked.key;
    anyhow::bail!("the transfer with the Idempotency-Key {key} does not end, asked {ASKED_AGAIN_MAX} times: {last:?}")
}

impl Verdict {
    /// Takes in one account.
    fn take(&mut self, expected: i64, account: &Account) {
        let Account { id, balance, held, credit_limit } = account;
        if *balance != expected || *held != 0 {
            self.differing.push(format!("{id} ({balance}, held {held}, not {expected})"));
        }
        if *balance < -credit_limit {
            self.overdrawn.push(id.clone());
        }
        self.sums = (self.sums.0 + DEPOSIT, self.sums.1 + balance);
    }

    /// Every transfer ended once, and the money is where it should be.
    pub(crate) fn is_good(&self) -> bool {
        let Self { changed, torn, differing, overdrawn, .. } = self;
        let is_one = [changed, torn, differing, overdrawn].iter().all(|found| found.is_empty());
        is_one && self.sums.0 == self.sums.1 && self.is_balanced
    }

    /// Prints it.
    #[expect(clippy::print_stdout, reason = "it is the program's answer, for people")]
    pub(crate) fn print(&self) {
        let Self { asked_again, looked_up, changed, repeated, torn, differing, overdrawn, sums, is_balanced } = self;
        println!("audit");
        println!("  not answered at first, and asked again with the same Idempotency-Key: {asked_again}");
        println!("  transfers that have ended: {looked_up}");
        println!("  of them, that are something else now: {} {}", changed.len(), changed.join(" "));
        println!("  keys used twice at once: {repeated}; that named two transfers: {} {}", torn.len(), torn.join(" "));
        println!("  accounts that do not have what the transfers leave: {} {}", differing.len(), differing.join(" "));
        println!("  accounts below their limit: {} {}", overdrawn.len(), overdrawn.join(" "));
        println!("  all accounts together: {} at first, {} now", sums.0, sums.1);
        println!("  the bank's ledger is balanced: {}", if *is_balanced { "yes" } else { "NO" });
        println!(
            "  {}",
            if self.is_good() {
                "every transfer ended once, and the money is where it should be"
            } else {
                "THE AUDIT FOUND A DIFFERENCE"
            }
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use bowline_testkit::{Answer, HttpServer};

    use super::*;
    use crate::BANK;

    /// A bank with the accounts `a-1`, which paid 5 to `a-2`, and `a-3`, which is below its limit; the first look at
    /// any transfer comes too soon, and the second meets a failure.
    fn gateway() -> HttpServer {
        let looks = AtomicUsize::new(0);
        HttpServer::start(move |request| {
            let is_known = request.headers.get("x-api-key").is_some_and(|key| key == "teller-key");
            let settled = r#"{"id":"t-1","from":"a-1","to":"a-2","amount":5,"currency":"EUR","state":"settled"}"#;
            let account = |id: &str, balance: i64, held: i64| {
                format!(r#"{{"id":"{id}","balance":{balance},"held":{held},"available":0,"credit_limit":10}}"#)
            };
            let (status, body) = match &*request.path {
                _ if !is_known => (401, "{}".to_owned()),
                path if path.starts_with("/transfers/") && looks.load(Relaxed) < 2 => {
                    (if looks.fetch_add(1, Relaxed) == 0 { 429 } else { 500 }, "{}".to_owned())
                }
                "/transfers" | "/transfers/t-1" => (200, settled.to_owned()),
                "/transfers/t-2" => (200, settled.replace("t-1", "t-2").replace("settled", "pending")),
                "/accounts/a-1" => (200, account("a-1", DEPOSIT - 5, 0)),
                "/accounts/a-2" => (200, account("a-2", DEPOSIT + 5, 0)),
                "/accounts/a-3" => (200, account("a-3", -11, 0)),
                "/ledger" => (200, r#"{"balanced":true,"currencies":[]}"#.to_owned()),
                _ => (404, "{}".to_owned()),
            };
            Answer::Status(status, body)
        })
    }

    fn bank(gateway: &HttpServer, key: &str) -> Host {
        Host::new(gateway.addr(), BANK).with_key(key).unwrap()
    }

    fn accounts(ids: &[&str]) -> Accounts {
        Accounts(ids.iter().map(|id| (*id).to_owned()).collect())
    }

    fn transfer(id: &str, state: &str) -> Transfer {
        let (from, to) = ("a-1".to_owned(), "a-2".to_owned());
        Transfer { id: id.to_owned(), from, to, amount: 5, state: state.to_owned() }
    }

    async fn audit_of(ids: &[&str], run: &Run) -> anyhow::Result<Verdict> {
        let gateway = gateway();
        audit(&bank(&gateway, "teller-key"), &accounts(ids), run).await
    }

    #[tokio::test]
    async fn what_ended_and_moved_its_money_once_is_good() {
        let mut run = Run::empty();
        run.ended.push(transfer("t-1", "settled"));
        let verdict = audit_of(&["a-1", "a-2"], &run).await.unwrap();
        assert!(verdict.is_good(), "{verdict:?}");
        assert_eq!(verdict.sums, (2 * DEPOSIT, 2 * DEPOSIT));
        // A key that named two.
        run.torn.push("k1".to_owned());
        assert!(!audit_of(&["a-1", "a-2"], &run).await.unwrap().is_good());
    }

    #[tokio::test]
    async fn what_was_not_answered_is_asked_again() {
        let mut run = Run::empty();
        run.unanswered.push(Asked::new(&accounts(&["a-1", "a-2"]), 5, "k1".to_owned()));
        let verdict = audit_of(&["a-1", "a-2"], &run).await.unwrap();
        assert!(verdict.is_good(), "{verdict:?}");
        assert_eq!((verdict.asked_again, verdict.looked_up), (1, 1));
    }

    #[tokio::test]
    async fn money_moved_twice_or_not_at_all_is_found() {
        // Acknowledged as moved once, and twice: the accounts say once.
        let mut run = Run::empty();
        let verdict = audit_of(&["a-1", "a-2"], &run).await.unwrap();
        assert_eq!((verdict.differing.len(), verdict.is_good()), (2, false), "{verdict:?}");
        run.ended = vec![transfer("t-1", "settled"), transfer("t-1", "settled")];
        let verdict = audit_of(&["a-1", "a-2"], &run).await.unwrap();
        assert_eq!((verdict.differing.len(), verdict.is_good()), (2, false), "{verdict:?}");
    }

    #[tokio::test]
    async fn transfers_that_changed_or_never_end_and_accounts_below_their_limit_are_found() {
        let mut run = Run::empty();
        run.ended = vec![transfer("t-1", "declined"), transfer("t-2", "pending")];
        let verdict = audit_of(&["a-3"], &run).await.unwrap();
        let mut changed = verdict.changed.clone();
        changed.sort();
        assert_eq!(
            (changed, verdict.overdrawn.as_slice()),
            (vec!["t-1".to_owned(), "t-2".to_owned()], &["a-3".to_owned()][..])
        );
        assert!(!verdict.is_good() && verdict.sums.0 != verdict.sums.1);
    }

    #[tokio::test]
    async fn what_nobody_may_see_ends_the_program() {
        let gateway = gateway();
        let bank = bank(&gateway, "another-key");
        let error = audit(&bank, &accounts(&["a-1"]), &Run::empty()).await.unwrap_err();
        assert!(error.to_string().contains("/accounts/a-1 answered 401"), "{error:#}");
    }
}
