//! A long run: where it writes, the signals that end it, and how it ends.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use bowline_runtime::{
    metric, time,
    watchdog::{self, Watchdog},
};

use crate::{FAILED, outlet::Outlet, stop::Stop, style};

/// How long a terminal or a pipe that takes nothing may hold up the end.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// What every role that runs on has.
#[derive(Debug)]
pub(crate) struct Process {
    /// Where it counts.
    pub(crate) metrics: metric::Registry,
    /// Standard output.
    pub(crate) out: Outlet,
    /// The signals that end it.
    pub(crate) stop: Stop,
    err: Outlet,
    /// Tells who holds a thread.
    _watchdog: Watchdog,
}

impl Process {
    /// Opens standard output and error, begins to log, and hears signals.
    pub(crate) fn begin() -> anyhow::Result<Self> {
        let metrics = metric::Registry::default();
        let (out, err) = (Outlet::open(std::io::stdout()), Outlet::open(std::io::stderr()));
        init_logs(&err, &metrics);
        let watchdog = watchdog::start(&metrics);
        Ok(Self { metrics, out, stop: Stop::listen()?, err, _watchdog: watchdog })
    }

    /// Says why it failed, if it did; what to exit with.
    pub(crate) async fn end(self, outcome: anyhow::Result<()>) -> ExitCode {
        let last_words = async {
            if let Err(error) = &outcome {
                self.err.line(style::error(&format!("{error:#}"))).await;
            }
            self.err.flush().await;
        };
        let _in_time = time::timeout(LAST_WORDS_MAX, last_words).await;
        if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
    }
}

/// Writes what is said last, unless standard output takes nothing.
pub(crate) async fn last_words(words: impl Future<Output = ()>) {
    let _in_time = time::timeout(LAST_WORDS_MAX, words).await;
}

/// What is said when the first signal came.
pub(crate) const STOPPING: &str = "stopping: in-flight requests finish first, Ctrl-C again stops at once";

/// Where what listens there is reached from this machine.
pub(crate) fn reached_at(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// Bowline's own log goes to standard error: warnings, or what `BOWLINE_LOG` asks for.
fn init_logs(err: &Outlet, metrics: &metric::Registry) {
    use tracing_subscriber::EnvFilter;
    let dropped = metrics.counter(
        "bowline_log_lines_dropped_total",
        "Lines of Bowline's own log that nobody took from its standard error in time.",
        &[],
    );
    let log = err.log(dropped);
    let wanted = std::env::var("BOWLINE_LOG").unwrap_or_default();
    let filter = if wanted.is_empty() { Ok(EnvFilter::new("warn")) } else { EnvFilter::try_new(&wanted) };
    let (filter, unusable) = match filter {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("warn"), Some(error)),
    };
    let logs = tracing_subscriber::fmt().with_ansi(style::is_stderr_coloured()).with_writer(move || log.clone());
    let _first = logs.with_env_filter(filter).try_init();
    if let Some(error) = unusable {
        tracing::warn!(%error, "BOWLINE_LOG cannot be used: only warnings are shown");
    }
}
