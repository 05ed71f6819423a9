//! What a crash or a bad disk leaves is opened, and never gives wrong spans.

use std::{collections::HashMap, fs, path::PathBuf};

use super::*;

const SEEDS: u64 = 30;

/// A store with some segments; gives what is in it.
async fn filled(dir: &Path) -> HashMap<TraceId, Vec<SpanData>> {
    let store = open(dir);
    let mut written: HashMap<TraceId, Vec<SpanData>> = HashMap::new();
    for batch in 0..12 {
        let spans: Vec<_> = (1..=40)
            .map(|number| {
                let text = random_text(rand::below(600));
                let mut span = span(number, batch + 1);
                span.attributes.push(("text".into(), text.into()));
                span
            })
            .collect();
        for span in &spans {
            written.entry(span.trace_id).or_default().push(span.clone());
        }
        assert_eq!(store.append(spans), 40);
        store.flush().await.unwrap();
    }
    store.close().await;
    written
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|ext| ext == "spans")).collect();
    paths.sort();
    paths
}

/// Opens what is left, checks that every span in it was written so, and that it takes new ones.
async fn check(dir: &Path, written: &HashMap<TraceId, Vec<SpanData>>, seed: u64) -> usize {
    let store = open(dir);
    let mut count = 0;
    for found in store.search(&Query { limit: 1000, ..Query::default() }).await.unwrap() {
        let spans = store.trace(found.trace_id).await.unwrap().unwrap();
        assert_eq!(spans.len(), found.span_count, "seed {seed}");
        for span in &spans {
            assert!(written[&found.trace_id].contains(span), "seed {seed}: {span:?}");
        }
        count += spans.len();
    }
    let new = span(1_000_000, 1);
    store.append(vec![new.clone()]);
    assert_eq!(store.trace(new.trace_id).await.unwrap().unwrap(), std::slice::from_ref(&new), "seed {seed}");
    store.close().await;
    let store = open(dir);
    assert_eq!(store.trace(new.trace_id).await.unwrap().unwrap(), [new], "seed {seed}");
    store.close().await;
    count
}

#[tokio::test(start_paused = true)]
async fn a_file_cut_anywhere_is_opened() {
    for seed in 0..SEEDS {
        eprintln!("seed {seed}");
        rand::seed(seed);
        let dir = tempfile::tempdir().unwrap();
        let written = filled(dir.path()).await;
        let paths = segments(dir.path());
        assert!(paths.len() > 1);
        let path = &paths[rand::below(paths.len())];
        let length = fs::metadata(path).unwrap().len();
        let cut = rand::below(usize::try_from(length).unwrap()) as u64;
        fs::OpenOptions::new().write(true).open(path).unwrap().set_len(cut).unwrap();
        let count = check(dir.path(), &written, seed).await;
        assert!(count < 480, "seed {seed}: something is gone");
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_flipped_anywhere_give_no_wrong_spans() {
    for seed in 0..SEEDS {
        eprintln!("seed {seed}");
        rand::seed(seed);
        let dir = tempfile::tempdir().unwrap();
        let written = filled(dir.path()).await;
        let paths = segments(dir.path());
        let path = &paths[rand::below(paths.len())];
        let mut bytes = fs::read(path).unwrap();
        for _ in 0..=rand::below(3) {
            let at = rand::below(bytes.len());
            bytes[at] ^= 1 << rand::below(8);
        }
        fs::write(path, bytes).unwrap();
        check(dir.path(), &written, seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_of_garbage_or_zeros_gives_no_wrong_spans() {
    for seed in 0..SEEDS {
        eprintln!("seed {seed}");
        rand::seed(seed);
        let dir = tempfile::tempdir().unwrap();
        let written = filled(dir.path()).await;
        let paths = segments(dir.path());
        let path = &paths[rand::below(paths.len())];
        let mut bytes = fs::read(path).unwrap();
        let at = rand::below(bytes.len());
        let end = (at + 4096).min(bytes.len());
        let is_zero = rand::below(2) == 0;
        bytes[at..end].fill_with(|| if is_zero { 0 } else { rand::below(256).try_into().unwrap() });
        fs::write(path, bytes).unwrap();
        check(dir.path(), &written, seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn damage_under_an_open_store_is_skipped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Registry::default();
    let store = TraceStore::open(Settings { metrics: metrics.clone(), ..settings(dir.path()) }).unwrap();
    for id in 1..=2 {
        store.append(vec![span(1, id)]);
        store.flush().await.unwrap();
    }
    let path = &segments(dir.path())[0];
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(path, bytes).unwrap();
    assert_eq!(store.trace(trace_id(1)).await.unwrap().unwrap(), [span(1, 1)]);
    assert_eq!(metric(&metrics, "bowline_traces_records_unreadable_total"), 1);
}

/// The folder that the child of the next test is to fill.
const KILLED_DIR: &str = "BOWLINE_TEST_KILLED_DIR";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_while_it_takes_spans_leaves_a_store_that_opens() {
    if let Some(dir) = std::env::var_os(KILLED_DIR) {
        return fill_until_killed(Path::new(&dir)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3_u64 {
        let this = std::env::current_exe().unwrap();
        let name = "crash::a_process_killed_while_it_takes_spans_leaves_a_store_that_opens";
        let mut child = std::process::Command::new(this)
            .args(["--exact", name, "--nocapture"])
            .env(KILLED_DIR, dir.path())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // The child says which trace can be read; then it is killed in the middle of the next ones.
        let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        let told = lines.filter_map(|line| line.unwrap().rsplit_once("kept ").and_then(|(_, id)| id.parse().ok()));
        let kept: Vec<TraceId> = told.take(5 + usize::try_from(round).unwrap() * 7).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        let last = *kept.last().unwrap();
        let store = open(dir.path());
        let spans = store.trace(last).await.unwrap().expect("what could be read before is there after");
        assert!(spans.len() >= shop::ORDER_SPANS, "round {round}: {}", spans.len());
        let found = store.search(&Query { limit: 1000, ..Query::default() }).await.unwrap();
        assert!(found.len() > 100, "round {round}");
        for found in found {
            let spans = store.trace(found.trace_id).await.unwrap().unwrap();
            assert_eq!(spans.len(), found.span_count, "round {round}");
        }
        store.close().await;
    }
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
async fn fill_until_killed(dir: &Path) {
    let store = open(dir);
    loop {
        let spans: Vec<_> = (0..100).flat_map(|at| shop::order(1_767_225_600_000_000_000 + at * 1_000_000)).collect();
        let trace_id = spans[0].trace_id;
        store.append(spans);
        assert!(store.trace(trace_id).await.unwrap().is_some());
        println!("kept {trace_id}");
    }
}
