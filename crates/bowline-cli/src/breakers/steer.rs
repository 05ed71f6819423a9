//! Orders to breakers: into the document `bowline/traffic`, and waiting until those who hold them act by it.

use std::{io::Write as _, process::ExitCode, time::Duration};

use anyhow::{anyhow, bail};
use bowline_model::{
    InstanceId,
    mesh::{BREAKER_ORDERS_MAX, BreakerCommand, BreakerOrder, Caller},
    suggest, units,
};
use bowline_provider_remote::wire::{BreakerList, HeldBreakers, MissingHolder};
use bowline_runtime::time;

use super::{ask, told_missing};
use crate::{
    FAILED, api,
    args::{BreakersHold, BreakersReset, Name, Output, Query},
    style, traffic,
};

/// How long those who hold breakers have to say that they act by an order.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(5);
/// How often they are asked.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long a reset is told: whoever hears of it later does not do it.
const RESET_TOLD_FOR: Duration = Duration::from_mins(1);

/// Who holds the breakers that were ordered something, and whether they act by it.
#[derive(Debug, Default, serde::Serialize)]
struct Outcome {
    confirmed: Vec<String>,
    unconfirmed: Vec<String>,
    missing: Vec<MissingHolder>,
}

/// Has breakers be held in a state.
pub(super) async fn hold(hold: BreakersHold, order: BreakerCommand) -> anyhow::Result<ExitCode> {
    let BreakersHold { name, lasts, query } = hold;
    let found = find(&name, &query).await?;
    let order = name.order(order, lasts);
    traffic::change(&query, &order.in_words(&name.callee), |traffic| {
        let orders = &mut traffic.steering.entry(name.callee.clone()).or_default().breakers;
        name.take_out(orders);
        push(orders, &order)
    })
    .await?;
    let lasts = lasts.map_or_else(String::new, |lasts| format!(", for {}", units::format_duration(lasts)));
    tell(&name, &order, &lasts, &confirmed(&name, &order, &found, &query).await?, &query)
}

/// Has breakers judge for themselves again.
pub(super) async fn reset(reset: BreakersReset) -> anyhow::Result<ExitCode> {
    let BreakersReset { name, query } = reset;
    let found = find(&name, &query).await?;
    let order = name.order(BreakerCommand::Reset, Some(RESET_TOLD_FOR));
    let left = traffic::change(&query, &order.in_words(&name.callee), |traffic| {
        let orders = &mut traffic.steering.entry(name.callee.clone()).or_default().breakers;
        name.take_out(orders);
        let left: Vec<BreakerOrder> = orders.iter().filter(|left| name.is_held_by(left)).cloned().collect();
        if let Some(wider) = left.iter().find(|left| left.instance.is_none()) {
            let subject = wider.subject(&name.callee);
            bail!("{}: `bowline breakers reset {subject}` ends that", wider.in_words(&name.callee));
        }
        push(orders, &order)?;
        Ok(left)
    })
    .await?;
    for left in left {
        let note = format!("note: {} still", left.in_words(&name.callee));
        let _closed = writeln!(std::io::stderr(), "{}", style::plain(&note));
    }
    tell(&name, &order, "", &confirmed(&name, &order, &found, &query).await?, &query)
}

fn push(orders: &mut Vec<BreakerOrder>, order: &BreakerOrder) -> anyhow::Result<()> {
    if orders.len() >= BREAKER_ORDERS_MAX {
        bail!("there are {BREAKER_ORDERS_MAX} orders about its breakers already: reset some");
    }
    orders.push(order.clone());
    Ok(())
}

/// What there is, of which some has that name.
async fn find(name: &Name, query: &Query) -> anyhow::Result<BreakerList> {
    let found = ask(query).await?;
    if found.calls.iter().any(|call| name.has(call)) || found.missing.iter().any(|missing| name.may_be_of(missing)) {
        return Ok(found);
    }
    Err(unknown(name, &found))
}

/// That no breaker has that name, and which have near ones.
fn unknown(name: &Name, found: &BreakerList) -> anyhow::Error {
    let wanted = name.to_string();
    if let Some(call) = found.calls.iter().find(|call| name.is_call(call) && !call.is_guarded) {
        return anyhow!("{}->{} has no breaker: its policy has none", call.called_by().shown(), call.callee);
    }
    let mut known: Vec<String> = found.calls.iter().flat_map(|call| names(call, name)).collect();
    known.sort();
    known.dedup();
    let near = suggest::nearest(&wanted, known.iter().map(String::as_str));
    let what_to_do = match (near, known.as_slice()) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, []) => "nobody holds any".to_owned(),
        (None, _) => "`bowline breakers` lists those there are".to_owned(),
    };
    anyhow!("no breaker is called `{wanted}`: {what_to_do}")
}

/// What could be written for a call, in the form of that name.
fn names(call: &HeldBreakers, like: &Name) -> Vec<String> {
    let caller = match like.caller {
        Some(_) => format!("{}->", call.called_by().shown()),
        None => String::new(),
    };
    match like.instance {
        Some(_) => call.breakers.iter().map(|one| format!("{caller}{}@{}", call.callee, one.instance)).collect(),
        None => vec![format!("{caller}{}", call.callee)],
    }
}

/// Waits until all who hold the breakers act by an order.
async fn confirmed(name: &Name, order: &BreakerOrder, found: &BreakerList, query: &Query) -> anyhow::Result<Outcome> {
    let until = time::now() + CONFIRMED_WITHIN;
    let mut now = found.clone();
    loop {
        let mut outcome = Outcome::default();
        for call in now.calls.iter().filter(|call| name.has(call)) {
            let is_confirmed = call.orders.contains(order);
            let list = if is_confirmed { &mut outcome.confirmed } else { &mut outcome.unconfirmed };
            list.push(holder(call));
        }
        outcome.missing = now.missing.iter().filter(|missing| name.may_be_of(missing)).cloned().collect();
        if outcome.unconfirmed.is_empty() || time::now() >= until {
            return Ok(outcome);
        }
        time::sleep(ASK_EVERY).await;
        now = ask(query).await?;
    }
}

fn holder(call: &HeldBreakers) -> String {
    match &call.route {
        Some(route) => format!("{} (route {route})", call.holder),
        None => call.holder.to_string(),
    }
}

fn tell(name: &Name, order: &BreakerOrder, lasts: &str, outcome: &Outcome, query: &Query) -> anyhow::Result<ExitCode> {
    let is_done = outcome.unconfirmed.is_empty() && outcome.missing.is_empty();
    match query.output {
        Output::Json => {
            let Outcome { confirmed, unconfirmed, missing } = outcome;
            api::print_json(&serde_json::json!({
                "name": name.to_string(), "order": order, "confirmed": confirmed, "unconfirmed": unconfirmed,
                "missing": missing,
            }))?;
        }
        Output::Text => {
            style::line(&style::plain(&format!("{}{lasts}", order.in_words(&name.callee))));
            for holder in &outcome.confirmed {
                style::line(&style::plain(&format!("  {holder} confirmed")));
            }
            let within = units::format_duration(CONFIRMED_WITHIN);
            for holder in &outcome.unconfirmed {
                style::line(&style::plain(&format!("  {holder} did not confirm within {within}")));
            }
            for missing in &outcome.missing {
                style::line(&format!("  {}", told_missing(missing)));
            }
        }
    }
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

impl Name {
    fn order(&self, order: BreakerCommand, lasts: Option<Duration>) -> BreakerOrder {
        let millis = |lasts: Duration| u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        let until_unix_ms = lasts.map(|lasts| time::unix_millis_now().saturating_add(millis(lasts)));
        BreakerOrder { caller: self.caller.clone(), instance: self.instance.clone(), order, until_unix_ms }
    }

    /// Whether it is that of breakers that guard a call.
    fn has(&self, call: &HeldBreakers) -> bool {
        let is_there = |instance: &InstanceId| call.breakers.iter().any(|breaker| breaker.instance == *instance);
        call.is_guarded && self.is_call(call) && self.instance.as_ref().is_none_or(is_there)
    }

    fn is_call(&self, call: &HeldBreakers) -> bool {
        call.callee == self.callee && covers(self.caller.as_ref(), Some(&call.called_by()))
    }

    /// Whether somebody who does not tell may hold some of them.
    fn may_be_of(&self, missing: &MissingHolder) -> bool {
        match &self.caller {
            None => true,
            Some(Caller::Service(service)) => missing.caller == *service,
            Some(Caller::Gateway | Caller::Route(_)) => missing.caller.as_str() == "gateway",
        }
    }

    /// Takes out the orders that are about them alone: the next one takes their place.
    fn take_out(&self, orders: &mut Vec<BreakerOrder>) {
        let is_within = |order: &BreakerOrder| {
            covers(self.caller.as_ref(), order.caller.as_ref())
                && (self.instance.is_none() || self.instance == order.instance)
        };
        orders.retain(|order| !is_within(order));
    }

    /// Whether an order holds some of them.
    fn is_held_by(&self, order: &BreakerOrder) -> bool {
        let (own, others) = (self.caller.as_ref(), order.caller.as_ref());
        let is_about = covers(own, others) || covers(others, own);
        let is_of = self.instance.as_ref().is_none_or(|instance| order.is_of(instance));
        order.order != BreakerCommand::Reset && is_about && is_of
    }
}

/// Whether whoever is named first is everybody who is named second.
fn covers(all: Option<&Caller>, some: Option<&Caller>) -> bool {
    match (all, some) {
        (None, _) | (Some(Caller::Gateway), Some(Caller::Gateway | Caller::Route(_))) => true,
        (all, some) => all == some,
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.order(BreakerCommand::Reset, None).subject(&self.callee))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::found, *};

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check_held(name: &str, expect: &[&str]) {
        let name = self::name(name);
        let found = found();
        let held: Vec<String> = found.calls.iter().filter(|call| name.has(call)).map(holder).collect();
        assert_eq!(held, expect);
    }

    #[test]
    fn a_name_is_that_of_every_breaker_that_it_is_about() {
        check_held("payment", &["gateway-1 (route charges)", "order-1", "order-2", "user-1"]);
        check_held("order->payment", &["order-1", "order-2"]);
        check_held("gateway->payment", &["gateway-1 (route charges)"]);
        check_held("route:charges->payment@payment-2", &["gateway-1 (route charges)"]);
        check_held("payment@payment-3", &[]);
        check_held("web->payment", &[]);
    }

    #[test]
    fn unknown_names_are_told_with_near_ones() {
        let told = |text: &str| unknown(&name(text), &found()).to_string();
        assert_eq!(told("oder->payment"), "no breaker is called `oder->payment`: did you mean `order->payment`?");
        assert_eq!(told("paymnt"), "no breaker is called `paymnt`: did you mean `payment`?");
        assert!(told("order->payment@payment-3").contains("did you mean `order->payment@payment-"));
        assert!(told("something-else").ends_with("`bowline breakers` lists those there are"));
        assert_eq!(told("web->payment"), "web->payment has no breaker: its policy has none");
        assert!(unknown(&name("a"), &BreakerList::default()).to_string().ends_with("nobody holds any"));
    }

    /// An order about each; of which stay beside one about `own`, and of which of these hold some of its breakers.
    #[track_caller]
    fn check_left(own: &str, left: &[&str], holding: &[&str]) {
        const ALL: [&str; 6] =
            ["payment", "payment@p-1", "order->payment", "order->payment@p-1", "gateway->payment", "route:a->payment"];
        let own = name(own);
        let mut orders: Vec<_> = ALL.iter().map(|text| name(text).order(BreakerCommand::Open, None)).collect();
        let subjects = |orders: &[BreakerOrder]| -> Vec<String> {
            orders.iter().map(|order| order.subject(&own.callee)).collect()
        };
        own.take_out(&mut orders);
        assert_eq!(subjects(&orders), left, "{own}");
        orders.retain(|order| own.is_held_by(order));
        assert_eq!(subjects(&orders), holding, "{own}");
    }

    #[test]
    fn an_order_takes_the_place_of_those_that_are_no_wider() {
        let [all, one, of_order] = ["payment", "payment@p-1", "order->payment"];
        let [of_one, gateway, route] = ["order->payment@p-1", "gateway->payment", "route:a->payment"];
        check_left(all, &[], &[]);
        check_left(one, &[all, of_order, gateway, route], &[all, of_order, gateway, route]);
        check_left(of_order, &[all, one, gateway, route], &[all, one]);
        check_left(gateway, &[all, one, of_order, of_one], &[all, one]);
        check_left(route, &[all, one, of_order, of_one, gateway], &[all, one, gateway]);
    }
}
