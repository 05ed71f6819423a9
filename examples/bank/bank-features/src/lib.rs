//! What is known of a transfer when it is scored: one definition, from which the model learns and by which it is asked.
//!
//! A [`Features`] is made of the transfer and of what its two accounts did before, newest first. Whoever trains and
//! whoever serves calls [`Features::of`], so that neither can mean something else by a name.

use serde::{Deserialize, Serialize};

/// An hour, in milliseconds.
pub const HOUR_MS: i64 = 3_600_000;
/// A day, in milliseconds.
pub const DAY_MS: i64 = 24 * HOUR_MS;
/// What a payer did longer ago does not count.
pub const MEMORY_MS: i64 = 30 * DAY_MS;
/// How long it takes until it is known whether a transfer was a fraud: what a payee got since then says nothing yet.
pub const DELAY_MS: i64 = 7 * DAY_MS;
/// What a payee got longer ago does not count.
pub const PAYEE_MEMORY_MS: i64 = DELAY_MS + MEMORY_MS;
/// The most transfers of an account that are looked at, the newest; of more the counts stay there.
pub const HISTORY_MAX: usize = 500;

/// Until when it is night, by UTC.
const NIGHT_UNTIL_MS: i64 = 6 * HOUR_MS;

/// A transfer that the payer made before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paid {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// In minor units.
    pub amount: i64,
    /// Whether it went to the payee of the transfer that is scored.
    pub is_to_payee: bool,
}

/// A transfer that the payee got before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Whether it was reported as a fraud, or denied as one.
    pub is_flagged: bool,
}

macro_rules! features {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What is known of a transfer. Amounts are in minor units, the transfer itself counts.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Features {
            $($(#[$doc])* pub $name: f32,)*
        }

        /// The names of the features, in the order of a [`Row`].
        pub const NAMES: [&str; COUNT] = [$(stringify!($name)),*];

        /// How many features there are.
        pub const COUNT: usize = [$(stringify!($name)),*].len();

        impl Features {
            /// Their values, in the order of [`NAMES`].
            pub fn row(&self) -> Row {
                [$(self.$name),*]
            }
        }
    };
}

/// The values of all features of one transfer.
pub type Row = [f32; COUNT];

features! {
    /// How much it is.
    amount,
    /// 1 from midnight to six, by UTC.
    is_night,
    /// 1 on Saturday and Sunday, by UTC.
    is_weekend,
    /// Transfers of the payer in an hour.
    count_1h,
    /// What they come to.
    sum_1h,
    /// Transfers of the payer in 24 hours.
    count_24h,
    /// What they come to.
    sum_24h,
    /// Transfers of the payer in 7 days.
    count_7d,
    /// What they come to.
    sum_7d,
    /// Transfers of the payer in 30 days.
    count_30d,
    /// What they come to.
    sum_30d,
    /// The amount as a multiple of the payer's mean of the 30 days before; 1 where there was nothing.
    amount_to_mean,
    /// Seconds since the payer's last transfer; 30 days where there was none.
    since_last_s,
    /// How often the payer paid this payee in the 30 days before.
    count_to_payee,
    /// Transfers that the payee got in the day that ended 7 days ago.
    payee_count_1d,
    /// The share of them that was flagged.
    payee_risk_1d,
    /// Transfers that the payee got in the 7 days that ended 7 days ago.
    payee_count_7d,
    /// The share of them that was flagged.
    payee_risk_7d,
    /// Transfers that the payee got in the 30 days that ended 7 days ago.
    payee_count_30d,
    /// The share of them that was flagged.
    payee_risk_30d,
}

/// How many transfers, and what they come to.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    count: i64,
    amount: i64,
}

impl Sum {
    fn add(&mut self, amount: i64) {
        self.count += 1;
        self.amount = self.amount.saturating_add(amount);
    }
}

/// How many transfers, and how many of them were flagged.
#[derive(Debug, Clone, Copy, Default)]
struct Risk {
    count: i64,
    flagged: i64,
}

impl Risk {
    fn share(self) -> f32 {
        if self.count == 0 { 0.0 } else { real(self.flagged) / real(self.count) }
    }
}

impl Features {
    /// What is known of a transfer of that amount at that time, in milliseconds since 1970: by what its payer paid and
    /// its payee got before, both newest first. What is newer than the transfer, or too old, does not count.
    pub fn of(
        at_ms: i64,
        amount: i64,
        paid: impl IntoIterator<Item = Paid>,
        received: impl IntoIterator<Item = Received>,
    ) -> Self {
        let ages = [HOUR_MS, DAY_MS, 7 * DAY_MS, MEMORY_MS];
        let mut sums = [Sum { count: 1, amount }; 4];
        let mut before = Sum::default();
        let (mut since_last_ms, mut count_to_payee) = (MEMORY_MS, 0);
        for past in paid.into_iter().skip_while(|past| past.at_ms > at_ms).take(HISTORY_MAX) {
            let age = at_ms - past.at_ms;
            if age >= MEMORY_MS {
                break;
            }
            before.add(past.amount);
            since_last_ms = since_last_ms.min(age);
            count_to_payee += i64::from(past.is_to_payee);
            let within = sums.iter_mut().zip(ages).filter(|(_, most)| age < *most);
            within.for_each(|(sum, _)| sum.add(past.amount));
        }
        let mean = real(before.amount) / real(before.count.max(1));
        let [hour, day, week, month] = sums;
        let [payee_day, payee_week, payee_month] = risks(at_ms, received);
        Self {
            amount: real(amount),
            is_night: flag(at_ms.rem_euclid(DAY_MS) < NIGHT_UNTIL_MS),
            is_weekend: flag(is_weekend(at_ms)),
            count_1h: real(hour.count),
            sum_1h: real(hour.amount),
            count_24h: real(day.count),
            sum_24h: real(day.amount),
            count_7d: real(week.count),
            sum_7d: real(week.amount),
            count_30d: real(month.count),
            sum_30d: real(month.amount),
            amount_to_mean: if before.count == 0 { 1.0 } else { real(amount) / mean.max(1.0) },
            since_last_s: real(since_last_ms / 1000),
            count_to_payee: real(count_to_payee),
            payee_count_1d: real(payee_day.count),
            payee_risk_1d: payee_day.share(),
            payee_count_7d: real(payee_week.count),
            payee_risk_7d: payee_week.share(),
            payee_count_30d: real(payee_month.count),
            payee_risk_30d: payee_month.share(),
        }
    }
}

/// What is known of a payee, of 1, 7 and 30 days.
fn risks(at_ms: i64, received: impl IntoIterator<Item = Received>) -> [Risk; 3] {
    let known_until = at_ms - DELAY_MS;
    let mut risks = [Risk::default(); 3];
    for past in received.into_iter().skip_while(|past| past.at_ms > known_until).take(HISTORY_MAX) {
        let age = known_until - past.at_ms;
        for (risk, most) in risks.iter_mut().zip([DAY_MS, 7 * DAY_MS, MEMORY_MS]) {
            if age < most {
                risk.count += 1;
                risk.flagged += i64::from(past.is_flagged);
            }
        }
        if age >= MEMORY_MS {
            break;
        }
    }
    risks
}

/// 1970 began on a Thursday.
fn is_weekend(at_ms: i64) -> bool {
    (at_ms.div_euclid(DAY_MS) + 3).rem_euclid(7) >= 5
}

fn flag(is_set: bool) -> f32 {
    f32::from(u8::from(is_set))
}

#[expect(clippy::cast_precision_loss, reason = "a feature needs seven digits and no more")]
fn real(number: i64) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests;
