//! Transfers of accounts that do not exist: honest ones, and frauds among them. MODEL.md says what is in them and why.
//!
//! The idea of a world with spending profiles, compromised customers and compromised payees is that of the simulator in
//! Le Borgne et al., Reproducible Machine Learning for Credit Card Fraud Detection (2022). Nothing gives a fraud away
//! by itself: no balance, no fixed factor, no amount that only frauds have.

use bank_features::{DAY_MS, HOUR_MS};

use crate::random::Random;

/// When the world begins: Monday, 2026-01-05, midnight UTC, in milliseconds since 1970.
pub const BEGIN_MS: i64 = 1_767_571_200_000;

/// Accounts that are only paid, as landlords and shops are, to one that pays.
const SHOPS_PER_ACCOUNT: f64 = 0.25;
/// Accounts that are taken over, of each account and day.
const TAKEOVERS: f64 = 0.0009;
/// Accounts that become mules, of each account and day.
const RECRUITS: f64 = 0.000_18;
/// For how many days an account is a mule.
const MULE_DAYS: i64 = 28;
/// How many customers a day are talked into paying a mule.
const SCAMS_PER_MULE_DAY: f64 = 0.4;
/// Honest transfers that are reported all the same.
const REPORTED_WRONGLY: f64 = 0.0002;
/// Frauds that nobody notices.
const UNNOTICED: f64 = 0.04;

/// A transfer, and what became known of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Transfer {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Who pays.
    pub payer: u32,
    /// Who is paid.
    pub payee: u32,
    /// In minor units.
    pub amount: i64,
    /// Whether it was reported as a fraud.
    pub is_fraud: bool,
}

/// How somebody spends.
#[derive(Debug)]
struct Customer {
    /// The median of the amounts, in minor units.
    typical: f64,
    /// Transfers a day.
    per_day: f64,
    /// Who is paid again and again.
    payees: Vec<u32>,
    /// From which day to which more is spent than usual, on others than usual: moving, holidays, a wedding.
    restless: Vec<(i64, i64)>,
}

/// An account that passes on what frauds bring in.
#[derive(Debug)]
struct Mule {
    account: u32,
    since_day: i64,
}

#[derive(Debug)]
struct World {
    random: Random,
    days: i64,
    accounts: u32,
    /// Shops included: their numbers come after the customers'.
    payees: u32,
    customers: Vec<Customer>,
    mules: Vec<Mule>,
    transfers: Vec<Transfer>,
}

/// The transfers of so many accounts in so many days, in their order: the same for the same seed.
pub fn generate(seed: u64, accounts: u32, days: u32) -> Vec<Transfer> {
    let mut world = World::new(seed, accounts, days);
    world.live();
    world.recruit();
    world.scam();
    world.take_over();
    world.mislabel();
    world.transfers.sort_unstable();
    world.transfers
}

impl World {
    fn new(seed: u64, accounts: u32, days: u32) -> Self {
        let shops = count(f64::from(accounts) * SHOPS_PER_ACCOUNT);
        let (random, days) = (Random::new(seed), i64::from(days));
        let mut world = Self {
            random,
            days,
            accounts,
            payees: accounts + shops,
            customers: Vec::new(),
            mules: Vec::new(),
            transfers: Vec::new(),
        };
        world.customers = (0..accounts).map(|_| world.customer()).collect();
        world
    }

    fn customer(&mut self) -> Customer {
        let typical = 4_000.0 * (0.8 * self.random.normal()).exp();
        let per_day = self.random.between(0.2, 2.2);
        let payees = 3 + self.random.below(10);
        let payees = (0..payees).map(|_| self.usual_payee()).collect();
        let spells = self.random.poisson(self.of_days(1.0 / 60.0));
        let restless = (0..spells).map(|_| {
            let first = self.any_day();
            (first, first + 4 + i64::from(self.random.below(7)))
        });
        let restless = restless.collect();
        Customer { typical, per_day, payees, restless }
    }

    /// Shops, mostly.
    fn usual_payee(&mut self) -> u32 {
        if self.random.hits(0.6) {
            self.accounts + self.random.below(self.payees - self.accounts)
        } else {
            self.random.below(self.accounts)
        }
    }

    fn any_day(&mut self) -> i64 {
        i64::from(self.random.below(u32::try_from(self.days).unwrap_or(u32::MAX)))
    }

    /// So much a day, of all days.
    fn of_days(&self, per_day: f64) -> f64 {
        per_day * f64::from(i32::try_from(self.days).unwrap_or(i32::MAX))
    }

    /// What customers do for themselves.
    fn live(&mut self) {
        let customers = std::mem::take(&mut self.customers);
        for (payer, customer) in (0..).zip(&customers) {
            for day in 0..self.days {
                let is_restless = customer.restless.iter().any(|(first, last)| (*first..=*last).contains(&day));
                let of_day = if day.rem_euclid(7) >= 5 { 0.8 } else { 1.05 };
                let pace = if is_restless { 2.5 } else { 1.0 };
                for _ in 0..self.random.poisson(customer.per_day * of_day * pace) {
                    self.pay(payer, customer, day, is_restless);
                }
            }
        }
        self.customers = customers;
    }

    fn pay(&mut self, payer: u32, customer: &Customer, day: i64, is_restless: bool) {
        let is_new = self.random.hits(if is_restless { 0.4 } else { 0.07 });
        let usual = if is_new { None } else { self.random.pick(&customer.payees).copied() };
        let payee = usual.unwrap_or_else(|| self.random.below(self.payees));
        let spread = (0.7 * self.random.normal()).exp();
        let more = match (self.random.hits(0.008), is_restless) {
            // The car, the kitchen.
            (true, _) => self.random.between(4.0, 12.0),
            (false, true) => self.random.between(1.0, 3.0),
            (false, false) => 1.0,
        };
        let hour = self.honest_hour();
        self.add((day, hour), payer, payee, customer.typical * spread * more, false);
    }

    /// Around one in the afternoon; a few sleep badly.
    fn honest_hour(&mut self) -> f64 {
        if self.random.hits(0.04) {
            return self.random.between(0.0, 24.0);
        }
        (13.0 + 4.0 * self.random.normal()).rem_euclid(24.0)
    }

    fn add(&mut self, (day, hour): (i64, f64), payer: u32, payee: u32, amount: f64, is_fraud: bool) {
        let at_ms = BEGIN_MS + day * DAY_MS + whole(hour * real_ms(HOUR_MS));
        // Nobody pays themself.
        let payee = if payee == payer { (payee + 1) % self.payees } else { payee };
        self.transfers.push(Transfer { at_ms, payer, payee, amount: whole(amount).max(1), is_fraud });
    }

    /// Some are mules already when the world begins.
    fn recruit(&mut self) {
        let mules = self.random.poisson_of(f64::from(self.accounts) * (self.of_days(1.0) + 28.0) * RECRUITS);
        for _ in 0..mules {
            let span = u32::try_from(self.days + MULE_DAYS).unwrap_or(u32::MAX);
            let since_day = i64::from(self.random.below(span)) - MULE_DAYS;
            let account = self.random.below(self.accounts);
            self.mules.push(Mule { account, since_day });
        }
    }

    /// Customers who are talked into paying a mule: from their own account, at their own hours, much as they pay others.
    fn scam(&mut self) {
        let mules = std::mem::take(&mut self.mules);
        for mule in &mules {
            for day in mule.since_day.max(0)..(mule.since_day + MULE_DAYS).min(self.days) {
                for _ in 0..self.random.poisson(SCAMS_PER_MULE_DAY) {
                    let payer = self.random.below(self.accounts);
                    let more = (0.5 + 0.6 * self.random.normal()).exp();
                    let amount = self.customers[payer as usize].typical * more;
                    let hour = self.honest_hour();
                    self.add((day, hour), payer, mule.account, amount, true);
                }
            }
        }
        self.mules = mules;
    }

    /// Accounts that somebody else got into: for one to three days, in quick sequence, at any hour, to mules where there
    /// are any, else to whom the customer never paid.
    fn take_over(&mut self) {
        let takeovers = self.random.poisson_of(f64::from(self.accounts) * self.of_days(TAKEOVERS));
        for _ in 0..takeovers {
            let (payer, first) = (self.random.below(self.accounts), self.any_day());
            for day in first..first + 1 + i64::from(self.random.below(3)) {
                self.plunder(payer, day);
            }
        }
    }

    fn plunder(&mut self, payer: u32, day: i64) {
        let typical = self.customers[payer as usize].typical;
        let mut hour = self.random.between(0.0, 24.0);
        for _ in 0..=self.random.poisson(2.2) {
            // First it is seen whether it works.
            let more = if self.random.hits(0.2) {
                self.random.between(0.05, 0.4)
            } else {
                self.random.between(0.5, 2.2).exp()
            };
            let is_active = |mule: &&Mule| (mule.since_day..mule.since_day + MULE_DAYS).contains(&day);
            let active: Vec<u32> = self.mules.iter().filter(is_active).map(|mule| mule.account).collect();
            let mule = if self.random.hits(0.55) { self.random.pick(&active).copied() } else { None };
            let payee = mule.unwrap_or_else(|| self.random.below(self.payees));
            self.add((day, hour), payer, payee, typical * more, true);
            hour += self.random.between(2.0, 50.0) / 60.0;
        }
    }

    /// Nobody's records are right about everything. And what is after the last day is not known yet.
    fn mislabel(&mut self) {
        let end_ms = BEGIN_MS + self.days * DAY_MS;
        self.transfers.retain(|transfer| transfer.at_ms < end_ms);
        for transfer in &mut self.transfers {
            let is_wrong = self.random.hits(if transfer.is_fraud { UNNOTICED } else { REPORTED_WRONGLY });
            transfer.is_fraud ^= is_wrong;
        }
    }
}

impl Random {
    /// As [`Random::poisson`], for larger means: in steps.
    fn poisson_of(&mut self, mut mean: f64) -> u32 {
        let mut count = 0;
        while mean > 1.0 {
            count += self.poisson(1.0);
            mean -= 1.0;
        }
        count + self.poisson(mean.max(0.0))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it saturates, and amounts and hours are far from that")]
fn whole(number: f64) -> i64 {
    number.round() as i64
}

fn real_ms(ms: i64) -> f64 {
    f64::from(i32::try_from(ms).unwrap_or(i32::MAX))
}

fn count(number: f64) -> u32 {
    u32::try_from(whole(number)).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use example_model::real;

    use super::*;

    #[test]
    fn a_seed_makes_one_world() {
        let of = |seed| generate(seed, 50, 30);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn transfers_are_in_order_and_within_bounds() {
        let transfers = generate(1, 200, 60);
        assert!(transfers.is_sorted());
        let within = BEGIN_MS..BEGIN_MS + 60 * DAY_MS;
        for transfer in &transfers {
            assert!(within.contains(&transfer.at_ms), "{transfer:?}");
            assert!(transfer.payer < 200 && transfer.payee < 250, "{transfer:?}");
            assert!(transfer.payer != transfer.payee && transfer.amount > 0, "{transfer:?}");
        }
    }

    /// As at banks: too rare for a model that says no to all to be called bad by its accuracy.
    #[test]
    fn frauds_are_as_rare_as_at_banks() {
        for seed in [1, 2, 3] {
            let transfers = generate(seed, 400, 140);
            let frauds = transfers.iter().filter(|transfer| transfer.is_fraud).count();
            let rate = real(frauds) / real(transfers.len());
            assert!((0.003..=0.008).contains(&rate), "seed {seed}: {rate}");
        }
    }
}
