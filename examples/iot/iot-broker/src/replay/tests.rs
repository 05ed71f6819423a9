//! Whatever happens, the journal says what counts.

use std::sync::Arc;

use bowline_runtime::metric::Registry;
use proptest::prelude::*;
use rumqttc_v5::mqttbytes::v5::{Publish, RetainForwardRule};
use tokio::sync::Notify;

use super::*;
use crate::{
    admission::{Admission, Identity},
    metrics::Metrics,
    session::Options,
    settings::Bounds,
    state::{Joining, Leaving, Who},
};

/// What may happen; clients, filters and topics by number.
#[derive(Debug, Clone)]
enum Act {
    Join {
        client: usize,
        is_clean: bool,
        expiry_s: u32,
        has_will: bool,
    },
    Leave {
        client: usize,
        is_polite: bool,
        expiry_s: Option<u32>,
    },
    Subscribe {
        client: usize,
        filter: usize,
        qos: bool,
    },
    Unsubscribe {
        client: usize,
        filter: usize,
    },
    Publish {
        client: usize,
        topic: usize,
        qos: bool,
        is_retained: bool,
        is_empty: bool,
    },
    Deliver {
        client: usize,
        acknowledged: usize,
    },
    /// What lets a client in changes, or goes.
    Account {
        client: usize,
        is_gone: bool,
    },
    Wait {
        seconds: u64,
    },
}

const CLIENTS: [&str; 3] = ["data", "d-1", "d-2"];
const FILTERS: [&str; 4] = ["a/#", "a/+", "a/1", "+/2"];
const TOPICS: [&str; 4] = ["a", "a/1", "a/2", "b/2"];

fn act() -> impl Strategy<Value = Act> {
    let expiry_s = || prop::sample::select(vec![0_u32, 5, 1000]);
    prop_oneof![
        (0..3_usize, any::<bool>(), expiry_s(), any::<bool>()).prop_map(|(client, is_clean, expiry_s, has_will)| {
            Act::Join { client, is_clean: is_clean && expiry_s != 1000, expiry_s, has_will }
        }),
        (0..3_usize, any::<bool>(), prop::option::of(expiry_s()))
            .prop_map(|(client, is_polite, expiry_s)| Act::Leave { client, is_polite, expiry_s }),
        (0..3_usize, 0..4_usize, any::<bool>()).prop_map(|(client, filter, qos)| Act::Subscribe {
            client,
            filter,
            qos
        }),
        (0..3_usize, 0..4_usize).prop_map(|(client, filter)| Act::Unsubscribe { client, filter }),
        (0..3_usize, 0..4_usize, any::<[bool; 3]>()).prop_map(|(client, topic, [qos, is_retained, is_empty])| {
            Act::Publish { client, topic, qos, is_retained, is_empty }
        }),
        (0..3_usize, 0..4_usize).prop_map(|(client, acknowledged)| Act::Deliver { client, acknowledged }),
        (0..3_usize, any::<bool>()).prop_map(|(client, is_gone)| Act::Account { client, is_gone }),
        (0..10_u64).prop_map(|seconds| Act::Wait { seconds }),
    ]
}

/// A state, who is connected, and all that was written.
struct World {
    state: State,
    connected: [Option<Who>; 3],
    written: Vec<Record>,
    now_ms: u64,
}

fn state() -> State {
    let bounds = Bounds { queue_messages_max: 5, retained_max: 2, ..Bounds::default() };
    State::new(bounds, Metrics::new(&Registry::default()), Arc::new(Accounts))
}

/// A client is let in by what is retained of its account.
struct Accounts;

impl Admission for Accounts {
    fn authenticate(&self, client: &str, _: Option<&str>, _: Option<&[u8]>) -> Option<Identity> {
        Some(Identity::new(client))
    }

    fn may_publish(&self, _: &Identity, _: &str) -> bool {
        true
    }

    fn may_subscribe(&self, _: &Identity, _: &str) -> bool {
        true
    }

    fn holder<'a>(&self, topic: &'a str) -> Option<&'a str> {
        topic.strip_prefix("accounts/")
    }
}

fn qos(is_one: bool) -> QoS {
    if is_one { QoS::AtLeastOnce } else { QoS::AtMostOnce }
}

fn message(topic: &str, is_one: bool, payload: &str) -> Arc<Message> {
    Arc::new(Message::published(Publish::new(topic, qos(is_one), payload.to_owned(), None), 0))
}

impl World {
    fn new() -> Self {
        let mut state = state();
        state.pending.take_records();
        Self { state, connected: [None; 3], written: Vec::new(), now_ms: 1_000_000 }
    }

    fn act(&mut self, act: &Act) {
        let now_ms = self.now_ms;
        let who = |client: usize| self.connected[client].filter(|who| self.state.is_connected(*who));
        match *act {
            Act::Join { client, is_clean, expiry_s, has_will } => {
                let will = Will { message: message("a/1", true, "lost"), is_retained: true, delay_s: 3, due_ms: None };
                let joining = Joining {
                    client: CLIENTS[client].into(),
                    is_clean,
                    expiry_s,
                    inflight_max: 2,
                    wake: Arc::new(Notify::new()),
                    will: has_will.then_some(will),
                };
                self.connected[client] = self.state.join(joining, now_ms).map(|joined| joined.who);
            }
            Act::Leave { client, is_polite, expiry_s } => {
                let leaving = if is_polite { Leaving::Politely { expiry_s } } else { Leaving::Lost { expiry_s } };
                if let Some(who) = self.connected[client].take() {
                    self.state.leave(who, leaving, now_ms);
                }
            }
            Act::Subscribe { client, filter, qos: is_one } => {
                let options = Options { qos: qos(is_one), ..Options::default() };
                if let Some(who) = who(client) {
                    let wanted = (FILTERS[filter], options, RetainForwardRule::OnEverySubscribe);
                    self.state.subscribe(who, wanted, now_ms).unwrap().ok();
                }
            }
            Act::Unsubscribe { client, filter } => {
                if let Some(who) = who(client) {
                    self.state.unsubscribe(who, FILTERS[filter]).unwrap();
                }
            }
            Act::Publish { client, topic, qos, is_retained, is_empty } => {
                if let Some(who) = who(client) {
                    let message = message(TOPICS[topic], qos, if is_empty { "" } else { "x" });
                    self.state.publish(who.session, &message, is_retained);
                }
            }
            Act::Deliver { client, acknowledged } => {
                if let Some(who) = who(client) {
                    let packets = self.state.take(who, 10_000, now_ms).unwrap().packets;
                    for publish in packets.iter().filter(|publish| publish.pkid > 0).take(acknowledged) {
                        self.state.acknowledge(who, publish.pkid).unwrap();
                    }
                }
            }
            Act::Account { client, is_gone } => {
                let hash = if is_gone { String::new() } else { now_ms.to_string() };
                let account = message(&format!("accounts/{}", CLIENTS[client]), true, &hash);
                self.state.publish(0, &account, true);
                let is_known = self.state.clients.contains_key(CLIENTS[client]);
                assert!(!is_gone || !is_known || self.connected[client].is_some(), "its session is there");
            }
            Act::Wait { seconds } => {
                self.now_ms += 1000 * seconds;
                self.state.tick(self.now_ms);
            }
        }
        self.written.extend(self.state.pending.take_records());
    }

    /// What a broker finds after a crash, from what was written, and what the next file begins with.
    fn found(records: Vec<Record>) -> State {
        let mut found = state();
        for record in records {
            found.replay(record);
        }
        found
    }
}

/// The sums are those of what is there.
fn check_sums(state: &State) {
    let queued = |is_promised: bool| {
        let messages = state.sessions.values().flat_map(Session::messages);
        let counted = messages.filter(move |queued| (queued.id > 0) == is_promised);
        counted.map(|queued| queued.message.bytes()).sum::<usize>()
    };
    assert_eq!((state.promised_bytes, state.passing_bytes), (queued(true), queued(false)));
    let of_sessions = state.sessions.values().map(|session| session.promised_bytes).sum::<usize>();
    assert_eq!(of_sessions, state.promised_bytes);
    assert_eq!(state.retained_bytes, state.retained.values().map(|message| message.bytes()).sum::<usize>());
    for (client, id) in &state.clients {
        assert_eq!(&state.sessions[id].client, client);
    }
    assert_eq!(state.clients.len(), state.sessions.len());
    for topic in TOPICS {
        let expected: Vec<SessionId> = state
            .sessions
            .iter()
            .filter(|(_, it)| it.filters.keys().any(|filter| rumqttc_v5::mqttbytes::matches(topic, filter)))
            .map(|(id, _)| *id)
            .collect();
        assert_eq!(state.filters.matching(topic).into_keys().collect::<Vec<_>>(), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn after_a_crash_all_that_counts_is_there(acts in prop::collection::vec(act(), 0..60)) {
        let mut world = World::new();
        for act in &acts {
            world.act(act);
        }
        check_sums(&world.state);
        let expected = world.state.records();
        let found = World::found(world.written);
        prop_assert_eq!(found.records(), expected.clone());
        check_sums(&found);
        prop_assert_eq!(World::found(expected.clone()).records(), expected);
    }
}
