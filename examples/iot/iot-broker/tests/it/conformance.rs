//! The same behaviours of our broker and of Mosquitto, with clients of both versions.

use std::sync::Arc;

use bowline_runtime::metric::Registry;
use bowline_testkit::{mosquitto, temp_dir};
use iot_broker::{Admission, Broker, Identity, Settings};

use crate::{
    behaviours::{self, Scene},
    client::VERSIONS,
};

/// Everybody's password is `token`, services may do everything, devices what is below their own topic.
pub(crate) struct Rules;

impl Admission for Rules {
    fn authenticate(&self, client: &str, user: Option<&str>, password: Option<&[u8]>) -> Option<Identity> {
        (user == Some(client) && password == Some(b"token")).then(|| Identity::new(client))
    }

    fn may_publish(&self, who: &Identity, topic: &str) -> bool {
        is_own(who, topic)
    }

    fn may_subscribe(&self, who: &Identity, filter: &str) -> bool {
        is_own(who, filter)
    }
}

fn is_own(who: &Identity, topic: &str) -> bool {
    who.name().starts_with("data") || topic.starts_with(&format!("devices/{}/", who.name()))
}

/// The same for Mosquitto.
const ACCESS: mosquitto::Access<'_> = mosquitto::Access {
    users: &[("data", "token"), ("data2", "token"), ("d-1", "token"), ("d-2", "token")],
    rules: "user data\ntopic readwrite #\nuser data2\ntopic readwrite #\npattern readwrite devices/%c/#\n",
};

async fn ours(behaviour: impl AsyncFn(Scene)) {
    for (publishes, subscribes) in VERSIONS.into_iter().flat_map(|one| VERSIONS.map(|other| (one, other))) {
        let dir = temp_dir();
        let settings = Settings::new("127.0.0.1:0".parse().unwrap(), dir.path());
        let broker = Broker::start(settings, Arc::new(Rules), &Registry::default()).await.unwrap();
        behaviour(Scene { addr: broker.addr(), publishes, subscribes }).await;
        broker.stop().await;
    }
}

async fn theirs(behaviour: impl AsyncFn(Scene)) {
    for (publishes, subscribes) in VERSIONS.into_iter().flat_map(|one| VERSIONS.map(|other| (one, other))) {
        let Some(server) = mosquitto::Server::start(ACCESS) else { return };
        behaviour(Scene { addr: server.addr(), publishes, subscribes }).await;
    }
}

macro_rules! suite {
    ($broker:ident: $($behaviour:ident),+ $(,)?) => {
        mod $broker {
            $(
                #[tokio::test]
                async fn $behaviour() {
                    super::$broker(super::behaviours::$behaviour).await;
                }
            )+
        }
    };
    ($($behaviour:ident),+ $(,)?) => {
        suite!(ours: $($behaviour),+);
        suite!(theirs: $($behaviour),+);
    };
}

suite! {
    messages_arrive_in_order,
    filters_match_by_levels,
    retained_messages_wait_for_subscribers,
    a_lasting_session_misses_nothing,
    other_sessions_are_forgotten,
    a_second_connection_takes_over,
    a_will_is_for_whoever_is_lost,
    a_wrong_password_is_refused,
    what_may_not_be_published_is_not,
    what_may_not_be_subscribed_to_does_not_come,
    unsubscribing_ends_it,
    a_large_message_comes_as_a_whole,
}
