//! Spans of Python's SDK arrive, whichever way it sends them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use crate::harness::{Home, PATIENCE, Running, bowline, eventually};

/// How long after it was sent a span may take to be seen.
const SEEN_MAX: Duration = Duration::from_secs(3);

/// What has to be installed, from `PyPI`.
const PACKAGES: [&str; 3] =
    ["opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-grpc", "opentelemetry-exporter-otlp-proto-http"];

/// Sends one trace of two spans, the way that its arguments say; prints the trace's id.
const PROGRAM: &str = r#"
import sys
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

how, addr = sys.argv[1:]
if how == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from grpc import Compression
    exporter = OTLPSpanExporter(endpoint=f"http://{addr}", insecure=True, compression=Compression.Gzip)
else:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    exporter = OTLPSpanExporter(endpoint=f"http://{addr}/v1/traces", compression=Compression.Gzip)

provider = TracerProvider(resource=Resource.create({"service.name": f"python-{how}", "service.instance.id": "p-1"}))
provider.add_span_processor(BatchSpanProcessor(exporter))
tracer = provider.get_tracer("bowline.test", "1.0")
with tracer.start_as_current_span("receive", kind=SpanKind.SERVER, attributes={"http.route": "/gifts/{user}"}) as span:
    with tracer.start_as_current_span("wrap", links=[Link(span.get_span_context(), {"why": "test"})]) as inner:
        inner.set_attribute("ribbons", ["red", "blue"])
        inner.add_event("cut", {"length": 7})
        inner.set_status(Status(StatusCode.ERROR, "no paper"))
    print(format(span.get_span_context().trace_id, "032x"))
provider.shutdown()
"#;

/// Where the packages are, installed where they are not; none where that is not possible.
#[expect(clippy::print_stderr, reason = "who skips a test says so")]
fn packages() -> Option<PathBuf> {
    let folder = Path::new(bowline()).parent().unwrap().parent().unwrap().join("otlp-python");
    let is_installed = || folder.join("opentelemetry/exporter/otlp/proto/grpc").exists();
    if !is_installed() || !folder.join("opentelemetry/exporter/otlp/proto/http").exists() {
        let mut pip = std::process::Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"]).arg(&folder).args(PACKAGES);
        let done = pip.stdin(Stdio::null()).output();
        if !done.as_ref().is_ok_and(|done| done.status.success()) || !is_installed() {
            let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
            assert!(!is_ci, "{PACKAGES:?} cannot be installed: {done:?}");
            eprintln!("SKIPPED: {PACKAGES:?} cannot be installed, so no foreign SDK sends spans: {done:?}");
            return None;
        }
    }
    Some(folder)
}

/// Has Python send a trace; its id.
async fn send(packages: &Path, how: &str, addr: std::net::SocketAddr) -> String {
    let mut python = tokio::process::Command::new("python3");
    python.args(["-c", PROGRAM, how, &addr.to_string()]).env("PYTHONPATH", packages);
    python.env_remove("OTEL_EXPORTER_OTLP_HEADERS").kill_on_drop(true);
    let output = bowline_runtime::time::timeout(PATIENCE, python.output()).await.expect("Python does not end").unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !told.contains("Failed to export"), "{how}: {told}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// `bowline trace ID` shows both spans, soon.
async fn assert_seen(running: &Running, id: &str, service: &str) {
    let mut shown = String::new();
    let is_seen = eventually(SEEN_MAX, async || {
        let output = running.outcome(&["trace", id]).await;
        shown = String::from_utf8_lossy(&output.stdout).into_owned();
        [service, "receive", "wrap"].iter().all(|text| shown.contains(text))
    });
    assert!(is_seen.await, "{shown}\n{}", running.output());
}

#[tokio::test]
async fn what_pythons_sdk_sends_is_a_trace() {
    let Some(packages) = packages() else { return };
    let home = Home::new("name = \"s\"\n");
    let mut running = home.up().await;
    let (grpc, http) = running.otlp();
    for (how, addr) in [("grpc", grpc), ("http", http)] {
        let id = send(&packages, how, addr).await;
        assert_seen(&running, &id, &format!("python-{how}")).await;
        let spans = running.spans(&id, |span| span["name"] == "wrap").await;
        let span = |name: &str| spans.iter().find(|span| span["name"] == name).unwrap();
        let (outer, inner) = (span("receive"), span("wrap"));
        assert_eq!((&outer["kind"], &outer["instance"]), (&"server".into(), &"p-1".into()));
        assert_eq!(outer["attributes"]["http.route"], "/gifts/{user}");
        assert_eq!(outer["attributes"]["otel.scope.name"], "bowline.test");
        assert_eq!(outer["attributes"]["telemetry.sdk.language"], "python");
        assert_eq!(inner["parent_span_id"], outer["span_id"]);
        assert_eq!(inner["attributes"]["ribbons"], r#"["red","blue"]"#);
        assert_eq!(inner["events"][0]["attributes"]["length"], 7);
        assert_eq!(inner["links"][0]["span_id"], outer["span_id"]);
        assert!(inner.to_string().contains("no paper"), "{inner}");
    }
    // Whoever mistakes one port for the other is served too.
    let id = send(&packages, "grpc", http).await;
    assert_seen(&running, &id, "python-grpc").await;
    let id = send(&packages, "http", grpc).await;
    assert_seen(&running, &id, "python-http").await;
    running.stop().await;
}
