//! Emits traces: spans, context propagation, sampling, and the Reporter port they leave through.
//!
//! A [`Tracer`] starts [`Span`]s; a sampled span becomes one [`SpanData`] when it ends and leaves
//! through the [`Reporter`], which never blocks. A span that is not sampled allocates nothing and
//! reads no clock.

mod data;
mod id;
mod json;
mod limits;
mod queue;
mod sampler;
mod tracer;

pub mod current;
pub mod names;
pub mod propagation;

pub use data::{Event, Key, Link, SpanData, SpanKind, Status, Value};
pub use id::{InvalidId, SpanContext, SpanId, TraceId};
pub use limits::{
    ATTRIBUTES_MAX, EVENT_ATTRIBUTES_MAX, EVENTS_MAX, InvalidSpan, LINK_ATTRIBUTES_MAX, LINKS_MAX, NAME_BYTES_MAX,
    SPAN_BYTES_MAX, VALUE_BYTES_MAX,
};
pub use queue::{QueueReporter, SpanQueue, queue};
pub use sampler::{Always, Live, Never, ParentBased, Ratio, Sampler};
pub use tracer::{Reporter, Span, Tracer};
