//! No text panics: mutations of a valid file, words of the format thrown together, deep nesting.

use proptest::prelude::*;

use super::{declared, parse, parse_with, routes, routes_text};
use crate::{
    check::{Facts, check},
    problem::render,
};

const VALID: &str = r#"name = "t"
[service.a]
build = "make"
run = "./a"
replicas = 2
check = { http = "/readyz", every = "2s", timeout = "500ms" }
env = { A = "1" }
version = "v1"
outbound = "application"
bind = "port"
boundary = { api = ["GET /a/{id}"], data = ["sqlite:a.db"], state = ["topic:a"] }
[service.b.calls.a]
mode = "sync"
operations = ["GET /a/{x}"]
timeout = "800ms"
retry = { attempts_max = 3, backoff = "20ms..500ms", budget = "20%", per_try_timeout = "1ms" }
breaker = { failure_rate = "50%", slow_call = "300ms", window = "10s", calls_min = 20, open_for = "5s", probes_max = 3 }
balance = "random"
[service.b.calls.c]
timeout = "1s"
[service.c.calls.a]
[service.c.boundary]
data = ["sqlite:c.db/x"]
[service.a.versions."2.0"]
run = "./b"
[boundary]
enforce = "warn"
amplification_max = 1
[mesh]
mode = "permissive"
authorization = "dry-run"
certificate_ttl = "30d"
[[route]]
name = "r"
hosts = ["h.localhost", "*.x"]
matches = [{ path = "/a/**", methods = ["GET"], headers = { x = "1" } }] # é日
backends = [{ service = "a", weight = 1 }, { service = "b" }]
body_max = "10 MiB"
auth = "tokens"
limit = { by = "subject", rate = "100/s", burst = 200 }
cors = { origins = ["https://a.b"], methods = ["PUT"], headers = ["x"], expose = ["y"], credentials = true, max_age = "1m" }
request_id = true
request_headers = { remove = ["x-a"], set = { x-b = "1" }, add = { x-c = "2" } }
response_headers = { set = { x-d = "1" } }
compress = true

[gateway]
auth = "keys"
limit = { by = "header:x", rate = "1/d", burst = 1 }
[auth.tokens]
jwt = { issuer = "i", audience = "s", algorithms = ["EdDSA"], jwks = { service = "a", path = "/k" }, leeway = "30s" }
pass_credential = false
[auth.secret.jwt]
issuer = "i"
audience = "s"
algorithms = ["HS256"]
secret = "env:A"

# keys
[auth.keys]
api_key = { header = "x-k", keys = [{ subject = "c", hash = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a" }] }
[config."a/b"]
schema = "c/a.json"
document = "c/a.toml"
[databases]
postgres = "postgres://a@h:1"
credential = "env:P"
[profile.p.service.a]
run = "./p"
boundary = { data = ["postgres:a"] }
[profile.p.service.d]
replicas = 0
[profile.q]
mesh = { mode = "strict" }
"#;

/// Parses, proves and renders; what is told lies within the text and in order. What is right is so by itself too.
fn survives(text: &str) {
    if let Ok((system, unbuilt)) = declared(text, None) {
        check(&system, &Facts::default());
        assert_eq!(parse(text).err().unwrap_or_default(), unbuilt);
    }
    let read = parse(text);
    assert!(read.is_ok() || parse_with(text, Some("p")).is_err(), "right with a profile only:\n{text}");
    let cut = routes_text(text);
    let problems = match read {
        Err(problems) => problems,
        Ok(system) => {
            let services: Vec<_> = system.services.iter().map(|service| service.name.clone()).collect();
            assert_eq!(routes(&cut, &services), Ok(system.table), "in\n{cut}\nof\n{text}\n");
            return;
        }
    };
    assert!(!problems.is_empty(), "refused without a reason:\n{text}");
    assert!(problems.is_sorted_by_key(|problem| problem.position), "{problems:?}");
    let lines: Vec<&str> = text.split('\n').collect();
    for problem in &problems {
        let line = lines.get(problem.position.line - 1).expect("the line is there");
        let end = problem.position.column - 1 + problem.width;
        assert!(problem.width >= 1 && end <= line.chars().count() + 1, "{problem:?} in {line:?}");
        assert!(!problem.message.is_empty() && !problem.help.is_empty(), "{problem:?}");
        assert!(render("f", text, problem).starts_with("f:"));
    }
}

#[derive(Debug, Clone)]
enum Mutation {
    Delete(usize, usize),
    Copy(usize, usize, usize),
    Insert(usize, String),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = 0..VALID.len();
    prop_oneof![
        (place.clone(), 1..20usize).prop_map(|(at, length)| Mutation::Delete(at, length)),
        (place.clone(), 1..40usize, place.clone()).prop_map(|(from, length, to)| Mutation::Copy(from, length, to)),
        (place.clone(), "[\\[\\]{}=.,\"'#\n 0-9a-z\\\\é\u{1b}\t-]{1,6}")
            .prop_map(|(at, text)| Mutation::Insert(at, text)),
        (place, word()).prop_map(|(at, text)| Mutation::Insert(at, text)),
    ]
}

fn word() -> impl Strategy<Value = String> {
    let words: Vec<&str> = VALID.split([' ', '\n']).filter(|word| !word.is_empty()).collect();
    prop::sample::select(words).prop_map(str::to_owned)
}

fn apply(letters: &mut Vec<char>, mutation: Mutation) {
    let within = |at: usize| at.min(letters.len());
    match mutation {
        Mutation::Delete(at, length) => drop(letters.drain(within(at)..within(at + length))),
        Mutation::Copy(from, length, to) => {
            let part = letters[within(from)..within(from + length)].to_vec();
            let to = within(to);
            letters.splice(to..to, part);
        }
        Mutation::Insert(at, text) => {
            let at = within(at);
            letters.splice(at..at, text.chars());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_file(mutations in prop::collection::vec(mutation(), 1..6)) {
        let mut letters: Vec<char> = VALID.chars().collect();
        for mutation in mutations {
            apply(&mut letters, mutation);
        }
        survives(&letters.into_iter().collect::<String>());
    }

    #[test]
    fn words_thrown_together(words in prop::collection::vec((word(), prop::sample::select(vec![" ", "\n", ""])), 0..30)) {
        survives(&words.into_iter().map(|(word, gap)| word + gap).collect::<String>());
    }

    #[test]
    fn any_text(text in "\\PC{0,80}") {
        survives(&text);
    }
}

#[test]
fn the_valid_file_is_valid() {
    assert!(parse(VALID).is_ok(), "{:?}", parse(VALID));
}

#[test]
fn depth_does_not_overflow_the_stack() {
    const COUNT: usize = 200_000;
    let deep = format!("x = {}", "{a.a.a.a.a.a.a.a=".repeat(79) + "1" + &"}".repeat(79));
    for text in [
        format!("{} = 1", "a.".repeat(COUNT) + "a"),
        format!("[{}]", "a.".repeat(COUNT) + "a"),
        format!("x = {}", "[".repeat(COUNT)),
        format!("x = {}", "{a=".repeat(COUNT)),
        format!("{deep}\nprofile.p.{deep}"),
        format!("x = {}", "{a.a.a.a.a.a.a.a=".repeat(COUNT / 4)),
        "[a]\n".repeat(COUNT),
        "= ".repeat(COUNT),
    ] {
        survives(&text);
    }
}
