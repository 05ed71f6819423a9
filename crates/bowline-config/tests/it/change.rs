//! Changes on top of what others change meanwhile.

use bowline_config::{Draft, Error, change};

use crate::support::{Fixture, draft, key};

#[tokio::test(start_paused = true)]
async fn none_of_many_changes_is_lost() {
    let fixture = Fixture::new().await;
    let key = key("shop/order");
    let write = async |name: &str| {
        let changed = change::<Error>(&*fixture.config, &key, |current| {
            let before = current.map_or("", |current| current.document.text.as_str());
            Ok(Some(draft(&format!("{before}{name} = 1\n"))))
        });
        changed.await.unwrap().unwrap().number
    };
    let mut numbers: [u64; 4] = tokio::join!(write("a"), write("b"), write("c"), write("d")).into();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4]);
    let text = fixture.config.get_config(&key).await.unwrap().unwrap().document.text;
    assert!(["a = 1", "b = 1", "c = 1", "d = 1"].iter().all(|line| text.contains(line)), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_wanted_or_is_of_another_version_is_not_published() {
    let fixture = Fixture::new().await;
    let key = key("shop/order");
    fixture.publish(&key, "a = 1").await;
    assert_eq!(change::<Error>(&*fixture.config, &key, |_| Ok(None)).await.unwrap(), None);
    let mut count = 0;
    let stale = change::<Error>(&*fixture.config, &key, |_| {
        count += 1;
        Ok(Some(Draft { expect: Some(7), ..draft("a = 2") }))
    });
    assert!(matches!(stale.await, Err(Error::Conflict { expected: 7, .. })));
    assert_eq!((count, fixture.config.get_config(&key).await.unwrap().unwrap().number), (1, 1));
}
