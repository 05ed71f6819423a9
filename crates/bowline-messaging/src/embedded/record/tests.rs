//! What is written is read back, and nothing else is.

use proptest::prelude::*;

use super::*;

prop_compose! {
    fn message()(
        position in 1_u64..1 << 40,
        id in "[a-z0-9]{1,40}",
        key in proptest::option::of("[a-z]{1,20}"),
        headers in proptest::collection::vec(("[a-z-]{1,12}", "[ -~]{0,40}"), 0..4),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        published_ms in 0_i64..1 << 42,
        delay in 0_i64..1 << 30,
        expires_in in proptest::option::of(0_i64..1 << 30),
        only in proptest::option::of("[a-z]{1,20}"),
    ) -> Message {
        let (due_ms, expires_ms) = (published_ms + delay, expires_in.map(|expires| published_ms + expires));
        Message { position, id, key, headers, payload: payload.into(), published_ms, due_ms, expires_ms, only }
    }
}

fn record() -> impl Strategy<Value = Record> {
    let group =
        ("[a-z]{1,12}", any::<u32>(), proptest::collection::btree_map(1_u64..1 << 30, any::<(u32, i32)>(), 0..9));
    let group = group.prop_map(|(name, attempts_max, pending)| {
        let policy = Policy { attempts_max, backoff_ms: 3, backoff_ms_max: 70 };
        let pending = pending.into_iter().map(|(position, (attempts, due))| (position, attempts, i64::from(due)));
        let policy = (attempts_max > 0).then_some(policy);
        let pending = pending.collect();
        Record::Group(KeptGroup { name, policy, lease_ms: 5, next: 9, pending })
    });
    let dead = (message(), "[ -~]{0,40}").prop_map(|(message, failure)| {
        let group = "notify".to_owned();
        Record::Dead(DeadLetter { position: 3, group, attempts: 5, failure, died_ms: 77, message })
    });
    prop_oneof![
        message().prop_map(Record::Message),
        message().prop_map(Record::Unnamed),
        Just(Record::Pending { group: "g".to_owned(), pending: vec![(3, 0, 0), (9, 2, -7)] }),
        Just(Record::Served {
            group: "g".to_owned(),
            policy: Policy { attempts_max: 7, backoff_ms: 3, backoff_ms_max: 70 },
            lease_ms: 5
        }),
        group,
        ("[a-z]{1,9}", 1_u64..99).prop_map(|(group, position)| Record::Done { group, position }),
        ("[a-z]{1,9}", 1_u64..99, any::<i64>()).prop_map(|(group, position, due)| Record::Failed {
            group,
            position,
            attempts: 4,
            due
        }),
        "[a-z]{1,9}".prop_map(|group| Record::Removed { group }),
        (1_u64..99).prop_map(|next| Record::Began { next }),
        dead,
        (1_u64..99).prop_map(|position| Record::Raised { position }),
    ]
}

proptest! {
    #[test]
    fn a_batch_is_read_back(records in proptest::collection::vec(record(), 0..12)) {
        let mut batch = Vec::new();
        for record in &records {
            record.put(&mut batch);
        }
        prop_assert_eq!(read_batch(&batch, None).unwrap(), records.clone());
        let whole = Bytes::from(batch);
        prop_assert_eq!(read_batch(&whole, Some(&whole)).unwrap(), records);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _either = read_batch(&bytes, None);
    }
}
