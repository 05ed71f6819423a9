//! Programs that a bench starts: their output, their end, what they cost.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Lines of output kept until somebody reads them; what comes when it is full is dropped.
const LINES_MAX: usize = 4096;

/// How long a program has to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// The kernel's unit of CPU time in `/proc/PID/stat`: fixed at 1/100 s on Linux.
const TICK: Duration = Duration::from_millis(10);

/// A running program; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    lines: Receiver<String>,
}

/// What a program and its descendants use.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// CPU time since the start, user and system.
    pub(crate) cpu: Duration,
    /// Memory, each shared page divided between those who share it.
    pub(crate) memory_bytes: u64,
}

/// CPU time by the name of the program.
pub(crate) type CpuByProgram = BTreeMap<String, Duration>;

impl Process {
    /// Starts it, with both its outputs read line by line.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let name = command.get_program().display().to_string();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        let (sender, lines) = sync_channel(LINES_MAX);
        read_lines(child.stdout.take(), sender.clone());
        read_lines(child.stderr.take(), sender);
        Ok(Self { child, name, lines })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of output that `find` makes something of.
    pub(crate) fn wait_for<T>(&mut self, within: Duration, find: impl Fn(&str) -> Option<T>) -> anyhow::Result<T> {
        let deadline = Instant::now() + within;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => match find(&line) {
                    Some(found) => return Ok(found),
                    None => seen.push(line),
                },
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{} did not say what was expected within {within:?}, but:\n{}", self.name, seen.join("\n"))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("{} ended: {}\n{}", self.name, self.child.wait()?, seen.join("\n"))
                }
            }
        }
    }

    /// What it and its descendants use now.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let mut sum = Usage::default();
        for pid in descendants(self.pid())? {
            // A descendant may end while we look.
            sum.cpu += cpu_time(pid).unwrap_or_default();
            sum.memory_bytes += memory_bytes(pid).unwrap_or_default();
        }
        Ok(sum)
    }

    /// CPU time of its descendants and of itself since their starts, by the name of the program.
    pub(crate) fn cpu_by_program(&self) -> anyhow::Result<CpuByProgram> {
        let mut sum = CpuByProgram::new();
        for pid in descendants(self.pid())? {
            // A descendant may end while we look.
            let Ok(program) = fs::read_link(format!("/proc/{pid}/exe")) else { continue };
            let program = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
            *sum.entry(program).or_default() += cpu_time(pid).unwrap_or_default();
        }
        Ok(sum)
    }

    /// Asks it to end (SIGTERM), waits, and kills it when it does not.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM).with_context(|| format!("stop {}", self.name))?;
        }
        let deadline = Instant::now() + GRACE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("{} did not end within {GRACE:?}", self.name);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) && self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

fn read_lines(output: Option<impl std::io::Read + Send + 'static>, sender: SyncSender<String>) {
    let Some(output) = output else { return };
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Read on even if nobody listens: a full pipe would stop the program.
            sender.try_send(line).ok();
        }
    });
}

/// A process and all that descend from it.
fn descendants(root: u32) -> anyhow::Result<Vec<u32>> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) = stat_field(pid, 4) {
            children.entry(u32::try_from(parent)?).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    Ok(found)
}

/// CPU time of a process, user and system, of the threads that it has.
///
/// In nanoseconds from `schedstat` where the kernel keeps it, else in ticks from `stat`.
pub(crate) fn cpu_time(pid: u32) -> Option<Duration> {
    let ticks = || Some(TICK * u32::try_from(stat_field(pid, 14)? + stat_field(pid, 15)?).ok()?);
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let Ok(text) = fs::read_to_string(thread.ok()?.path().join("schedstat")) else { return ticks() };
        nanos += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanos))
}

/// Memory of a process: proportional set size where we may read it, else resident set size.
pub(crate) fn memory_bytes(pid: u32) -> Option<u64> {
    let folder = format!("/proc/{pid}");
    kib_of(&Path::new(&folder).join("smaps_rollup"), "Pss:")
        .or_else(|| kib_of(&Path::new(&folder).join("status"), "VmRSS:"))
}

fn kib_of(path: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// A field of `/proc/PID/stat`, counted from 1 as its manual page does; from the third on.
fn stat_field(pid: u32, field: usize) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let (_, rest) = text.rsplit_once(") ")?;
    rest.split(' ').nth(field - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_heard_measured_and_stopped() {
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            "echo one; echo two >&2; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo three; sleep 60 & wait",
        ]);
        let mut process = Process::start(&mut shell).unwrap();
        let length = process.wait_for(Duration::from_secs(20), |line| (line == "three").then_some(line.len())).unwrap();
        assert_eq!(length, 5);
        let usage = process.usage().unwrap();
        assert!(usage.cpu > Duration::ZERO, "{usage:?}");
        assert!(usage.memory_bytes > 100_000, "{usage:?}");
        assert!(descendants(process.pid()).unwrap().len() <= 2);
        process.stop().unwrap();
    }

    #[test]
    fn a_program_that_ends_early_says_what_it_said() {
        let mut process = Process::start(Command::new("sh").args(["-c", "echo sorry; exit 3"])).unwrap();
        let error = process.wait_for(Duration::from_secs(20), |line| (line == "ready").then_some(())).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("sorry") && text.contains('3'), "{text}");
    }
}
