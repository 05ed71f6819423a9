//! When a silent device is missed: after a time in which it was listened to, which is the clock's, not that of readings.
//!
//! Times of readings say nothing of it: one device plays last week in a minute, another tells an hour's list once an
//! hour, a third has a backlog. So a device is missed that was not heard for as long as it takes to be usual no more (what
//! its detector says), and a reading may be late, and two of its lists may be lost. A silence that is over is found
//! by the device's own next reading, however fast it comes.
//!
//! Nor is everybody missed while nobody is heard: then it is the way here that is broken.

/// The most that the clock goes on from one look to the next: what is beyond nobody listened to, as the machine slept, the
/// clock was set, or the database was away.
const STEP_MAX_MS: i64 = 30_000;

/// The least time for which a device that is missed was silent.
pub(crate) const PATIENCE_MIN_MS: i64 = 5 * 60_000;

/// Where several were heard, and none of them is for so long, it is the way here that is broken: less than
/// [`PATIENCE_MIN_MS`], so that nobody is missed before.
const BROKEN_AFTER_MS: i64 = 4 * 60_000;

/// But not for ever: then they are all silent.
const BROKEN_MAX_MS: i64 = 60 * 60_000;

/// How long after that, and after a start, they have to come back.
const RETURN_MS: i64 = 2 * 60_000;

/// For how long it was listened, and when somebody was heard. It begins anew with each start.
#[derive(Debug, Default)]
#[expect(clippy::struct_field_names, reason = "they are all times, and their names say the unit")]
pub(crate) struct Listening {
    clock_ms: Option<i64>,
    now_ms: i64,
    heard_ms: i64,
    returned_ms: i64,
}

impl Listening {
    /// For how long it was listened until now.
    pub(crate) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// The clock says that it is so late.
    pub(crate) fn go_on(&mut self, clock_ms: i64) {
        let before_ms = *self.clock_ms.get_or_insert(clock_ms);
        let passed_ms = clock_ms.saturating_sub(before_ms);
        // One who waited comes with the time at which it came.
        if !(-STEP_MAX_MS..0).contains(&passed_ms) {
            self.clock_ms = Some(clock_ms);
            self.now_ms += passed_ms.clamp(0, STEP_MAX_MS);
        }
    }

    /// Somebody is heard.
    pub(crate) fn hear(&mut self) {
        if self.now_ms - self.heard_ms > BROKEN_AFTER_MS {
            self.returned_ms = self.now_ms;
        }
        self.heard_ms = self.now_ms;
    }

    /// Whether silence is that of devices, where so many are not missed yet.
    pub(crate) fn is_sound(&self, active: usize) -> bool {
        let nobody_ms = self.now_ms - self.heard_ms;
        let is_broken = active > 1 && (BROKEN_AFTER_MS..BROKEN_MAX_MS).contains(&nobody_ms);
        !is_broken && self.now_ms - self.returned_ms >= RETURN_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Listens on for so many seconds.
    fn listen(listening: &mut Listening, seconds: i64) {
        for _ in 0..seconds {
            let clock_ms = listening.clock_ms.unwrap_or_default();
            listening.go_on(clock_ms + 1000);
        }
    }

    #[test]
    fn what_nobody_listened_to_is_no_time() {
        let mut listening = Listening::default();
        for (clock_ms, now_ms) in [
            (7_000_000, 0),
            (7_005_000, 5000),
            (7_001_000, 5000),
            (7_006_000, 6000),
            (6_000_000, 6000),
            (99_000_000, 36_000),
        ] {
            listening.go_on(clock_ms);
            assert_eq!(listening.now_ms(), now_ms);
        }
    }

    #[test]
    fn while_nobody_of_several_is_heard_nobody_is_missed_for_an_hour() {
        let mut listening = Listening::default();
        listen(&mut listening, 119);
        assert!(!listening.is_sound(2), "after a start they have to come back");
        listen(&mut listening, 2);
        assert!(listening.is_sound(2));
        listening.hear();
        listen(&mut listening, 239);
        assert!(listening.is_sound(2));
        listen(&mut listening, 1);
        assert!(!listening.is_sound(2) && listening.is_sound(1));
        listen(&mut listening, 1800);
        assert!(!listening.is_sound(2));
        listening.hear();
        listen(&mut listening, 119);
        assert!(!listening.is_sound(2), "they have to come back");
        listen(&mut listening, 1);
        assert!(listening.is_sound(2));
        listen(&mut listening, 3600);
        assert!(listening.is_sound(2));
    }
}
