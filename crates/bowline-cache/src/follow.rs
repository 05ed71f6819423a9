//! Follows the feeds of invalidations, and knows how far what it heard can be trusted. The transition table.
//!
//! A follower is *unsure* until the feed has said where it may go on, *behind* until it has applied everything up to
//! the feed's end, and *following* then: for `blind_max` from the moment it asked, since everything that was told
//! before is applied. A feed that stalls, a partition or a stopped process therefore make the cache *blind* by
//! themselves: nothing is taken for fresh any more, and every request loads. Where something of the feed is lost, every
//! level is cleared.

use std::{
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, Mutex, PoisonError, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use bowline_model::error::chain;
use bowline_runtime::{
    rand, task,
    time::{self, coarse},
};

use futures_util::FutureExt as _;

use crate::{
    After, Applied, FeedStatus, Invalidations, Key, Mark, PortError, Resumed, Which,
    cache::Inner,
    check_key, disk,
    disk::Level,
    levels,
    metrics::bounded,
    shared::{
        guard::Guard,
        slot::{Judged, judge},
    },
    slot::Ms,
    windows::ms,
};

/// The longest that a feed is asked to wait for what comes, once it was heard to its end.
const WAIT: Duration = Duration::from_secs(5);
/// How much longer an answer may take.
const GRACE: Duration = Duration::from_secs(2);
/// How soon a feed is asked again that has answered at once, and had nothing.
const IDLE: Duration = Duration::from_millis(100);
/// How long after a failure it is asked again: the first time, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How far a feed was followed; `M` is a mark.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Follow<M> {
    standing: Standing,
    /// Everything up to it was applied.
    pub(crate) mark: Option<M>,
    /// Until when what is fresh may be taken for it.
    pub(crate) until: Ms,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Standing {
    /// It has to be asked whether everything after the mark is there.
    Unsure,
    /// There may be more than was applied.
    Behind,
    /// The last answer ended where the feed ended.
    Following,
}

/// What the feed said.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Heard<M> {
    /// Everything after this mark is there.
    At(M),
    /// Not everything is; it ends here.
    Gap(M),
    /// All up to this, perhaps to its end.
    Batch { upto: M, is_end: bool },
}

/// What is to be done before the new state holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub(crate) enum Apply {
    Nothing,
    /// Every level is cleared.
    Clear,
    /// What the answer says is invalid is dropped from every level.
    Batch,
}

impl<M> Default for Follow<M> {
    fn default() -> Self {
        Self { standing: Standing::Unsure, mark: None, until: 0 }
    }
}

impl<M: Clone> Follow<M> {
    /// Whether it has to be asked where to go on, and from which mark; else what comes after the mark.
    pub(crate) fn is_unsure(&self) -> bool {
        self.standing == Standing::Unsure || self.mark.is_none()
    }

    /// The table: what an answer to what was asked at that moment means.
    pub(crate) fn step(self, heard: Heard<M>, asked: Ms, blind_max: Ms) -> (Self, Apply) {
        let until = asked.saturating_add(blind_max);
        match heard {
            Heard::At(mark) => (Self { standing: Standing::Behind, mark: Some(mark), ..self }, Apply::Nothing),
            // Whatever is loaded after the clearing is as new as the end.
            Heard::Gap(end) => (Self { standing: Standing::Following, mark: Some(end), until }, Apply::Clear),
            Heard::Batch { upto, is_end: true } => {
                (Self { standing: Standing::Following, mark: Some(upto), until }, Apply::Batch)
            }
            Heard::Batch { upto, is_end: false } => {
                (Self { standing: Standing::Behind, mark: Some(upto), ..self }, Apply::Batch)
            }
        }
    }
}

/// A feed and how far it was followed.
pub(crate) struct Followed {
    pub(crate) feed: Arc<dyn Invalidations>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    follow: Follow<Mark>,
    gaps: u64,
    /// Why it did not answer, where it did not.
    why: Option<String>,
}

impl Followed {
    pub(crate) fn new(feed: Arc<dyn Invalidations>) -> Self {
        Self { feed, state: Mutex::default() }
    }

    fn get(&self) -> Follow<Mark> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).follow.clone()
    }

    /// Up to where it was applied.
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.get().mark
    }

    fn set(&self, follow: Follow<Mark>, is_gap: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The first is no gap: there was nothing to lose.
        state.gaps += u64::from(is_gap && state.follow.mark.is_some());
        (state.follow, state.why) = (follow, None);
    }

    /// It did not answer, for that reason; whether it did before.
    fn failed(&self, why: &str) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.why.replace(bounded(why)).is_none()
    }

    pub(crate) fn status(&self, now: Ms) -> FeedStatus {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = match state.follow.standing {
            Standing::Following if now < state.follow.until => "following",
            Standing::Behind if now < state.follow.until => "behind",
            _ => "unsure",
        };
        FeedStatus {
            feed: self.feed.name().to_owned(),
            standing: standing.to_owned(),
            position: state.follow.mark.as_ref().map(|mark| mark.position),
            gaps: state.gaps,
            why: state.why.clone(),
        }
    }
}

/// Follows one feed of a cache, until the cache is gone.
pub(crate) async fn follow<K: Key, V: Send + Sync + 'static>(cache: Weak<Inner<K, V>>, at: usize) {
    let mut again = AGAIN.0;
    loop {
        let Some(inner) = cache.upgrade() else { return };
        let (feed, follow) = inner.feed(at);
        let (disk, shared, wait) = (inner.disk.clone(), inner.shared.clone(), wait(&follow, inner.blind_max));
        drop(inner);
        let (asked, begin) = (coarse(), time::now());
        let asking = ask(feed.as_ref(), &follow, wait, (disk.as_deref(), shared.as_deref()));
        let heard = watch(&cache, asking).await;
        let Some(inner) = cache.upgrade() else { return };
        match heard {
            Ok((heard, what)) => {
                again = AGAIN.0;
                let has_moved = !matches!(&heard, Heard::Batch { upto, .. } if follow.mark.as_ref() == Some(upto));
                let is_lost_again = matches!(heard, Heard::Gap(_)) && follow.mark.is_some();
                let is_idle = is_lost_again || !has_moved && !wait.is_zero();
                let hear = |what| inner.heard(at, follow.clone(), heard.clone(), asked, what);
                // What an application says of keys may panic: nobody knows then which are meant.
                if AssertUnwindSafe(hear(what)).catch_unwind().await.is_err() {
                    tracing::error!(cache = &*inner.name, feed = feed.name(), "a key panicked, all is forgotten");
                    hear(vec![Which::All]).await;
                }
                drop(inner);
                if is_idle {
                    time::sleep_until(begin + IDLE).await;
                }
            }
            Err(error) => {
                let (cache, feed, why) = (&*inner.name, feed.name(), chain(&error));
                if inner.feeds[at].failed(&why) {
                    tracing::warn!(cache, feed, error = why, "a feed of invalidations did not answer");
                } else {
                    tracing::debug!(cache, feed, error = why, "a feed of invalidations still does not answer");
                }
                inner.measure_followed(coarse());
                drop(inner);
                time::sleep(again.mul_f64(0.5 + 0.5 * rand::unit())).await;
                again = (again * 2).min(AGAIN.1);
            }
        }
    }
}

/// How long a feed is asked to wait: two answers come within the time for which the first is trusted, so that it is
/// trusted until the second is there.
fn wait(follow: &Follow<Mark>, blind_max: Duration) -> Duration {
    if follow.standing == Standing::Following {
        (blind_max.saturating_sub(GRACE) / 2).min(WAIT)
    } else {
        Duration::ZERO
    }
}

/// Waits for an answer, and says that the cache is blind as soon as it is.
async fn watch<K: Key, V: Send + Sync + 'static, T>(cache: &Weak<Inner<K, V>>, answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    loop {
        let left = cache.upgrade().map_or(0, |inner| inner.measure_followed(coarse()));
        if left == 0 {
            return answer.await;
        }
        if let Ok(answer) = time::timeout(Duration::from_millis(left), answer.as_mut()).await {
            return answer;
        }
    }
}

/// Asks a feed what its follower has to know next.
async fn ask(
    feed: &dyn Invalidations,
    follow: &Follow<Mark>,
    wait: Duration,
    (disk, shared): (Option<&Level>, Option<&Guard>),
) -> Result<(Heard<Mark>, Vec<Which>), PortError> {
    let late = |_| PortError::unavailable("it took too long");
    if let (false, Some(mark)) = (follow.is_unsure(), &follow.mark) {
        return match time::timeout(wait + GRACE, feed.after(mark.clone(), wait)).await.map_err(late)?? {
            After::Gap { end } => Ok((Heard::Gap(end), Vec::new())),
            After::Batch(batch) => Ok((Heard::Batch { upto: batch.upto, is_end: batch.is_end }, batch.what)),
        };
    }
    // Memory begins empty; what the levels below have is as new as their marks.
    let marks = match &follow.mark {
        Some(mark) => vec![mark.clone()],
        None => marks_below(feed.name(), disk, shared).await,
    };
    let asked = if marks.is_empty() { vec![None] } else { marks.into_iter().map(Some).collect() };
    let mut first: Option<Mark> = None;
    // Each of them: where one is of a feed that was made anew since, which is further says nothing.
    for mark in asked {
        match time::timeout(GRACE, feed.resume(mark)).await.map_err(late)?? {
            Resumed::At(mark) if first.as_ref().is_none_or(|first| mark.position < first.position) => {
                first = Some(mark);
            }
            Resumed::At(_) => {}
            Resumed::Gap { end } => return Ok((Heard::Gap(end), Vec::new())),
        }
    }
    let first = first.ok_or_else(|| PortError::unavailable("it did not say where to go on"))?;
    Ok((Heard::At(first), Vec::new()))
}

/// Up to where a feed was applied to the levels below memory.
async fn marks_below(feed: &str, disk: Option<&Level>, shared: Option<&Guard>) -> Vec<Mark> {
    let on_disk = match disk {
        Some(disk) => disk.mark(feed).await,
        None => None,
    };
    let in_shared = match shared {
        Some(shared) => shared.mark_or_clear(feed).await,
        None => None,
    };
    on_disk.into_iter().chain(in_shared).collect()
}

impl<K: Key, V: Send + Sync + 'static> Inner<K, V> {
    fn feed(&self, at: usize) -> (Arc<dyn Invalidations>, Follow<Mark>) {
        let followed = &self.feeds[at];
        (Arc::clone(&followed.feed), followed.get())
    }

    /// Brings about what an answer says, and only then trusts it.
    async fn heard(&self, at: usize, follow: Follow<Mark>, heard: Heard<Mark>, asked: Ms, what: Vec<Which>) {
        let feed = self.feeds[at].feed.name().to_owned();
        let before = follow.mark.clone();
        let (next, apply) = follow.step(heard, asked, ms(self.blind_max));
        match (apply, next.mark.clone()) {
            (Apply::Clear, mark) => {
                if before.is_some() {
                    self.metrics.gaps.increment();
                    tracing::warn!(cache = &*self.name, feed, "invalidations were lost, everything is loaded again");
                }
                self.forget_everything(mark.map(|mark| (feed, mark))).await;
            }
            (Apply::Batch, Some(upto)) if before.as_ref() != Some(&upto) => {
                let after = before.unwrap_or_else(|| upto.clone());
                self.apply(what, Applied { feed, after, upto }).await;
            }
            // The disk may not have had a mark: it has it from now on.
            (Apply::Nothing, Some(mark)) => {
                if let Some(disk) = &self.disk {
                    disk.gone(&[], Some(&Applied { feed, after: mark.clone(), upto: mark }));
                }
            }
            (Apply::Batch | Apply::Nothing, _) => {}
        }
        self.feeds[at].set(next, apply == Apply::Clear);
        self.followed_until.store(self.least_until(), Relaxed);
        self.measure_followed(coarse());
        if let Some(disk) = self.disk.as_ref().filter(|_| self.is_followed(coarse())) {
            disk.caught_up();
        }
    }

    async fn apply(&self, what: Vec<Which>, applied: Applied) {
        self.metrics.invalidated_by_feed.add(what.len() as u64);
        if what.contains(&Which::All) {
            return self.apply_to_all(applied).await;
        }
        let key = |which| match which {
            // What is no key here is nobody's entry here.
            Which::Key(name) => check_key(&name).ok().and_then(|()| K::decode(&name)),
            Which::All => None,
        };
        let keys: Vec<K> = what.into_iter().filter_map(key).collect();
        for key in &keys {
            self.observe_invalidation(key);
        }
        self.forget_keys(&keys, Some(applied)).await;
    }

    /// Of all processes that hear it, the first clears the shared level.
    async fn apply_to_all(&self, applied: Applied) {
        let Applied { feed, after, upto } = applied;
        let mark = match &self.shared {
            Some(shared) => shared.mark(&feed).await.ok().flatten(),
            None => None,
        };
        match judge(mark.as_ref(), &after, &upto) {
            Judged::Known => self.clear_here(Some((feed, upto))),
            Judged::Next | Judged::Missing => self.forget_everything(Some((feed, upto))).await,
        }
    }

    fn least_until(&self) -> Ms {
        self.feeds.iter().map(|followed| followed.get().until).min().unwrap_or(u64::MAX)
    }

    /// Says whether it is followed, and answers for how many milliseconds it is.
    pub(crate) fn measure_followed(&self, now: Ms) -> Ms {
        self.metrics.followed.set(i64::from(self.is_followed(now)));
        self.followed_until.load(Relaxed).saturating_sub(now)
    }
}

/// Starts a follower for each feed, who makes up to the shared level, and who writes to the disk.
pub(crate) fn start<K: Key, V: Send + Sync + 'static>(inner: &Arc<Inner<K, V>>) -> Vec<task::Guarded<()>> {
    let follower = |at| task::Guarded::new(task::spawn(follow(Arc::downgrade(inner), at)));
    let shared = inner
        .shared
        .iter()
        .map(|guard| task::Guarded::new(task::spawn(levels::make_up(Arc::downgrade(inner), Arc::clone(guard)))));
    let disk = inner.disk.iter().map(|level| task::Guarded::new(task::spawn(disk::run(Arc::downgrade(level)))));
    (0..inner.feeds.len()).map(follower).chain(shared).chain(disk).collect()
}

#[cfg(test)]
mod tests;
