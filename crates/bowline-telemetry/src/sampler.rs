//! Which traces are recorded, decided where they begin.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{SpanContext, TraceId};

/// Decides whether a span is recorded.
pub trait Sampler: Send + Sync + 'static {
    /// Called once for each span; must be quick and give the same answer for the same trace.
    fn should_sample(&self, parent: Option<&SpanContext>, trace_id: TraceId) -> bool;
}

/// What the parent decided; without a parent, a share of the traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParentBased {
    root: Ratio,
}

/// A share of the traces, the same ones in every process.
///
/// Source: OpenTelemetry's consistent probability sampling, which compares the last 56 bits of the
/// trace id, the ones that W3C Trace Context level 2 says are random, with a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio {
    /// Ids whose random part is at least this are sampled.
    threshold: u64,
}

/// As [`ParentBased`], with a share that is changed while it runs. Cheap to clone; clones change together.
///
/// Asking costs one load, and no lock.
#[derive(Debug, Clone)]
pub struct Live(Arc<AtomicU64>);

/// Every span.
#[derive(Debug, Clone, Copy, Default)]
pub struct Always;

/// No span.
#[derive(Debug, Clone, Copy, Default)]
pub struct Never;

const RANDOM_BITS: u32 = 56;

impl ParentBased {
    /// Records that share (0 to 1) of the traces that begin here.
    pub fn new(ratio: f64) -> Self {
        Self { root: Ratio::new(ratio) }
    }
}

impl Ratio {
    /// A share from 0 to 1; what is outside is taken as the nearer end, NaN as 0.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "0 to 2^56, clamped"
    )]
    pub fn new(ratio: f64) -> Self {
        let ratio = if ratio.is_nan() { 0.0 } else { ratio.clamp(0.0, 1.0) };
        Self { threshold: ((1.0 - ratio) * (1_u64 << RANDOM_BITS) as f64).round() as u64 }
    }

    /// The share, from 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "at most 2^56, and the share is for people")]
    pub fn get(self) -> f64 {
        1.0 - self.threshold as f64 / (1_u64 << RANDOM_BITS) as f64
    }
}

impl Live {
    /// Records that share (0 to 1) of the traces that begin here, until another is [set](Self::set).
    pub fn new(ratio: f64) -> Self {
        Self(Arc::new(AtomicU64::new(Ratio::new(ratio).threshold)))
    }

    /// Changes the share (0 to 1) for the traces that begin from now on; what is outside is taken as by [`Ratio`].
    pub fn set(&self, ratio: f64) {
        self.0.store(Ratio::new(ratio).threshold, Relaxed);
    }

    /// The share now, from 0 to 1.
    pub fn ratio(&self) -> f64 {
        self.now().get()
    }

    fn now(&self) -> Ratio {
        Ratio { threshold: self.0.load(Relaxed) }
    }
}

impl Sampler for ParentBased {
    fn should_sample(&self, parent: Option<&SpanContext>, trace_id: TraceId) -> bool {
        parent.map_or_else(|| self.root.should_sample(None, trace_id), |parent| parent.is_sampled)
    }
}

impl Sampler for Live {
    fn should_sample(&self, parent: Option<&SpanContext>, trace_id: TraceId) -> bool {
        parent.map_or_else(|| self.now().should_sample(None, trace_id), |parent| parent.is_sampled)
    }
}

impl Sampler for Ratio {
    #[expect(clippy::cast_possible_truncation, reason = "the last 56 bits are what is compared")]
    fn should_sample(&self, _: Option<&SpanContext>, trace_id: TraceId) -> bool {
        trace_id.get() as u64 & ((1 << RANDOM_BITS) - 1) >= self.threshold
    }
}

impl Sampler for Always {
    fn should_sample(&self, _: Option<&SpanContext>, _: TraceId) -> bool {
        true
    }
}

impl Sampler for Never {
    fn should_sample(&self, _: Option<&SpanContext>, _: TraceId) -> bool {
        false
    }
}

impl<S: Sampler + ?Sized> Sampler for Arc<S> {
    fn should_sample(&self, parent: Option<&SpanContext>, trace_id: TraceId) -> bool {
        (**self).should_sample(parent, trace_id)
    }
}

impl<S: Sampler + ?Sized> Sampler for Box<S> {
    fn should_sample(&self, parent: Option<&SpanContext>, trace_id: TraceId) -> bool {
        (**self).should_sample(parent, trace_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SpanId;

    #[test]
    fn a_ratio_takes_its_share() {
        bowline_runtime::rand::seed(7);
        for (ratio, low, high) in [(0.0, 0, 0), (0.1, 850, 1150), (1.0, 10_000, 10_000), (f64::NAN, 0, 0)] {
            let sampler = Ratio::new(ratio);
            let count = (0..10_000).filter(|_| sampler.should_sample(None, TraceId::generate())).count();
            assert!((low..=high).contains(&count), "{ratio}: {count}");
        }
    }

    #[test]
    fn the_parent_decides() {
        let mut parent = SpanContext { trace_id: TraceId::generate(), span_id: SpanId::generate(), is_sampled: true };
        assert!(ParentBased::new(0.0).should_sample(Some(&parent), parent.trace_id));
        assert!(!ParentBased::new(0.0).should_sample(None, parent.trace_id));
        parent.is_sampled = false;
        assert!(!ParentBased::new(1.0).should_sample(Some(&parent), parent.trace_id));
        assert!(ParentBased::new(1.0).should_sample(None, parent.trace_id));
    }

    #[test]
    fn a_live_share_is_changed_for_all_its_clones() {
        bowline_runtime::rand::seed(7);
        let live = Live::new(1.0);
        let tracer_has = live.clone();
        let share = || (0..10_000).filter(|_| tracer_has.should_sample(None, TraceId::generate())).count();
        for (ratio, low, high) in [(1.0, 10_000, 10_000), (0.0, 0, 0), (0.25, 2300, 2700), (7.0, 10_000, 10_000)] {
            live.set(ratio);
            let count = share();
            assert!((low..=high).contains(&count), "{ratio}: {count}");
            assert!((live.ratio() - ratio.clamp(0.0, 1.0)).abs() < 1e-15, "{ratio}");
        }
        // The same traces as every other process with that share.
        live.set(0.25);
        let fixed = Ratio::new(0.25);
        for id in (0..1000).map(|_| TraceId::generate()) {
            assert_eq!(live.should_sample(None, id), fixed.should_sample(None, id));
        }
    }

    #[test]
    fn the_parent_decides_whatever_the_share() {
        let live = Live::new(0.0);
        let mut parent = SpanContext { trace_id: TraceId::generate(), span_id: SpanId::generate(), is_sampled: true };
        assert!(live.should_sample(Some(&parent), parent.trace_id));
        live.set(1.0);
        parent.is_sampled = false;
        assert!(!live.should_sample(Some(&parent), parent.trace_id));
    }
}
