//! The audit: every order that was acknowledged is there, and the bank moved exactly its money.

use std::net::SocketAddr;

use anyhow::Context as _;
use bowline_runtime::{task::JoinSet, time};
use example_load::{ASKED_AGAIN_MAX, Connection, Host, PAUSE};
use serde::Deserialize;

use crate::{
    SHOP,
    load::{Asked, Order, PRICE, Placed, Run},
};

/// The bank's sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) settled: u64,
    pub(crate) amount: u64,
}

/// How much of an item the shop has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct Stock {
    available: u64,
}

/// What is held against the orders: the bank's sums, and how many books there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Before {
    pub(crate) ledger: Ledger,
    pub(crate) books: u64,
}

/// The bank's host at the gateway.
const BANK: &str = "bank.localhost";

/// How many orders are asked for again, and looked up, at once.
const LOOKUPS: usize = 8;

/// A transfer as the bank shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Transfer {
    amount: u64,
    status: String,
}

/// What the audit found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    asked_again: usize,
    /// Orders that the shop says there are not.
    lost: Vec<String>,
    /// Orders that the shop shows otherwise than it acknowledged them.
    changed: Vec<String>,
    /// Orders of which the bank says something else than the shop.
    differing: Vec<String>,
    /// How many orders are paid, and what they cost.
    paid: (u64, u64),
    /// By how much the ledger grew, through whomever.
    ledger: (u64, u64),
    /// By how many books the stock fell, through whomever.
    books: u64,
}

/// The ledger and the stock now.
pub(crate) async fn look(gateway: SocketAddr) -> anyhow::Result<Before> {
    Ok(Before { ledger: ledger(gateway).await?, books: books(gateway).await? })
}

async fn books(gateway: SocketAddr) -> anyhow::Result<u64> {
    let shop = Host::new(gateway, SHOP);
    let found = shop.connect().find(&shop.get("/stock/book")).await?;
    let stock: Stock =
        serde_json::from_slice(&found.context("the shop sells no books")?).context("the stock cannot be read")?;
    Ok(stock.available)
}

async fn ledger(gateway: SocketAddr) -> anyhow::Result<Ledger> {
    let bank = Host::new(gateway, BANK);
    let body = bank.connect().insist(&bank.get("/ledger")).await?;
    serde_json::from_slice(&body).context("the bank's ledger cannot be read")
}

/// Asks again for what was not answered, then looks up every order of the run, in the shop and at
/// the bank.
///
/// What the bank did meanwhile for others, as for earlier orders that the shop finishes now, is
/// none of its business.
pub(crate) async fn audit(gateway: SocketAddr, before: Before, run: &Run) -> anyhow::Result<Verdict> {
    let mut placed = run.placed.clone();
    let mut asking = JoinSet::new();
    for share in run.unanswered.chunks(run.unanswered.len().div_ceil(LOOKUPS).max(1)) {
        asking.spawn(ask_all_again(gateway, share.to_vec()));
    }
    while let Some(share) = asking.join_next().await {
        placed.extend(share.context("asking again panicked")??);
    }
    let mut verdict = Verdict { asked_again: run.unanswered.len(), ..Verdict::default() };
    let mut lookups = JoinSet::new();
    for share in placed.chunks(placed.len().div_ceil(LOOKUPS).max(1)) {
        lookups.spawn(look_up(gateway, share.to_vec()));
    }
    while let Some(share) = lookups.join_next().await {
        let Verdict { lost, changed, differing, paid, .. } = share.context("a lookup panicked")??;
        verdict.lost.extend(lost);
        verdict.changed.extend(changed);
        verdict.differing.extend(differing);
        verdict.paid = (verdict.paid.0 + paid.0, verdict.paid.1 + paid.1);
    }
    let Before { ledger: after, books } = look(gateway).await?;
    verdict.books = before.books.checked_sub(books).context("the stock grew")?;
    let before = before.ledger;
    let grown = (after.settled.checked_sub(before.settled), after.amount.checked_sub(before.amount));
    let (Some(settled), Some(amount)) = grown else { anyhow::bail!("the bank's ledger shrank") };
    verdict.ledger = (settled, amount);
    Ok(verdict)
}

/// Holds orders against what the shop and the bank say of them now.
async fn look_up(gateway: SocketAddr, placed: Vec<Placed>) -> anyhow::Result<Verdict> {
    let (shop, bank, mut connection) = (Host::new(gateway, SHOP), Host::new(gateway, BANK), Connection::new(gateway));
    let mut verdict = Verdict::default();
    for Placed { customer, order } in placed {
        // An order is shown to whose it is.
        let request = customer.sign(shop.get(&format!("/orders/{}", order.id))).await?;
        match connection.find(&request).await? {
            None => verdict.lost.push(order.id.clone()),
            Some(body) if !serde_json::from_slice::<Order>(&body).is_ok_and(|kept| kept == order) => {
                verdict.changed.push(order.id.clone());
            }
            Some(_) => {}
        }
        let transfer = connection.find(&bank.get(&format!("/transfers/{}", order.id))).await?;
        let transfer = transfer.map(|body| serde_json::from_slice(&body)).transpose();
        if !is_equal(&order, transfer.context("a transfer cannot be read")?.as_ref()) {
            verdict.differing.push(order.id.clone());
        }
        if order.status == "paid" {
            verdict.paid = (verdict.paid.0 + 1, verdict.paid.1 + order.total);
        }
    }
    Ok(verdict)
}

/// Whether the bank did what the shop says: moved the total of a paid order, and nothing for a
/// declined or a cancelled one.
fn is_equal(order: &Order, transfer: Option<&Transfer>) -> bool {
    match (order.status.as_str(), transfer) {
        ("paid", Some(transfer)) => transfer.status == "settled" && transfer.amount == order.total,
        // A transfer that breaks the bank's rules is refused and not kept.
        ("declined", transfer) => transfer.is_none_or(|transfer| transfer.status == "declined"),
        // It was given up before it was charged, or what was charged was taken back.
        ("cancelled", transfer) => transfer.is_none_or(|transfer| transfer.status != "settled"),
        _ => false,
    }
}

async fn ask_all_again(gateway: SocketAddr, unanswered: Vec<Asked>) -> anyhow::Result<Vec<Placed>> {
    let shop = Host::new(gateway, SHOP);
    let (mut connection, mut placed) = (shop.connect(), Vec::new());
    for asked in &unanswered {
        placed.push(ask_again(&shop, &mut connection, asked).await?);
    }
    Ok(placed)
}

async fn ask_again(shop: &Host, connection: &mut Connection, asked: &Asked) -> anyhow::Result<Placed> {
    for _ in 0..ASKED_AGAIN_MAX {
        if let Ok((status, answer)) = asked.send(shop, connection).await
            && status == 201
        {
            return Ok(Placed { customer: asked.customer.clone(), order: serde_json::from_slice(&answer)? });
        }
        time::sleep(PAUSE).await;
    }
    let key = asked.key();
    anyhow::bail!("the order with the Idempotency-Key {key} is not answered, asked {ASKED_AGAIN_MAX} times again")
}

impl Verdict {
    /// Nothing is lost or changed, the bank says the same of every order, and its sums hold all of them.
    pub(crate) fn is_good(&self) -> bool {
        let is_in_ledger = self.paid.0 <= self.ledger.0 && self.paid.1 <= self.ledger.1;
        let is_from_stock = self.paid.1 / PRICE <= self.books;
        is_from_stock && self.lost.is_empty() && self.changed.is_empty() && self.differing.is_empty() && is_in_ledger
    }

    /// Prints it.
    #[expect(clippy::print_stdout, reason = "it is the program's answer, for people")]
    pub(crate) fn print(&self) {
        let Self { asked_again, lost, changed, differing, paid, ledger, books } = self;
        println!("audit");
        println!("  not placed at first, and asked again with the same Idempotency-Key: {asked_again}");
        println!("  acknowledged orders that are not there: {} {}", lost.len(), lost.join(" "));
        println!("  acknowledged orders that are something else now: {} {}", changed.len(), changed.join(" "));
        println!("  orders of which the bank says something else: {} {}", differing.len(), differing.join(" "));
        println!("  paid orders: {} for {}; the bank's ledger grew by {} for {}", paid.0, paid.1, ledger.0, ledger.1);
        println!("  books of the paid orders: {}; the stock fell by {books}", paid.1 / PRICE);
        println!(
            "  {}",
            if self.is_good() {
                "the bank moved exactly the paid orders' money, and the stock fell by what they took"
            } else {
                "THE AUDIT FOUND A DIFFERENCE"
            }
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use bowline_testkit::{Answer, HttpServer};

    use super::*;
    use crate::customers::Customers;

    /// A shop and a bank: `paid` cost 5 and was moved, `unmoved` never was, `lost` is not there, `changed` cost 5 and
    /// costs 4 now. An order is shown to the one customer there is; the first look at any comes too soon, and the second
    /// meets a failure.
    fn gateway() -> HttpServer {
        let looks = AtomicUsize::new(0);
        HttpServer::start(move |request| {
            let is_signed = request.headers.get("authorization").is_some_and(|value| value == "Bearer t");
            let (status, body) =
                match &*request.path {
                    "/login" => (200, r#"{"access_token":"t","expires_in":3600}"#),
                    path if path.starts_with("/orders") && !is_signed => (401, "{}"),
                    path if path.starts_with("/orders/") && looks.load(Relaxed) < 2 => {
                        if looks.fetch_add(1, Relaxed) == 0 { (429, "{}") } else { (500, "{}") }
                    }
                    "/orders/changed" => (200, r#"{"id":"changed","total":4,"status":"paid"}"#),
                    "/orders" => (201, r#"{"id":"paid","total":5,"status":"paid"}"#),
                    "/orders/paid" => (200, r#"{"id":"paid","total":5,"status":"paid"}"#),
                    "/orders/unmoved" => (200, r#"{"id":"unmoved","total":5,"status":"paid"}"#),
                    "/transfers/paid" | "/transfers/lost" | "/transfers/changed" => {
                        (200, r#"{"amount":5,"status":"settled"}"#)
                    }
                    "/stock/book" => (200, r#"{"sku":"book","available":10}"#),
                    "/ledger" => (200, r#"{"settled":9,"amount":900}"#),
                    _ => (404, "{}"),
                };
            Answer::Status(status, body.to_owned())
        })
    }

    async fn audit_of(ids: &[&str], before: Ledger) -> Verdict {
        let gateway = gateway();
        let customer = Customers::sign_in(&Host::new(gateway.addr(), SHOP), 1).await.unwrap().next();
        let placed = |id: &&str| {
            let order = Order { id: (*id).to_owned(), total: 5, status: "paid".to_owned() };
            Placed { customer: customer.clone(), order }
        };
        let mut run = Run::empty();
        run.placed = ids.iter().map(placed).collect();
        audit(gateway.addr(), Before { ledger: before, books: 10 }, &run).await.unwrap()
    }

    #[tokio::test]
    async fn what_was_not_answered_is_asked_again_in_its_customers_name() {
        let gateway = gateway();
        let customer = Customers::sign_in(&Host::new(gateway.addr(), SHOP), 1).await.unwrap().next();
        let mut run = Run::empty();
        run.unanswered.push(Asked::new(Arc::clone(&customer), "k1".to_owned()));
        let verdict =
            audit(gateway.addr(), Before { ledger: Ledger { settled: 0, amount: 0 }, books: 10 }, &run).await.unwrap();
        assert!(verdict.is_good(), "{verdict:?}");
        assert_eq!((verdict.asked_again, verdict.paid), (1, (1, 5)));
        let requests = gateway.requests();
        let asked = requests.iter().find(|request| request.path == "/orders").unwrap();
        let header = |name| asked.headers.get(name).map(String::as_str);
        assert_eq!((header("idempotency-key"), header("authorization")), (Some("k1"), Some("Bearer t")));
        let body: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
        assert_eq!(body["user_id"], "u-load-0");
    }

    #[tokio::test]
    async fn transfers_of_others_do_not_matter() {
        // The ledger grew by nine transfers, of which one is the run's.
        let verdict = audit_of(&["paid"], Ledger { settled: 0, amount: 0 }).await;
        assert!(verdict.is_good(), "{verdict:?}");
        assert_eq!((verdict.paid, verdict.ledger), ((1, 5), (9, 900)));
    }

    #[tokio::test]
    async fn lost_and_unmoved_orders_and_a_ledger_too_small_are_found() {
        let verdict = audit_of(&["paid", "unmoved", "lost"], Ledger { settled: 0, amount: 0 }).await;
        assert_eq!(
            (verdict.lost.as_slice(), verdict.differing.as_slice()),
            (&["lost".to_owned()][..], &["unmoved".to_owned()][..])
        );
        assert!(!verdict.is_good());
        let verdict = audit_of(&["paid", "changed"], Ledger { settled: 0, amount: 0 }).await;
        assert_eq!((verdict.lost.len(), verdict.changed.as_slice()), (0, &["changed".to_owned()][..]));
        assert!(!verdict.is_good());
        assert!(!audit_of(&["paid"], Ledger { settled: 9, amount: 900 }).await.is_good());
    }

    #[test]
    fn the_bank_must_say_what_the_shop_says() {
        let order = |status: &str| Order { id: "o".to_owned(), total: 5, status: status.to_owned() };
        let transfer = |amount, status: &str| Some(Transfer { amount, status: status.to_owned() });
        for (status, transfer, expected) in [
            ("paid", transfer(5, "settled"), true),
            ("paid", transfer(4, "settled"), false),
            ("paid", transfer(5, "declined"), false),
            ("paid", None, false),
            ("declined", transfer(5, "declined"), true),
            ("declined", None, true),
            ("declined", transfer(5, "settled"), false),
            ("cancelled", None, true),
            ("cancelled", transfer(5, "reversed"), true),
            ("cancelled", transfer(5, "settled"), false),
            ("placed", transfer(5, "settled"), false),
        ] {
            assert_eq!(is_equal(&order(status), transfer.as_ref()), expected, "{status} {transfer:?}");
        }
    }
}
