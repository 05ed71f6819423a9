//! A small system with faults, for tests of how they are told.

use std::path::Path;

use bowline_model::{
    Position, System,
    check::{EdgeLoad, Rule, Severity, Site, Violation},
    observed::{Gap, Observed},
    parse,
    units::Share,
};

use super::{Report, Sources};

/// The file: where what the violations below point to is.
pub(super) const FILE: &str = r#"name = "shop"
[service.order]
[service.order.boundary]
api = ["GET /orders"]
data = ["sqlite:order.db"]
state = ["cache:order"]
[service.order.calls.user]
timeout = "2s"
retry = { attempts_max = 3, backoff = "20ms..200ms", budget = "20%" }
[service.user]
[service.user.boundary]
api = ["GET /users"]
data = ["sqlite:order.db"]
[service.user.calls.order]
[[route]]
name = "orders"
backends = [{ service = "order" }]
"#;

static TWO_OWNERS: Rule = Rule { id: "B0002", title: "data with two owners", page: "# B0002\n\nWhy.\n" };
static CYCLE: Rule = Rule { id: "B0008", title: "a synchronous cycle", page: "# B0008\n\nWhy.\n" };

/// The system, and what is wrong with it.
#[derive(Debug)]
pub(super) struct Shop {
    pub(super) system: System,
    pub(super) sources: Sources,
}

impl Shop {
    pub(super) fn new() -> Self {
        // As it parses whatever the axioms say: the two owners come after.
        let text = FILE.replacen("order.db\"]\n[service.user.calls", "user.db\"]\n[service.user.calls", 1);
        let (system, _) = parse::declared(&text, None).unwrap();
        Self { system, sources: Sources::new(Path::new("./bowline.toml"), FILE) }
    }

    pub(super) fn report<'a>(&'a self, violations: &'a [Violation]) -> Report<'a> {
        let Self { system, sources } = self;
        Report { system, violations, notes: &[], loads: &[], seen: None, sources }
    }
}

pub(super) fn two_owners() -> Violation {
    Violation {
        rule: &TWO_OWNERS,
        severity: Severity::Error,
        message: "`sqlite:order.db` belongs to `order` and to `user`".to_owned(),
        sites: vec![site(13, 9, "and by user here"), site(5, 9, "owned by order here")],
        why: "what two services write, neither of them can change alone".to_owned(),
        help: "let one of them own it, and the other call it".to_owned(),
        trace_id: None,
    }
}

pub(super) fn cycle() -> Violation {
    Violation {
        rule: &CYCLE,
        severity: Severity::Error,
        message: "order → user → order".to_owned(),
        sites: vec![site(7, 22, "order waits for user here"), site(14, 21, "user waits for order here")],
        why: "each waits for the other".to_owned(),
        help: "let one of them tell the other by message".to_owned(),
        trace_id: Some("0123456789abcdef0123456789abcdef".to_owned()),
    }
}

pub(super) fn load() -> EdgeLoad {
    EdgeLoad { caller: "order".to_owned(), callee: "user".to_owned(), attempts_worst: 3, load_sustained: 1.2 }
}

pub(super) fn site(line: usize, column: usize, label: &str) -> Site {
    Site { file: None, position: Position { line, column }, label: label.to_owned() }
}

/// Of a time whose begin the store no longer keeps, and of some traces alone.
pub(super) fn observed() -> Observed {
    Observed {
        traces: 1,
        spans: 1,
        since_unix_ms: 10,
        whole_since_unix_ms: 20,
        until_unix_ms: 30,
        gaps: vec![Gap::Deleted],
        sample: Some(Share::from_percent(10)),
        ..Observed::default()
    }
}
