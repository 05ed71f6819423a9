//! How fast the trace store keeps spans, how small, and how fast it finds them: prints JSON.
//!
//! `spans [COUNT]`: appends so many spans (1,000,000 if nobody says) as the example system `shop`
//! makes them, on one thread beside the store's.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a measurement, for people")]

#[path = "../tests/it/shop.rs"]
mod shop;

use std::time::Duration;

use bowline_observe::{
    graph::{self, ServiceGraph},
    traces::{Query, Settings, TraceStore},
};
use bowline_runtime::{metric::Registry, time};
use bowline_telemetry::SpanData;

/// Spans of one append, as a receiver gets them.
const BATCH: usize = 600;
/// Orders that are made once and appended with other ids, as making them costs more than keeping them.
const ORDERS: usize = 20_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let count: usize = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().unwrap());
    let now = time::unix_nanos(time::wall());
    let pool: Vec<SpanData> = (0..ORDERS).flat_map(|at| shop::order(now + at as u64 * 100_000)).collect();
    for is_graph in [false, true] {
        println!("{}", run(count, now, &pool, is_graph).await);
    }
}

async fn run(count: usize, now: u64, pool: &[SpanData], is_graph: bool) -> serde_json::Value {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Registry::default();
    let graph = ServiceGraph::new(graph::Settings { metrics: metrics.clone(), ..graph::Settings::default() });
    let tap = is_graph.then(|| graph.tap());
    let bytes_max = 4 << 30;
    let store =
        TraceStore::open(Settings { bytes_max, tap, metrics: metrics.clone(), ..Settings::new(dir.path()) }).unwrap();
    let begun = time::now();
    let (mut made, mut waited) = (0, Duration::ZERO);
    let mut batches = pool.chunks(BATCH).cycle();
    let mut salt = 0;
    while made < count {
        let making = time::now();
        let batch: Vec<SpanData> = batches.next().unwrap().iter().map(|span| salted(span, salt)).collect();
        made += batch.len();
        if (made / pool.len()) as u64 != salt {
            salt += 1;
        }
        waited += making.elapsed();
        while store.append(batch.clone()) == 0 {
            time::sleep(Duration::from_millis(1)).await;
        }
    }
    store.flush().await.unwrap();
    let kept_for = begun.elapsed();
    let bytes = store.bytes_on_disk();
    let searches = searches(&store).await;
    let graph_begun = time::now();
    let edges = graph.snapshot(Duration::from_hours(1)).edges.len();
    let answer = serde_json::json!({
        "spans": made, "seconds": kept_for.as_secs_f64(), "seconds_making": waited.as_secs_f64(),
        "spans_per_second": made as f64 / kept_for.as_secs_f64(), "bytes_per_span": bytes as f64 / made as f64,
        "search_seconds": searches, "has_graph": is_graph, "edges": edges,
        "snapshot_seconds": graph_begun.elapsed().as_secs_f64(), "now": now,
    });
    store.close().await;
    answer
}

/// The span under ids of its own.
fn salted(span: &SpanData, salt: u64) -> SpanData {
    let change = |id: u64| bowline_telemetry::SpanId::new(id ^ salt << 7).unwrap_or(span.span_id);
    SpanData {
        trace_id: bowline_telemetry::TraceId::new(span.trace_id.get() ^ u128::from(salt) << 9).unwrap_or(span.trace_id),
        span_id: change(span.span_id.get()),
        parent_span_id: span.parent_span_id.map(|id| change(id.get())),
        ..span.clone()
    }
}

async fn searches(store: &TraceStore) -> serde_json::Value {
    let attribute = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let queries = [
        ("newest", Query::default()),
        (
            "service_and_duration",
            Query {
                service: Some("bank".to_owned()),
                min_duration: Some(Duration::from_millis(20)),
                ..Query::default()
            },
        ),
        ("attribute_of_one_in_500", Query { attributes: attribute("enduser.id", "customer-7"), ..Query::default() }),
        ("attribute_of_none", Query { attributes: attribute("enduser.id", "nobody"), ..Query::default() }),
    ];
    let mut seconds = serde_json::Map::new();
    for (name, query) in queries {
        let begun = time::now();
        let found = store.search(&query).await.unwrap();
        let took = begun.elapsed().as_secs_f64();
        seconds
            .insert(name.to_owned(), serde_json::json!({"seconds": took, "found": found.len(), "cut": found.is_cut}));
    }
    seconds.into()
}
