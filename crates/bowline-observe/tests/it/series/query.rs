//! Selecting by labels and time.

use super::*;

#[tokio::test(start_paused = true)]
async fn matchers_select_in_head_and_blocks_alike() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut scrapes = Scrapes::new(&store, 12, now_ms() - 3 * 3_600_000);
    for _ in 0..1500 {
        scrapes.scrape(&store);
    }
    let check = |store: &SeriesStore| {
        let select = |matchers: &[Matcher]| {
            let series = store.select(matchers, 0, i64::MAX, usize::MAX).unwrap();
            let wanted = everything(store).into_iter().map(|series| series.labels);
            let wanted: Vec<_> = wanted.filter(|labels| matchers.iter().all(|one| one.is_matching(labels))).collect();
            assert_eq!(series.into_iter().map(|series| series.labels).collect::<Vec<_>>(), wanted);
            let labels = store.labels(&[matchers.to_vec()], 0, i64::MAX).unwrap();
            assert_eq!(labels, wanted);
            wanted.len()
        };
        assert_eq!(select(&[]), 12);
        assert_eq!(select(&[Matcher::equal("__name__", "requests_total")]), 12);
        assert_eq!(select(&[Matcher::equal("job", "service-1")]), 4);
        assert_eq!(select(&[Matcher::not_equal("job", "service-1")]), 8);
        assert_eq!(select(&[Matcher::equal("absent", "")]), 12);
        assert_eq!(select(&[Matcher::not_equal("absent", "")]), 0);
        assert_eq!(select(&[Matcher::equal("job", "")]), 0);
        assert_eq!(select(&[Matcher::regex("instance", "service-1.*").unwrap()]), 3);
        assert_eq!(select(&[Matcher::not_regex("instance", "service-1.*").unwrap()]), 9);
        let both = [Matcher::equal("job", "service-0"), Matcher::regex("instance", "service-[0-5]").unwrap()];
        assert_eq!(select(&both), 2);
        assert_eq!(store.label_names(&[], 0, i64::MAX).unwrap(), ["__name__", "instance", "job"]);
        assert_eq!(store.label_names(&[both.to_vec()], 0, i64::MAX).unwrap(), ["__name__", "instance", "job"]);
        let jobs = ["service-0", "service-1", "service-2"];
        assert_eq!(store.label_values("job", &[], 0, i64::MAX).unwrap(), jobs);
        assert_eq!(
            store.label_values("job", &[vec![Matcher::equal("job", jobs[1])]], 0, i64::MAX).unwrap(),
            jobs[1..2]
        );
    };
    check(&store);
    store.flush().await.unwrap();
    check(&store);
    scrapes.scrape(&store);
    check(&store);
    store.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_range_has_both_its_ends_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut scrapes = Scrapes::new(&store, 5, now_ms() - 4 * 3_600_000);
    for round in 0..2400 {
        scrapes.scrape(&store);
        if round % 800 == 799 {
            store.flush().await.unwrap();
        }
    }
    let times: Vec<i64> = scrapes.model.values().next().unwrap().keys().copied().collect();
    for seed in 0..50 {
        rand::seed(seed);
        let (mut from, mut to) = (times[rand::below(times.len())], times[rand::below(times.len())]);
        if from > to {
            std::mem::swap(&mut from, &mut to);
        }
        let read = model_of(&store.select(&[], from, to, usize::MAX).unwrap());
        let mut wanted = scrapes.model.clone();
        for samples in wanted.values_mut() {
            samples.retain(|at, _| (from..=to).contains(at));
        }
        assert_eq!(read, wanted, "seed {seed}");
        let samples = wanted.values().map(BTreeMap::len).sum::<usize>();
        assert!(store.select(&[], from, to, samples).is_ok());
        assert!(store.select(&[], from, to, samples - 1).is_err());
    }
    store.close().await;
}
