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

/// Has a future run with the context that there is now, if any, wherever it is spawned.
pub fn inherit<F: Future>(future: F) -> impl Future<Output = F::Output> {
    within(context(), future)
}

/// Runs a future with that context, if it is one, else with what there is where it runs.
pub async fn within<F: Future>(context: Option<SpanContext>, future: F) -> F::Output {
    match context {
        Some(context) => scope(context, future).await,
        None => future.await,
    }
}

/// Runs a future with that context.
///
/// Tasks that the future spawns do not have it: [`inherit`] is for them.
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
            bowline_runtime::task::spawn(inherit(async move { assert_eq!(context(), Some(outer)) })).await.unwrap();
            assert_eq!(context(), Some(outer));
        })
        .await;
        assert_eq!(context(), None);
        inherit(async { assert_eq!(context(), None) }).await;
    }
}
