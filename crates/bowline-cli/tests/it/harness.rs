//! Runs the binary on a system of its own, on free ports, and ends it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use bowline_model::percent;
use bowline_runtime::{task, time};
use bowline_transport::{Body, HttpClient};
use http::{HeaderMap, Method, Request, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// The longest a system may take to become ready, or a condition to come true.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// What `bowline up` listens on; in tests, on ports that are free.
const LISTENERS: [&str; 4] = ["--api", "--gateway", "--otlp-grpc", "--otlp-http"];

/// The binary under test.
pub(crate) fn bowline() -> &'static str {
    env!("CARGO_BIN_EXE_bowline")
}

/// A system in a folder of its own.
#[derive(Debug)]
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    /// A folder with that `bowline.toml`.
    pub(crate) fn new(file: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("bowline.toml"), file).unwrap();
        Self { dir }
    }

    /// The shop, its services built as the binary under test is.
    pub(crate) fn shop() -> Self {
        Self::shop_as_declared().with_programs(&programs())
    }

    /// The shop's file and what it names; nothing of it is built.
    pub(crate) fn shop_as_declared() -> Self {
        Self::as_declared("shop")
    }

    /// The bank, likewise, with the model that it brings along.
    pub(crate) fn bank() -> Self {
        let home = Self::as_declared("bank").with_programs(&programs());
        let model = example("bank").join("model/fraud.json").canonicalize().unwrap();
        home.edit(|text| text.replace("examples/bank/model/fraud.json", &model.display().to_string()));
        home
    }

    /// The system of devices, likewise, its broker on a port that is free.
    pub(crate) fn iot() -> Self {
        let home = Self::as_declared("iot").with_programs(&programs());
        let model = example("iot").join("model/anomaly.json").canonicalize().unwrap();
        let port = bowline_testkit::free_addr().port().to_string();
        home.edit(|text| {
            let text = text.replace("examples/iot/model/anomaly.json", &model.display().to_string());
            text.replace(":1883", &format!(":{port}"))
        });
        home
    }

    /// An example's file and what it names.
    fn as_declared(name: &str) -> Self {
        let example = example(name);
        let home = Self::new(&std::fs::read_to_string(example.join("bowline.toml")).unwrap());
        std::fs::copy(example.join("alerts.yaml"), home.path().join("alerts.yaml")).unwrap();
        std::fs::create_dir(home.path().join("config")).unwrap();
        for entry in std::fs::read_dir(example.join("config")).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), home.path().join("config").join(entry.file_name())).unwrap();
        }
        home
    }

    /// The same with programs that are built already.
    fn with_programs(self, bin_dir: &Path) -> Self {
        self.edit(|text| {
            let built: Vec<&str> = text.lines().filter(|line| !line.starts_with("build = ")).collect();
            built.join("\n").replace("${target}/release", &bin_dir.display().to_string())
        });
        self
    }

    /// Changes `bowline.toml`.
    pub(crate) fn edit(&self, edit: impl FnOnce(&str) -> String) {
        let file = self.path().join("bowline.toml");
        std::fs::write(&file, edit(&std::fs::read_to_string(&file).unwrap())).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Starts `bowline up` and waits until it says that all is ready.
    pub(crate) async fn up(&self) -> Running {
        let mut running = self.start(&[]);
        running.ready().await;
        running
    }

    /// Starts `bowline up` with further arguments, without waiting.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        self.start_with(args, &[])
    }

    /// The same with further variables.
    pub(crate) fn start_with(&self, args: &[&str], vars: &[(&str, &str)]) -> Running {
        let mut command = Command::new(bowline());
        command.arg("up").arg(self.path());
        for listener in LISTENERS.iter().filter(|flag| !args.contains(flag)) {
            command.args([listener, "127.0.0.1:0"]);
        }
        command.arg("--data-dir").arg(self.data_dir()).args(args);
        command.envs(vars.iter().copied());
        Running::of(command)
    }

    /// Starts `bowline server`, its API at that address, and waits until it says that it is ready.
    pub(crate) async fn server(&self, api: &str) -> Running {
        let mut command = Command::new(bowline());
        command.arg("server").arg(self.path()).args(["--api", api]).arg("--data-dir").arg(self.data_dir());
        command.args(["--otlp-grpc", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0"]);
        let mut running = Running::of(command);
        running.ready().await;
        running
    }

    /// Starts `bowline sidecar` before a command, by the server at that address, without waiting.
    pub(crate) fn start_sidecar(&self, api: &str, args: &[&str], words: &[String]) -> Running {
        let mut command = Command::new(bowline());
        command.args(["sidecar", "--api", api]).args(args);
        if !args.contains(&"--data-dir") {
            command.arg("--data-dir").arg(self.path().join("sidecar"));
        }
        command.arg("--").args(words);
        Running::of(command)
    }

    /// Starts `bowline gateway` by the server at that address, without waiting.
    pub(crate) fn start_gateway(&self, api: &str, args: &[&str]) -> Running {
        let mut command = Command::new(bowline());
        command.args(["gateway", "--api", api, "--listen", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(self.path().join("gateway")).args(args);
        Running::of(command)
    }
}

impl Running {
    /// Starts a program; what it prints is kept.
    pub(crate) fn of(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        task::spawn(collect(BufReader::new(stdout), lines.clone()));
        task::spawn(collect(BufReader::new(stderr), lines.clone()));
        Self { child, lines }
    }
}

async fn collect(reader: impl tokio::io::AsyncBufRead + Unpin, lines: Arc<Mutex<Vec<String>>>) {
    let mut reader = reader.lines();
    while let Ok(Some(line)) = reader.next_line().await {
        lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// The folder of an example.
pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// The programs of the examples.
const PROGRAMS: [&str; 17] = [
    "shop-user",
    "shop-order",
    "shop-payment",
    "shop-bank",
    "shop-notify",
    "shop-load",
    "bank-account",
    "bank-transaction",
    "bank-risk",
    "bank-ml",
    "bank-load",
    "iot-broker",
    "iot-device",
    "iot-data",
    "iot-analytics",
    "iot-ml",
    "iot-sim",
];

/// Builds the programs of the examples in this test's profile; says where they are.
///
/// All at once: each selection of packages has features of its own, and what they share would be built for each.
/// `cargo xtask test` has built them already.
pub(crate) fn programs() -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(build).clone()
}

fn build() -> PathBuf {
    let dir = Path::new(bowline()).parent().unwrap().to_path_buf();
    if std::env::var_os("BOWLINE_TEST_BUILT").is_some() {
        return dir;
    }
    let mut command = std::process::Command::new(env!("CARGO"));
    command.args(["build", "--quiet", "--locked"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    for program in PROGRAMS {
        command.args(["-p", program]);
    }
    command.env("CARGO_TARGET_DIR", dir.parent().unwrap());
    assert!(command.status().unwrap().success(), "{PROGRAMS:?} do not build");
    dir
}

/// A Bowline that runs: `up`, or a role of its own. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: bytes::Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Running {
    /// Everything it has printed so far.
    pub(crate) fn output(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id().expect("it was not awaited")).unwrap()).unwrap()
    }

    /// Waits until it says that all is ready.
    pub(crate) async fn ready(&mut self) {
        let is_ready = eventually(PATIENCE, async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended with {status}:\n{}", self.output());
            }
            self.output().contains(" is ready after ") && self.output().contains("\n  data ")
        });
        assert!(is_ready.await, "not ready in time:\n{}", self.output());
    }

    /// The address on a line of the summary.
    fn addr(&self, label: &str) -> SocketAddr {
        let output = self.output();
        let line = output.lines().find(|line| line.starts_with(&format!("  {label} "))).unwrap();
        line.rsplit_once("http://").unwrap().1.parse().unwrap()
    }

    pub(crate) fn gateway(&self) -> SocketAddr {
        self.addr("gateway")
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.addr("admin")
    }

    pub(crate) fn api(&self) -> SocketAddr {
        self.addr("api")
    }

    /// Where it takes OTLP: over gRPC, over HTTP.
    pub(crate) fn otlp(&self) -> (SocketAddr, SocketAddr) {
        let output = self.output();
        let line = output.lines().find(|line| line.starts_with("  otlp ")).unwrap();
        let addrs: Vec<SocketAddr> =
            line.split("http://").skip(1).map(|addr| addr.split(' ').next().unwrap().parse().unwrap()).collect();
        (addrs[0], addrs[1])
    }

    /// One request to the gateway.
    pub(crate) async fn ask(
        &self,
        method: Method,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        ask(self.gateway(), method, host, path, headers, body).await
    }

    /// Signs in at the shop; what to write into `authorization` from then on.
    pub(crate) async fn sign_in(&self, email: &str) -> String {
        let answer = self.try_sign_in(email, "correct horse").await;
        assert_eq!(answer.status, 200, "{:?}\n{}", answer.body, self.output());
        format!("Bearer {}", answer.json()["access_token"].as_str().unwrap())
    }

    /// The answer to a login at the shop.
    pub(crate) async fn try_sign_in(&self, email: &str, password: &str) -> Answer {
        let body = serde_json::json!({"email": email, "password": password}).to_string();
        let json = [("content-type", "application/json")];
        self.ask(Method::POST, "shop.localhost", "/login", &json, body.as_bytes()).await
    }

    /// One request to the API.
    pub(crate) async fn api_json(&self, path: &str) -> serde_json::Value {
        let answer = ask(self.api(), Method::GET, "localhost", path, &[], b"").await;
        assert_eq!(answer.status, 200, "{path}: {:?}", answer.body);
        answer.json()
    }

    /// The instances registered, as `id@address`, by the API.
    pub(crate) async fn instances(&self, service: &str) -> Vec<String> {
        let list = self.api_json(&format!("/v1/instances?service={service}")).await;
        let name = |instance: &serde_json::Value| {
            format!("{}@{}", instance["id"].as_str().unwrap(), instance["address"].as_str().unwrap())
        };
        list["instances"].as_array().unwrap().iter().map(name).collect()
    }

    /// The processes of a service's instances, by the API.
    pub(crate) async fn processes(&self, service: &str) -> Vec<Pid> {
        let list = self.api_json(&format!("/v1/instances?service={service}")).await;
        let process = |instance: &serde_json::Value| {
            Pid::from_raw(instance["metadata"]["pid"].as_str().unwrap().parse().unwrap()).unwrap()
        };
        list["instances"].as_array().unwrap().iter().map(process).collect()
    }

    /// The value of a query's first series now; none where there is none.
    pub(crate) async fn measured(&self, query: &str) -> Option<f64> {
        let answer = self.api_json(&format!("/api/v1/query?query={}", percent::encode(query, b""))).await;
        answer["data"]["result"][0]["value"][1].as_str().map(|value| value.parse().unwrap())
    }

    /// The spans of a trace, once one of them is as it should be.
    pub(crate) async fn spans(
        &self,
        id: &str,
        is_there: impl Fn(&serde_json::Value) -> bool,
    ) -> Vec<serde_json::Value> {
        let mut spans = Vec::new();
        let have_come = eventually(PATIENCE, async || {
            let path = format!("/v1/traces/{id}");
            let answer = ask(self.api(), Method::GET, "localhost", &path, &[], b"").await;
            if answer.status == 200 {
                spans.clone_from(answer.json()["spans"].as_array().unwrap());
            }
            spans.iter().any(&is_there)
        });
        assert!(have_come.await, "{spans:#?}");
        spans
    }

    /// Runs another command of the binary against this one; how it went.
    pub(crate) async fn outcome(&self, args: &[&str]) -> std::process::Output {
        let mut command = Command::new(bowline());
        command.args(args).args(["--api", &self.api().to_string()]);
        command.output().await.unwrap()
    }

    /// The same for one that ends well; its standard output.
    pub(crate) async fn command(&self, args: &[&str]) -> String {
        let output = self.outcome(args).await;
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = time::timeout(PATIENCE, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it does not end:\n{}", self.output())).unwrap()
    }

    /// Ctrl-C, as a terminal sends it; it must end well.
    pub(crate) async fn stop(&mut self) {
        self.signal(Signal::INT);
        let status = self.ended().await;
        assert!(status.success(), "{status}:\n{}", self.output());
    }

    /// The process ids of its descendants now.
    pub(crate) fn descendants(&self) -> Vec<Pid> {
        descendants(self.pid())
    }
}

/// One request to an address.
pub(crate) async fn ask(
    addr: SocketAddr,
    method: Method,
    host: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::full(body.to_vec())).unwrap();
    let client = HttpClient::new(addr).with_timeout(PATIENCE);
    let (head, body) = client.request(request).await.unwrap_or_else(|error| panic!("{path}: {error:?}")).into_parts();
    Answer { status: head.status, headers: head.headers, body }
}

/// Asks again and again until the condition holds; false when the time is up.
pub(crate) async fn eventually(time_max: Duration, mut condition: impl AsyncFnMut() -> bool) -> bool {
    let asked = async {
        while !condition().await {
            time::sleep(Duration::from_millis(20)).await; // tidy: sleep: a real process is polled
        }
    };
    time::timeout(time_max, asked).await.is_ok()
}

/// Everything below a process, by `/proc`.
pub(crate) fn descendants(root: Pid) -> Vec<Pid> {
    let parents: Vec<(i32, i32)> =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| parent_of(&entry.ok()?.path())).collect();
    let mut found = vec![root.as_raw_nonzero().get()];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.into_iter().skip(1).filter_map(Pid::from_raw).collect()
}

fn parent_of(proc: &Path) -> Option<(i32, i32)> {
    let pid = proc.file_name()?.to_str()?.parse().ok()?;
    let stat = std::fs::read_to_string(proc.join("stat")).ok()?;
    // The name in brackets may hold anything; the parent is the second field behind it.
    let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
    Some((pid, parent))
}

/// Whether a process is there and is no zombie.
pub(crate) fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
