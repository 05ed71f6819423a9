//! What a device reads: days that have passed, at once, and then what there is as time passes.

use iot_detect::{
    Reading,
    generator::{Device, Plan},
};

use crate::{Settings, account::Account, settings::Live};

/// A device's readings, each when it is time for it.
#[derive(Debug)]
pub(crate) struct Source {
    past: Device,
    live: Option<Live>,
    /// How far between two readings this device begins, so that they do not all speak at once.
    offset_ms: i64,
    seed: u64,
    number: u32,
    now: Option<Now>,
    next: Option<Reading>,
}

/// What it reads as time passes.
#[derive(Debug)]
struct Now {
    device: Device,
    end_ms: i64,
    last_ms: i64,
}

impl Source {
    pub(crate) fn new(account: &Account, settings: &Settings) -> Self {
        let Settings { seed, devices, live, .. } = settings;
        let offset = |live: &Live| live.interval_ms * i64::from(account.number) / i64::from(*devices).max(1);
        Self {
            past: account.device(settings),
            live: *live,
            offset_ms: live.as_ref().map_or(0, offset),
            seed: u64::from(*seed),
            number: account.number,
            now: None,
            next: None,
        }
    }

    /// When the next reading is due, in milliseconds since 1970; none where there are no more.
    pub(crate) fn due_ms(&mut self, now_ms: i64) -> Option<i64> {
        if self.next.is_none() {
            self.next = self.past.next().or_else(|| self.read(now_ms));
        }
        self.next.map(|reading| reading.at_ms)
    }

    /// The next reading, where it is due.
    pub(crate) fn take(&mut self, now_ms: i64) -> Option<Reading> {
        let due_ms = self.due_ms(now_ms)?;
        self.next.take_if(|_| due_ms <= now_ms)
    }

    /// Of those that come as time passes, the first after the days that were played.
    fn read(&mut self, now_ms: i64) -> Option<Reading> {
        let live = self.live?;
        let now = self.now.get_or_insert_with(|| {
            let start_ms = now_ms + self.offset_ms;
            // Nothing is wrong in it: whoever looks on has enough time for a day of it, and knows no labels.
            let days = live.length_ms / iot_detect::DAY_MS + 1;
            let plan = Plan { start_ms, interval_ms: live.interval_ms, ..Plan::of_equal_days(days) };
            let device = Device::new(self.seed, self.number, Plan { quiet_days: days, ..plan });
            Now { device, end_ms: now_ms + live.length_ms, last_ms: now_ms }
        });
        let reading = now.device.next()?;
        // Late ones overtake none.
        now.last_ms = reading.at_ms.max(now.last_ms + 1);
        (now.last_ms < now.end_ms).then_some(Reading { at_ms: now.last_ms, ..reading })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::now_ms;

    fn source(live: Option<Live>) -> Source {
        let addr = ([127, 0, 0, 1], 1).into();
        let settings = Settings { seed: 3, devices: 10, live, ..Settings::new(addr, addr, "k").unwrap().days(1) };
        Source::new(&Account { number: 5, id: String::new(), token: String::new() }, &settings)
    }

    fn all(source: &mut Source, now_ms: i64) -> Vec<Reading> {
        std::iter::from_fn(|| source.take(now_ms)).collect()
    }

    #[test]
    fn a_day_is_there_at_once_and_ends_about_now() {
        let now_ms = now_ms();
        let mut source = source(None);
        let day = all(&mut source, now_ms);
        assert!((270..=288).contains(&day.len()), "{}", day.len());
        assert!(day.iter().all(|reading| (now_ms - iot_detect::DAY_MS - 300_000..=now_ms).contains(&reading.at_ms)));
        assert_eq!(source.due_ms(now_ms), None);
    }

    #[test]
    fn what_is_live_comes_when_it_is_time() {
        let now_ms = now_ms();
        let mut source = source(Some(Live::new(10, 10, Duration::from_secs(20))));
        assert!(all(&mut source, now_ms).len() < 290);
        let due_ms = source.due_ms(now_ms).unwrap();
        assert!(due_ms > now_ms, "{due_ms}");
        assert_eq!(source.take(due_ms - 1), None);
        assert_eq!(source.take(due_ms).unwrap().at_ms, due_ms);
        let live = all(&mut source, now_ms + 60_000);
        assert!((17..=19).contains(&live.len()), "{}", live.len());
        assert!(live.is_sorted_by(|one, other| one.at_ms < other.at_ms));
        assert_eq!(source.due_ms(now_ms + 60_000), None);
    }
}
