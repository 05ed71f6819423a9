//! Trees of processes, read from `/proc`, and their end.

use std::{collections::BTreeMap, path::Path};

use bowline_runtime::fs;
use rustix::process::{self, Pid, PidfdFlags, Signal};

/// The variable by which a tree is known when its keeper is dead and cannot tell.
pub(crate) const MARK: &str = "BOWLINE_TREE";

/// A process as `/proc` shows it. Its id may be another's a moment later; with `started` it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: Pid,
    parent: i32,
    is_alive: bool,
    /// Clock ticks since the machine's start.
    started: u64,
}

/// Sends SIGKILL to every living descendant; says how many there were.
///
/// Who is killed while it starts another leaves an orphan that the scan did not see: call again
/// until the answer is 0.
pub(crate) fn kill_descendants(root: Pid) -> usize {
    let descendants = descendants(root);
    descendants.iter().for_each(kill);
    descendants.len()
}

/// Sends SIGKILL to every living process, save this one, whose value of [`MARK`] begins so; says
/// how many there were.
///
/// As with [`kill_descendants`], call again until the answer is 0.
pub(crate) fn kill_marked(mark: &str) -> usize {
    let (own, beginning) = (process::getpid(), format!("{MARK}={mark}"));
    let is_marked = |process: &&Process| {
        let environment = fs::read(path(process.pid, "environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        process.pid != own && variables.any(|variable| variable.starts_with(beginning.as_bytes()))
    };
    let all = all();
    let marked: Vec<&Process> = all.iter().filter(|process| process.is_alive).filter(is_marked).collect();
    for process in &marked {
        kill(process);
    }
    marked.len()
}

fn descendants(root: Pid) -> Vec<Process> {
    let mut by_parent: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for process in all() {
        by_parent.entry(process.parent).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut parents = vec![root.as_raw_nonzero().get()];
    while let Some(parent) = parents.pop() {
        for process in by_parent.remove(&parent).unwrap_or_default() {
            parents.push(process.pid.as_raw_nonzero().get());
            found.push(process);
        }
    }
    found.retain(|process| process.is_alive);
    found
}

fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Pid::from_raw);
    pids.filter_map(read).collect()
}

fn read(pid: Pid) -> Option<Process> {
    parse(pid, &fs::read_to_string(path(pid, "stat")).ok()?)
}

fn path(pid: Pid, file: &str) -> std::path::PathBuf {
    Path::new("/proc").join(pid.as_raw_nonzero().to_string()).join(file)
}

/// Reads `PID (NAME) STATE PARENT …`; the name may hold spaces and parentheses. See proc(5).
fn parse(pid: Pid, stat: &str) -> Option<Process> {
    const PARENT: usize = 1;
    const STARTED: usize = 19;
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    Some(Process {
        pid,
        parent: fields.get(PARENT)?.parse().ok()?,
        is_alive: !matches!(*fields.first()?, "Z" | "X"),
        started: fields.get(STARTED)?.parse().ok()?,
    })
}

/// Kills this process and no other that got its id meanwhile: the handle is opened first, then the
/// process behind it is compared.
fn kill(process: &Process) {
    let sent = match process::pidfd_open(process.pid, PidfdFlags::empty()) {
        Ok(handle) if read(process.pid).is_some_and(|now| now.started == process.started) => {
            process::pidfd_send_signal(handle, Signal::KILL)
        }
        Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(_) => process::kill_process(process.pid, Signal::KILL),
    };
    if let Err(error) = sent {
        tracing::debug!(%error, pid = process.pid.as_raw_nonzero(), "a process could not be killed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_read() {
        let pid = Pid::from_raw(7).unwrap();
        let stat = "7 (a) S 1 (b) R 42 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 987 0 0";
        let expected = Process { pid, parent: 42, is_alive: true, started: 987 };
        assert_eq!(parse(pid, stat), Some(expected));
        assert_eq!(parse(pid, "7 (a) Z 42"), None);
        assert_eq!(parse(pid, ""), None);
    }

    #[test]
    fn a_process_is_its_parents_descendant() {
        let own = process::getpid();
        let parent = process::getppid().unwrap();
        assert!(descendants(parent).iter().any(|process| process.pid == own));
        assert!(!descendants(own).iter().any(|process| process.pid == own));
    }

    #[test]
    fn nobody_has_an_unknown_mark() {
        assert_eq!(kill_marked("no such mark"), 0);
    }
}
