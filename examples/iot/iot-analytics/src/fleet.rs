//! All devices, in memory: what a batch does to them, when silence is a dropout, and what of it is to be kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use iot_detect::{Change, Kind, features::Told};

use crate::{
    device::{Device, Place, over},
    reading::{Outcome, Reading, Receipt},
    rules::Terms,
    silence::{Listening, PATIENCE_MIN_MS},
};

/// The most devices there is room for, about 10 KB each.
pub(crate) const DEVICES_MAX: usize = 100_000;

/// After how many readings of a device its state is written.
pub(crate) const KEPT_EVERY: usize = 288;

/// The most states that are written with one batch, so that a batch stays small; the others follow with the next. A
/// batch makes at most four due on average.
const KEPT_AT_ONCE_MAX: usize = 32;

/// For how long what comes of a device of before it was removed is of that one.
const REMOVED_FOR_MS: i64 = 10 * 60_000;

/// The most silent devices that are told the time at once; the others follow.
const TOLD_AT_ONCE_MAX: usize = 1000;

/// A device's name.
pub(crate) type Name = Arc<str>;

/// All devices.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    devices: BTreeMap<Name, Slot>,
    listening: Listening,
    /// Until when is listened before it is missed, of each device of which that is known.
    due: BTreeSet<(i64, Name)>,
    /// Whose state is to be written.
    overdue: BTreeSet<Name>,
    /// When the newest reading of any was read.
    newest_ms: Option<i64>,
    /// Those that were removed not long ago: how long was listened until then, and the clock's time.
    removed: BTreeMap<Name, (i64, i64)>,
    /// Those that are learned anew, and what was told of them meanwhile.
    anew: BTreeMap<Name, Vec<Told>>,
    devices_max: usize,
}

#[derive(Debug)]
struct Slot {
    device: Device,
    /// How long was listened until it was heard; none: not yet.
    heard_ms: Option<i64>,
    /// Where it is in [`Fleet::due`].
    due_ms: Option<i64>,
}

impl Slot {
    /// Until when is listened to it before it is missed.
    fn missed_ms(&self) -> Option<i64> {
        let Self { device, heard_ms, .. } = self;
        let silence_ms = device.due_ms()?.saturating_sub(device.newest_ms()?);
        let patience_ms = silence_ms.saturating_add(device.terms().lateness_ms).saturating_add(2 * device.burst_ms());
        Some(heard_ms.unwrap_or_default().saturating_add(patience_ms.max(PATIENCE_MIN_MS)))
    }
}

/// What a batch did, all of which is to be kept in one transaction.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Devices that are heard for the first time.
    pub(crate) new: Vec<(Name, Terms)>,
    pub(crate) journal: Vec<Entry>,
    /// What began and ended, in order.
    pub(crate) told: Vec<(Name, Told)>,
    pub(crate) states: Vec<KeptState>,
}

/// A row of the journal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) device: Name,
    pub(crate) what: What,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum What {
    Reading(Place, f64),
    /// The device was silent, and told how late it is.
    Tick(i64),
}

/// A device's state that is to be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KeptState {
    pub(crate) device: Name,
    pub(crate) terms: Terms,
    pub(crate) state: String,
    /// The journal up to there is in it.
    pub(crate) released: Option<Place>,
}

impl Work {
    /// Whether there is nothing to keep.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { new, journal, told, states } = self;
        new.is_empty() && journal.is_empty() && told.is_empty() && states.is_empty()
    }
}

impl Fleet {
    /// None yet, with room for so many.
    pub(crate) fn new(devices_max: usize) -> Self {
        Self { devices_max, ..Self::default() }
    }

    /// Takes up a device of which that was kept.
    pub(crate) fn restore(&mut self, name: Name, terms: Terms, state: Option<&str>) {
        let restored = state.map(|state| Device::restore(terms, state));
        let device = match restored {
            None => Device::unkept_yet(terms),
            Some(Ok(device)) => device,
            Some(Err(error)) => {
                tracing::error!(device = &*name, %error, "a device's state is not known here, it is learned anew");
                self.anew.insert(name.clone(), Vec::new());
                Device::unkept_yet(terms)
            }
        };
        self.devices.insert(name, Slot { device, heard_ms: Some(0), due_ms: None });
    }

    /// Goes through the journal again, in its order; what came of it is told already.
    pub(crate) fn replay(&mut self, Entry { device, what }: &Entry) {
        let Some(slot) = self.devices.get_mut(device) else {
            tracing::error!(device = &**device, "the journal has a reading of a device that is not known");
            return;
        };
        match *what {
            What::Reading(place, value) => slot.device.accept(place, value),
            What::Tick(at_ms) => {
                let told = [slot.device.release(), slot.device.tick(at_ms)].concat();
                self.anew.entry(device.clone()).and_modify(|anew| anew.extend(told));
            }
        }
    }

    /// Ends what was gone through. Of the episodes that are open elsewhere those are over of which nothing is known here.
    pub(crate) fn replayed(&mut self, open: &[(Name, Kind)]) -> Vec<(Name, Told)> {
        let names: Vec<Name> = self.devices.keys().cloned().collect();
        for name in &names {
            if let Some(slot) = self.devices.get_mut(name) {
                let told = slot.device.release();
                self.anew.entry(name.clone()).and_modify(|anew| anew.extend(told));
            }
            self.settle(name, None);
        }
        for (name, told) in &mut self.anew {
            let Some(slot) = self.devices.get(name) else { continue };
            // Of those that are learned anew nobody has told what lasts.
            let mut last = BTreeMap::new();
            for told in told.drain(..).filter(|told| told.event.change == Change::Began) {
                last.insert(told.event.kind, told);
            }
            let is_untold = |kind: &Kind| !open.iter().any(|(other, known)| (other, known) == (name, kind));
            let lasting: Vec<Kind> = slot.device.detector().open().filter(is_untold).collect();
            told.extend(lasting.iter().filter_map(|kind| last.remove(kind)));
        }
        let is_open = |name: &Name, kind: Kind| {
            self.devices.get(name).is_some_and(|slot| slot.device.detector().open().any(|open| open == kind))
        };
        let unknown = open.iter().filter(|(name, kind)| !is_open(name, *kind));
        let at_ms = self.newest_ms.unwrap_or_default();
        unknown.map(|(name, kind)| (name.clone(), over(*kind, at_ms))).collect()
    }

    /// Some of the devices that are learned anew: their states, and what began meanwhile. None: there are no more.
    pub(crate) fn keep_anew(&mut self, terms: Terms) -> Option<Work> {
        let mut work = Work::default();
        while work.states.len() < KEPT_AT_ONCE_MAX
            && let Some((name, told)) = self.anew.pop_first()
        {
            work.told.extend(told.into_iter().map(|told| (name.clone(), told)));
            self.write(&name, terms, &mut work);
        }
        (!work.is_empty()).then_some(work)
    }

    pub(crate) fn len(&self) -> usize {
        self.devices.len()
    }

    /// Takes readings in, and judges what can be; counts what became of them. The clock says that it is so late.
    pub(crate) fn take(&mut self, readings: Vec<Reading>, terms: Terms, clock_ms: i64, receipt: &mut Receipt) -> Work {
        let mut work = Work::default();
        self.listening.go_on(clock_ms);
        let mut by_device: BTreeMap<Name, Vec<Reading>> = BTreeMap::new();
        for reading in readings {
            by_device.entry(reading.device.as_str().into()).or_default().push(reading);
        }
        for (name, readings) in &mut by_device {
            self.leave_out_removed(name, readings, receipt);
            if readings.is_empty() {
                continue;
            }
            if !self.make_room(name, terms, &mut work) {
                receipt.crowded += readings.len();
                continue;
            }
            self.hear(name, readings, receipt, &mut work);
            self.settle(name, Some(terms));
        }
        self.keep(terms, &mut work);
        work
    }

    /// Finds devices that are missed. The clock says that it is so late.
    pub(crate) fn look(&mut self, clock_ms: i64, terms: Terms) -> Work {
        let mut work = Work::default();
        self.listening.go_on(clock_ms);
        self.tick(clock_ms, &mut work);
        self.keep(terms, &mut work);
        work
    }

    /// Forgets a device that is there no longer.
    pub(crate) fn remove(&mut self, name: &Name, clock_ms: i64) {
        self.listening.go_on(clock_ms);
        let now_ms = self.listening.now_ms();
        self.removed.retain(|_, (removed_ms, _)| now_ms - *removed_ms <= REMOVED_FOR_MS);
        self.removed.insert(name.clone(), (now_ms, clock_ms));
        self.overdue.remove(name);
        if let Some(due_ms) = self.devices.remove(name).and_then(|slot| slot.due_ms) {
            self.due.remove(&(due_ms, name.clone()));
        }
    }

    /// What was on its way when its device was removed is late.
    fn leave_out_removed(&self, name: &Name, readings: &mut Vec<Reading>, receipt: &mut Receipt) {
        let Some((removed_ms, clock_ms)) = self.removed.get(name) else { return };
        if self.listening.now_ms() - removed_ms <= REMOVED_FOR_MS {
            let before = readings.len();
            readings.retain(|reading| reading.at_ms > *clock_ms);
            receipt.late += before - readings.len();
        }
    }

    /// Whether the device is known, or can be.
    fn make_room(&mut self, name: &Name, terms: Terms, work: &mut Work) -> bool {
        if self.devices.contains_key(name) {
            return true;
        }
        if self.devices.len() >= self.devices_max {
            return false;
        }
        self.devices.insert(name.clone(), Slot { device: Device::new(terms), heard_ms: None, due_ms: None });
        work.new.push((name.clone(), terms));
        true
    }

    fn hear(&mut self, name: &Name, readings: &[Reading], receipt: &mut Receipt, work: &mut Work) {
        let Some(Slot { device, heard_ms, .. }) = self.devices.get_mut(name) else { return };
        let mut first_ms = None;
        for reading in readings {
            let place = (reading.at_ms, reading.sequence);
            let outcome = device.offer(place, reading.value);
            if outcome == Outcome::Taken {
                work.journal.push(Entry { device: name.clone(), what: What::Reading(place, reading.value) });
                first_ms = Some(first_ms.map_or(reading.at_ms, |first_ms: i64| first_ms.min(reading.at_ms)));
            }
            receipt.add(outcome);
        }
        self.listening.hear();
        let now_ms = self.listening.now_ms();
        let since_ms = heard_ms.replace(now_ms).map_or(i64::MAX, |heard_ms| now_ms - heard_ms);
        device.come(first_ms, since_ms);
        work.told.extend(device.release().into_iter().map(|told| (name.clone(), told)));
    }

    /// Tells devices that are missed when they were due.
    fn tick(&mut self, clock_ms: i64, work: &mut Work) {
        if !self.listening.is_sound(self.due.len()) {
            return;
        }
        let now_ms = self.listening.now_ms();
        let missed = self.due.iter().take_while(|(due_ms, _)| *due_ms <= now_ms).take(TOLD_AT_ONCE_MAX);
        let missed: Vec<Name> = missed.map(|(_, name)| name.clone()).collect();
        for name in missed {
            let Some(slot) = self.devices.get_mut(&name) else { continue };
            // Where its own clock is ahead, that is still to come.
            let Some(due_ms) = slot.device.due_ms().filter(|due_ms| *due_ms <= clock_ms) else { continue };
            work.told.extend(slot.device.tick(due_ms).into_iter().map(|told| (name.clone(), told)));
            work.journal.push(Entry { device: name.clone(), what: What::Tick(due_ms) });
            self.settle(&name, None);
        }
    }

    /// Brings what is known of a device beside it up to date; with terms: also whether it goes by others.
    fn settle(&mut self, name: &Name, terms: Option<Terms>) {
        let Some(slot) = self.devices.get_mut(name) else { return };
        let due_ms = slot.missed_ms();
        if due_ms != slot.due_ms {
            if let Some(before_ms) = std::mem::replace(&mut slot.due_ms, due_ms) {
                self.due.remove(&(before_ms, name.clone()));
            }
            self.due.extend(due_ms.map(|due_ms| (due_ms, name.clone())));
        }
        if slot.device.unkept() >= KEPT_EVERY || terms.is_some_and(|terms| terms != slot.device.terms()) {
            self.overdue.insert(name.clone());
        }
        self.newest_ms = self.newest_ms.max(slot.device.newest_ms());
    }

    /// Has states written that are due.
    fn keep(&mut self, terms: Terms, work: &mut Work) {
        for _ in 0..KEPT_AT_ONCE_MAX {
            let Some(name) = self.overdue.pop_first() else { return };
            self.write(&name, terms, work);
        }
    }

    /// Has a device's state written.
    fn write(&mut self, name: &Name, terms: Terms, work: &mut Work) {
        let Some(Slot { device, .. }) = self.devices.get_mut(name) else { return };
        if device.terms() != terms {
            work.told.extend(device.adopt(terms).into_iter().map(|told| (name.clone(), told)));
        }
        match device.kept() {
            Ok(state) => {
                device.is_kept();
                let released = device.released();
                work.states.push(KeptState { device: name.clone(), terms, state, released });
            }
            Err(error) => tracing::error!(device = &**name, %error, "a device's state cannot be written"),
        }
        self.settle(name, None);
    }
}

#[cfg(test)]
mod tests {
    use iot_detect::Season;

    use super::*;

    const TERMS: Terms = Terms { season: Season::Daily, lateness_ms: 60_000 };

    fn reading(device: &str, minute: i64) -> Reading {
        Reading { device: device.to_owned(), sequence: minute, at_ms: minute * 60_000, value: 1.0 }
    }

    fn take(fleet: &mut Fleet, readings: Vec<Reading>) -> (Work, Receipt) {
        let mut receipt = Receipt::default();
        (fleet.take(readings, TERMS, i64::MAX, &mut receipt), receipt)
    }

    #[test]
    fn there_is_room_for_so_many_devices() {
        let mut fleet = Fleet::new(2);
        let (work, receipt) = take(&mut fleet, ["a", "b", "c", "c"].map(|name| reading(name, 1)).to_vec());
        assert_eq!((work.new.len(), receipt.taken, receipt.crowded), (2, 2, 2));
        let (work, receipt) = take(&mut fleet, vec![reading("b", 2), reading("c", 2)]);
        assert_eq!((work.new.len(), work.journal.len(), receipt.taken, receipt.crowded), (0, 1, 1, 1));
    }

    #[test]
    fn a_state_is_written_after_so_many_readings_a_few_with_each_batch() {
        let mut fleet = Fleet::new(DEVICES_MAX);
        let mut written = Vec::new();
        for minute in 0..320 {
            let readings = (0..50).map(|device| reading(&format!("d-{device}"), minute)).collect();
            written.push(take(&mut fleet, readings).0.states.len());
        }
        assert_eq!(written[286..291], [0, 32, 18, 0, 0]);
        assert_eq!(written.iter().sum::<usize>(), 50);
    }

    #[test]
    fn a_device_takes_other_terms_up_when_it_is_written() {
        let mut fleet = Fleet::new(DEVICES_MAX);
        take(&mut fleet, vec![reading("a", 1)]);
        let weekly = Terms { season: Season::Weekly, lateness_ms: 0 };
        let work = fleet.take(vec![reading("a", 2)], weekly, i64::MAX, &mut Receipt::default());
        assert_eq!(work.states[0].terms, weekly);
        assert_eq!(work.states[0].released, Some((60_000, 1)));
        assert!(take(&mut fleet, vec![reading("b", 2)]).0.states.is_empty());
    }
}
