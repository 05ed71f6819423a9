//! The small parent process of each instance, which sees to it that no process is left behind.
//!
//! A keeper adopts whatever its command leaves orphaned (it is a *subreaper*), and kills the whole
//! tree when the command ends, when it is told to, and when the other end of its standard input, a
//! socket that the supervisor holds, closes: that is how the death of the supervisor is noticed,
//! by `kill -9` too. Should the keeper itself be killed, the kernel kills its command: between the
//! keeper and the command a second stage of the same executable asks for that
//! (`PR_SET_PDEATHSIG`, which `exec` keeps, save for set-user-id programs). Who is left then, the
//! supervisor finds by a mark in the environment, `BOWLINE_TREE`.
//!
//! Keeper and command are each in a process group of their own, so Ctrl-C in a terminal reaches the
//! supervisor alone, which drains.
//!
//! Over the socket go single bytes to the keeper, `t` (SIGTERM to the group) and `k` (SIGKILL to
//! the tree), and lines back:
//! `pid N`, then `status N` or `signal N` when the command has ended; or `error TEXT`. The socket
//! closes when the whole tree is gone.

pub(crate) mod tree;

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read as _, Write as _},
    os::{
        fd::AsFd as _,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Command, ExitCode, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::process::{self, Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus};

/// Asks the command's process group to end: SIGTERM.
pub(crate) const TERMINATE: u8 = b't';

/// Kills the command and all its descendants: SIGKILL.
pub(crate) const KILL: u8 = b'k';

/// The first argument of the second stage.
const SECOND_STAGE: &str = "exec";

/// Stack of the thread that hears commands.
const STACK_BYTES: usize = 128 * 1024;

/// Time between two looks at processes that are ending.
const POLL_EVERY: Duration = Duration::from_millis(5);

/// How often a keeper looks for survivors, at most: for 5 s. What survives SIGKILL for so long
/// hangs in the kernel.
const KILL_ROUNDS_MAX: u32 = 1000;

/// What a shell exits with when it cannot run a command.
const CANNOT_RUN: u8 = 127;

/// Runs a keeper: `-- PROGRAM ARGUMENT…`.
///
/// The executable's hidden subcommand `keeper` calls it with the arguments that follow that word,
/// first of all: no thread may be running and no async runtime exist. Standard input must be the
/// supervisor's socket; standard output and error are the program's. Exits as the program did,
/// with 128 and the signal's number when a signal ended it.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    match args.as_slice() {
        [dashes, command @ ..] if dashes == "--" && !command.is_empty() => keep(command),
        [stage, keeper, command @ ..] if stage == SECOND_STAGE && !command.is_empty() => {
            become_command(keeper, command)
        }
        _ => complain("usage: keeper -- PROGRAM [ARGUMENT]..."),
    }
}

/// The second stage: dies with the keeper, and turns into the command.
fn become_command(keeper: &OsStr, command: &[OsString]) -> ExitCode {
    if let Err(error) = process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return complain(&format!("cannot tie the command to its keeper: {error}"));
    }
    // The keeper may have died before the line above.
    let parent = process::getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if parent.as_deref().map(OsStr::new) != Some(keeper) {
        return ExitCode::from(CANNOT_RUN);
    }
    let error = Command::new(&command[0]).args(&command[1..]).exec();
    complain(&format!("cannot run {}: {error}", command[0].display()))
}

#[expect(clippy::print_stderr, reason = "its standard error is the instance's log")]
fn complain(text: &str) -> ExitCode {
    eprintln!("bowline keeper: {text}");
    ExitCode::from(CANNOT_RUN)
}

/// The first stage: starts the command and outlives all of its tree.
fn keep(command: &[OsString]) -> ExitCode {
    let control = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(fd) => UnixStream::from(fd),
        Err(error) => return complain(&format!("standard input is no socket: {error}")),
    };
    match start(command) {
        Ok(pid) => Keeper::new(control, pid).run(),
        Err(error) => {
            report(&control, &format!("error {error}"));
            complain(&format!("cannot start the command: {error}"))
        }
    }
}

fn start(command: &[OsString]) -> io::Result<Pid> {
    // Heard and ignored, not set to "ignore": that would be the command's inheritance.
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM] {
        signal_hook::flag::register(signal.as_raw(), Arc::new(AtomicBool::new(false)))?;
    }
    process::set_child_subreaper(Some(process::getpid()))?;
    let child = Command::new("/proc/self/exe")
        .arg0("bowline")
        .args(["keeper", SECOND_STAGE, &process::getpid().as_raw_nonzero().to_string()])
        .args(command)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()?;
    Ok(Pid::from_child(&child))
}

fn report(mut control: &UnixStream, line: &str) {
    // Nobody hears it when the supervisor is gone; the tree is killed all the same.
    if let Err(error) = control.write_all(format!("{line}\n").as_bytes()) {
        tracing::debug!(%error, "the supervisor does not hear its keeper");
    }
}

/// A keeper whose command runs.
struct Keeper {
    control: Arc<UnixStream>,
    command: Arc<Mutex<CommandState>>,
    is_killing: Arc<AtomicBool>,
}

/// What both threads must agree upon before they signal the command's group.
struct CommandState {
    pid: Pid,
    ended: Option<WaitStatus>,
    is_terminating: bool,
}

impl Keeper {
    fn new(control: UnixStream, pid: Pid) -> Self {
        report(&control, &format!("pid {}", pid.as_raw_nonzero()));
        let command = CommandState { pid, ended: None, is_terminating: false };
        Self {
            control: Arc::new(control),
            command: Arc::new(Mutex::new(command)),
            is_killing: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Waits for the command's end, and brings about that of its descendants.
    fn run(self) -> ExitCode {
        let (control, command, is_killing) = (self.control.clone(), self.command.clone(), self.is_killing.clone());
        let hear = move || obey(&control, &command, &is_killing);
        if let Err(error) = thread::Builder::new().stack_size(STACK_BYTES).spawn(hear) {
            // Without that thread the supervisor's death would go unnoticed.
            self.kill_rest();
            report(&self.control, &format!("error {error}"));
            return complain(&format!("cannot start a thread: {error}"));
        }
        let status = self.wait_for_command();
        let (word, number) = match status.terminating_signal() {
            Some(signal) => ("signal", signal),
            None => ("status", status.exit_status().unwrap_or_default()),
        };
        report(&self.control, &format!("{word} {number}"));
        if self.lock().is_terminating {
            self.wait_for_group();
        }
        self.kill_rest();
        let code = if word == "signal" { 128 + number } else { number };
        ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
    }

    /// Blocks until the command has ended; buries every orphan that dies meanwhile.
    fn wait_for_command(&self) -> WaitStatus {
        loop {
            // A look without burying: a dead command's process id must stay taken until the lock
            // is held, or the other thread could signal a stranger.
            process::waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).ok();
            if let Some(status) = self.bury() {
                return status;
            }
        }
    }

    /// Collects every child that is dead; gives the command's status once it is known.
    fn bury(&self) -> Option<WaitStatus> {
        let mut command = self.lock();
        while let Ok(Some((pid, status))) = process::wait(WaitOptions::NOHANG) {
            if pid == command.pid {
                command.ended = Some(status);
            }
        }
        command.ended
    }

    /// After SIGTERM a shell is gone before what it started: gives the group its time, too.
    fn wait_for_group(&self) {
        let group = self.lock().pid;
        while process::test_kill_process_group(group).is_ok() && !self.is_killing.load(Ordering::Relaxed) {
            thread::sleep(POLL_EVERY);
            self.bury();
        }
    }

    /// Kills every descendant, until none is left.
    fn kill_rest(&self) {
        for _ in 0..KILL_ROUNDS_MAX {
            self.bury();
            if tree::kill_descendants(process::getpid()) == 0 {
                return;
            }
            thread::sleep(POLL_EVERY);
        }
    }

    fn lock(&self) -> MutexGuard<'_, CommandState> {
        self.command.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does what comes over the socket, and kills the tree when nothing can come any more.
fn obey(mut control: &UnixStream, command: &Mutex<CommandState>, is_killing: &AtomicBool) {
    let mut byte = [0];
    loop {
        match control.read(&mut byte) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(1) if byte[0] == TERMINATE => terminate(command),
            Ok(1) if byte[0] != KILL => {}
            Ok(_) | Err(_) => {
                is_killing.store(true, Ordering::Relaxed);
                kill_command(command);
            }
        }
        if is_killing.load(Ordering::Relaxed) {
            return;
        }
    }
}

fn terminate(command: &Mutex<CommandState>) {
    let mut command = command.lock().unwrap_or_else(PoisonError::into_inner);
    command.is_terminating = true;
    if command.ended.is_none() {
        process::kill_process_group(command.pid, Signal::TERM).ok();
    }
}

/// Kills the command; the main thread wakes by it, and kills the rest.
fn kill_command(command: &Mutex<CommandState>) {
    let command = command.lock().unwrap_or_else(PoisonError::into_inner);
    if command.ended.is_none() {
        process::kill_process_group(command.pid, Signal::KILL).ok();
        process::kill_process(command.pid, Signal::KILL).ok();
    }
}
