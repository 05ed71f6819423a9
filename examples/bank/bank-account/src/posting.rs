//! Double entry: what is posted moves money and makes none.

use std::collections::{BTreeMap, BTreeSet};

use crate::account::Currency;

/// What a transaction of the ledger does to one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leg {
    pub(crate) account: String,
    /// Above nothing: the account gets it; below: it pays it.
    pub(crate) amount: i64,
    pub(crate) currency: Currency,
}

/// Why a transaction is posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Deposit,
    Transfer,
}

impl Kind {
    /// As it is written.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Deposit => "deposit",
            Self::Transfer => "transfer",
        }
    }
}

/// A transaction of the ledger, whose legs sum to nothing in each currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Posting {
    kind: Kind,
    reference: String,
    legs: Vec<Leg>,
}

/// Why legs are no posting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unbalanced {
    #[error("the legs in {} do not sum to nothing", .0.as_str())]
    Sum(Currency),
    #[error("a leg moves nothing")]
    Nothing,
    #[error("an account has two legs")]
    Twice,
    #[error("there are no legs")]
    NoLegs,
}

impl Posting {
    /// A posting of these legs.
    pub(crate) fn new(kind: Kind, reference: &str, legs: Vec<Leg>) -> Result<Self, Unbalanced> {
        let mut sums: BTreeMap<Currency, i128> = BTreeMap::new();
        let mut accounts = BTreeSet::new();
        for leg in &legs {
            if leg.amount == 0 {
                return Err(Unbalanced::Nothing);
            }
            if !accounts.insert(&leg.account) {
                return Err(Unbalanced::Twice);
            }
            *sums.entry(leg.currency).or_default() += i128::from(leg.amount);
        }
        match sums.iter().find(|(_, sum)| **sum != 0) {
            Some((currency, _)) => Err(Unbalanced::Sum(*currency)),
            None if legs.is_empty() => Err(Unbalanced::NoLegs),
            None => Ok(Self { kind, reference: reference.to_owned(), legs }),
        }
    }

    /// A posting that moves an amount from one account to another.
    pub(crate) fn moving(
        kind: Kind,
        reference: &str,
        (from, to): (&str, &str),
        amount: i64,
        currency: Currency,
    ) -> Result<Self, Unbalanced> {
        let leg = |account: &str, amount| Leg { account: account.to_owned(), amount, currency };
        Self::new(kind, reference, vec![leg(from, -amount), leg(to, amount)])
    }

    /// Its name in the ledger.
    pub(crate) fn id(&self) -> String {
        format!("{}:{}", self.kind.as_str(), self.reference)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn reference(&self) -> &str {
        &self.reference
    }

    pub(crate) fn legs(&self) -> &[Leg] {
        &self.legs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(account: &str, amount: i64, currency: Currency) -> Leg {
        Leg { account: account.to_owned(), amount, currency }
    }

    #[test]
    fn what_makes_or_loses_money_is_no_posting() {
        use Currency::{Eur, Usd};
        let posted = |legs: &[Leg]| Posting::new(Kind::Transfer, "t-1", legs.to_vec());
        let exchange = [leg("a", -5, Eur), leg("b", 5, Eur), leg("c", -6, Usd), leg("d", 6, Usd)];
        assert_eq!(posted(&exchange).unwrap().id(), "transfer:t-1");
        for (legs, expect) in [
            (vec![], Unbalanced::NoLegs),
            (vec![leg("a", -5, Eur)], Unbalanced::Sum(Eur)),
            (vec![leg("a", -5, Eur), leg("b", 4, Eur)], Unbalanced::Sum(Eur)),
            (vec![leg("a", -5, Eur), leg("b", 5, Usd)], Unbalanced::Sum(Eur)),
            (vec![leg("a", -5, Eur), leg("b", 5, Eur), leg("c", 1, Usd)], Unbalanced::Sum(Usd)),
            (vec![leg("a", -5, Eur), leg("a", 5, Eur)], Unbalanced::Twice),
            (vec![leg("a", 0, Eur), leg("b", 0, Eur)], Unbalanced::Nothing),
            (vec![leg("a", i64::MAX, Eur), leg("b", i64::MAX, Eur), leg("c", 2, Eur)], Unbalanced::Sum(Eur)),
        ] {
            assert_eq!(posted(&legs).unwrap_err(), expect, "{legs:?}");
        }
    }
}
