//! The context of the request that the running task works for.

use std::future::Future;

use crate::SpanContext;

tokio::task_local! {
    static CONTEXT: SpanContext;
}

/// The context that [`scope`] set for this task, if any.
pub fn context() -> Option<SpanContext> {
    CONTEXT.try_with(|ctx| *ctx).ok()
}

/// Runs a future with that context.
///
/// Tasks that the future spawns do not inherit it: wrap them too.
pub fn scope<F: Future>(ctx: SpanContext, future: F) -> impl Future<Output = F::Output> {
    CONTEXT.scope(ctx, future)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SpanId, TraceId};

    #[tokio::test]
    async fn the_innermost_scope_counts_and_ends() {
        let make = || SpanContext { trace_id: TraceId::generate(), span_id: SpanId::generate(), is_sampled: true };
        let (outer, inner) = (make(), make());
        assert_eq!(context(), None);
        scope(outer, async {
            assert_eq!(context(), Some(outer));
            scope(inner, async { assert_eq!(context(), Some(inner)) }).await;
            assert_eq!(context(), Some(outer));
        })
        .await;
        assert_eq!(context(), None);
    }
}
