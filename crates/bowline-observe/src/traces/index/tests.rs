//! Tests of the index.

use super::*;

fn head(trace: u64, service: &'static str, name: &'static str, start: u64) -> Head<'static> {
    Head {
        trace_id: TraceId::new(trace.into()).unwrap(),
        service,
        name,
        start_unix_nanos: start,
        duration_nanos: 10,
        is_root: true,
        status: SpanStatus::Unset,
    }
}

fn index(traces_max: usize) -> Index {
    let mut index = Index::new(traces_max);
    for segment in 1..=3 {
        index.add_segment(segment, Arc::new(tempfile::tempfile().unwrap()));
    }
    index
}

fn add(index: &mut Index, segment: u32, offset: u32, heads: &[Head<'_>]) -> usize {
    index.add_record(Place { segment, offset }, u64::MAX, heads)
}

fn found(index: &Index, query: &Query) -> Vec<u128> {
    index.candidates(query, None, usize::MAX).iter().map(|found| found.key.1.get()).collect()
}

#[test]
fn deleting_a_segment_takes_its_share_of_a_trace_away() {
    let mut index = index(10);
    let trace_id = TraceId::new(1).unwrap();
    add(&mut index, 1, 16, &[head(1, "gateway", "GET", 100), head(2, "gateway", "GET", 50)]);
    add(&mut index, 2, 16, &[Head { is_root: false, status: SpanStatus::Error, ..head(1, "order", "work", 120) }]);
    let whole = &index.candidates(&Query::default(), None, 10)[0].summary;
    assert_eq!((&*whole.root_service, &*whole.root_name), ("gateway", "GET"));
    assert_eq!((whole.start_unix_nanos, whole.duration_nanos, whole.span_count), (100, 30, 2));
    assert_eq!(whole.services, ["gateway", "order"]);
    assert!(whole.has_error);
    index.remove_segment(1);
    let rest = index.candidates(&Query::default(), None, 10);
    assert_eq!(rest.len(), 1);
    let rest = &rest[0].summary;
    assert_eq!((&*rest.root_service, rest.start_unix_nanos, rest.span_count), ("order", 120, 1));
    assert_eq!(index.records(trace_id).unwrap().len(), 1);
    index.remove_segment(2);
    assert!(index.records(trace_id).is_none());
    assert_eq!((index.len(), index.order.len(), index.operations.len()), (0, 0, 0));
}

#[test]
fn the_oldest_traces_are_forgotten_when_it_is_full() {
    let mut index = index(3);
    let forgotten: usize = (1..=5).map(|n| add(&mut index, 1, 16, &[head(n, "a", "b", n)])).sum();
    assert_eq!((forgotten, index.len()), (2, 3));
    assert_eq!(found(&index, &Query::default()), [5, 4, 3]);
    index.remove_segment(1);
    assert_eq!((index.len(), index.operations.len()), (0, 0));
}

#[test]
fn from_when_on_all_is_kept_is_known() {
    let mut index = index(3);
    for segment in 1..=3 {
        let written_at = u64::from(segment) * 100;
        for (trace, before) in [(segment * 2, 10), (segment * 2 + 1, 5)] {
            // Two in each segment, and room for three.
            index.add_record(
                Place { segment, offset: 16 },
                written_at,
                &[head(trace.into(), "a", "b", written_at - before)],
            );
        }
        assert_eq!(index.kept_since(), [0, 91, 191][segment as usize - 1], "{segment}");
    }
    index.remove_segment(1);
    assert_eq!(index.kept_since(), 200);
    index.remove_segment(2);
    assert_eq!(index.kept_since(), 300);
}

#[test]
fn a_clock_from_the_future_does_not_stay_newest_for_ever() {
    let mut index = index(10);
    index.add_record(Place { segment: 1, offset: 16 }, 100, &[head(1, "a", "b", u64::MAX)]);
    index.add_record(Place { segment: 1, offset: 99 }, 200, &[head(2, "a", "b", 150)]);
    assert_eq!(found(&index, &Query::default()), [2, 1]);
}

#[test]
fn spans_of_one_record_are_one_read() {
    let mut index = index(10);
    add(&mut index, 1, 16, &[head(1, "a", "b", 1), head(1, "a", "c", 2), head(2, "a", "c", 2), head(1, "a", "d", 3)]);
    assert_eq!(index.records(TraceId::new(1).unwrap()).unwrap().len(), 1);
    assert_eq!(index.span_count(TraceId::new(1).unwrap()), 3);
}

#[test]
fn a_trace_of_many_operations_is_looked_at() {
    let mut index = index(10);
    let names: Vec<&'static str> = (0..100).map(|i| &*format!("name-{i:03}").leak()).collect();
    let heads: Vec<_> = names.iter().enumerate().map(|(at, name)| head(1, "a", name, at as u64)).collect();
    add(&mut index, 1, 16, &heads);
    add(&mut index, 1, 9999, &[head(2, "a", "name-000", 5)]);
    let named = |name: &str| Query { operation: Some(name.to_owned()), ..Query::default() };
    let early = index.candidates(&named("name-001"), None, 10);
    assert_eq!((early.len(), early[0].is_unsure), (1, false));
    let late = index.candidates(&named("name-099"), None, 10);
    assert_eq!((late.len(), late[0].is_unsure), (1, true));
    assert_eq!(found(&index, &named("name-000")), [2, 1]);
}

#[test]
fn pages_follow_each_other() {
    let mut index = index(100);
    for n in 1..=10 {
        add(&mut index, 1, 16, &[head(n, "a", "b", n)]);
    }
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = index.candidates(&Query::default(), before, 3);
        seen.extend(page.iter().map(|found| found.key.1.get()));
        match page.last() {
            Some(last) => before = Some(last.key),
            None => break,
        }
    }
    assert_eq!(seen, (1..=10).rev().collect::<Vec<_>>());
}
