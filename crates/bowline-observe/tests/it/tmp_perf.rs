//! tmp
use super::*;
#[tokio::test]
async fn perf() {
    let dir = tempfile::tempdir().unwrap();
    let s = || Settings { bytes_max: 64 << 20, ..Settings::new(dir.path()) };
    let store = TraceStore::open(s()).unwrap();
    let t = bowline_runtime::time::now();
    let mut n = 0;
    for b in 0..400u128 {
        let spans: Vec<_> = (0..500u128).map(|i| { let t = (b*500+i)/4+1; span(t, (i%4) as u64 + 1)}).collect();
        n += store.append(spans);
        store.search(&Query::default()).await.unwrap();
    }
    store.flush().await.unwrap();
    eprintln!("{n} spans {:?} {} bytes, {} B/span", t.elapsed(), store.bytes_on_disk(), store.bytes_on_disk()/n as u64);
    store.close().await;
    let t = bowline_runtime::time::now();
    let store = TraceStore::open(s()).unwrap();
    eprintln!("open {:?}", t.elapsed());
    let t = bowline_runtime::time::now();
    store.search(&Query{attributes: vec![("id".into(),"77".into())], ..Query::default()}).await.unwrap();
    eprintln!("search {:?}", t.elapsed());
    let t = bowline_runtime::time::now();
    store.search(&Query{service: Some("x".into()), ..Query::default()}).await.unwrap();
    eprintln!("search {:?}", t.elapsed());
}
