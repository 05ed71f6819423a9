//! What is logged of requests that are denied: the rule, and not every one of them.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Mutex, PoisonError},
};

use bowline_model::system::Outbound;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::support::{Shop, shop};

type Line = BTreeMap<&'static str, String>;

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(fields.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Fields(Line);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_names_its_rule_once_a_second() {
    // Others' lines come here, too, where tests share a process: their callers are others.
    tracing::subscriber::set_global_default(Listener).unwrap();
    let shop = Shop::new(shop()).await;
    let payment = shop.run("payment", Outbound::Sidecar).await;
    let curious = shop.client("service/stranger-0").await;
    for _ in 0..20 {
        assert_eq!(curious.ask("payment", &payment, "POST", "/charges?card=4711").await.status, 403);
    }
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let denied: Vec<_> =
        lines.iter().filter(|line| line.get("caller").is_some_and(|caller| caller == "service/stranger-0")).collect();
    assert!((1..20).contains(&denied.len()), "{denied:?}");
    let line = denied[0];
    assert_eq!((&*line["message"], &*line["reason"]), ("request denied", "mesh_not_declared"));
    assert_eq!((&*line["rule"], &*line["path"]), ("service.stranger-0.calls.payment", "/charges"));
    assert_eq!((&*line["service"], &*line["left_out"]), ("payment", "0"));
}
