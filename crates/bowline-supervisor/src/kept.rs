//! A command under its keeper, as the supervisor sees it.

use std::{
    borrow::Cow,
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt as _},
    path::Path,
    process::Stdio,
    time::Duration,
};

use bowline_runtime::{
    net::UnixStream,
    process::{Child, ChildStderr, ChildStdout, Command},
    task, time,
};
use rustix::process::{self, Pid, Signal};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
};

use crate::{
    Exit,
    environment::{self, Environment},
    keeper::{KILL, TERMINATE, tree},
    run::RunId,
};

/// The longest a keeper may take to start its command.
const START_MAX: Duration = Duration::from_secs(10);

/// How often the tree of a dead keeper is looked for, until it is gone.
const SWEEPS_MAX: u32 = 100;

/// Time between two looks.
const SWEEP_EVERY: Duration = Duration::from_millis(10);

/// What is to be run. Not for printing: the environment may hold credentials.
#[derive(Clone, Copy)]
pub(crate) struct Order<'a> {
    /// The keeper's executable.
    pub(crate) keeper: &'a Path,
    /// A shell command.
    pub(crate) command: &'a str,
    /// Where it runs.
    pub(crate) dir: &'a Path,
    /// What it finds beside what we find.
    pub(crate) environment: &'a Environment,
    /// The run that it belongs to.
    pub(crate) run: RunId,
}

/// A running command. Dropping it kills its whole tree.
#[derive(Debug)]
pub(crate) struct Kept {
    keeper: Child,
    reports: Lines<BufReader<OwnedReadHalf>>,
    // Its closing is what a keeper dies of.
    control: OwnedWriteHalf,
    pid: Pid,
    mark: String,
    exit: Option<Exit>,
}

/// The command for `sh -c`: a program and its arguments take the shell's place, so that the process
/// that is shown, and that a signal reaches, is the program's own.
fn direct(command: &str) -> Cow<'_, str> {
    // What stands in single quotes means itself.
    let bare: String = command.split('\'').step_by(2).collect::<Vec<_>>().join("x");
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+=:,@% ".contains(&b);
    let program = bare.split(' ').next().unwrap_or_default();
    let is_direct = bare.bytes().all(is_plain) && program.contains('/') && !program.contains('=');
    if is_direct { Cow::Owned(format!("exec {command}")) } else { Cow::Borrowed(command) }
}

/// What a command writes.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

impl Kept {
    /// Starts a keeper and its command.
    pub(crate) async fn start(order: Order<'_>) -> io::Result<(Self, Output)> {
        let mark = order.run.new_mark();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut keeper = Command::new(order.keeper);
        for name in environment::NOT_INHERITED {
            keeper.env_remove(name);
        }
        let mut keeper = keeper
            .args(["keeper", "--", "sh", "-c", &direct(order.command)])
            .current_dir(order.dir)
            .envs(order.environment)
            .env(tree::MARK, &mark)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let (Some(stdout), Some(stderr)) = (keeper.stdout.take(), keeper.stderr.take()) else {
            return Err(io::Error::other("a pipe is missing"));
        };
        let (reports, control) = UnixStream::from_std(ours)?.into_split();
        let mut reports = BufReader::with_capacity(256, reports).lines();
        let pid = time::timeout(START_MAX, first_report(&mut reports)).await??;
        Ok((Self { keeper, reports, control, pid, mark, exit: None }, Output { stdout, stderr }))
    }

    /// The command's process, and its group.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Asks the command to end.
    pub(crate) fn terminate(&self) {
        self.send(TERMINATE);
    }

    /// Kills the command's whole tree.
    pub(crate) fn kill(&self) {
        self.send(KILL);
    }

    fn send(&self, byte: u8) {
        // A keeper that is gone, or has not read thousands of bytes, has nothing left to do.
        if let Err(error) = self.control.try_write(&[byte]) {
            tracing::debug!(%error, "a keeper does not hear");
        }
    }

    /// Waits until the command has ended, be it that others of its tree still live.
    ///
    /// # Cancel safety
    /// Nothing is lost; waiting can begin again.
    pub(crate) async fn ended(&mut self) {
        while self.exit.is_none()
            && let Ok(Some(line)) = self.reports.next_line().await
        {
            self.exit = parse_exit(&line);
        }
    }

    /// Waits until the command has ended, and its whole tree with it.
    ///
    /// # Cancel safety
    /// Nothing is lost; waiting can begin again.
    pub(crate) async fn wait(&mut self) -> Exit {
        self.ended().await;
        while let Ok(Some(line)) = self.reports.next_line().await {
            tracing::debug!(line, "a keeper says more than it should");
        }
        // A keeper ends by itself only when nobody of its tree is left.
        let was_killed = self.keeper.wait().await.is_ok_and(|status| status.signal().is_some());
        if was_killed || self.exit.is_none() {
            self.sweep().await;
        }
        self.exit.get_or_insert(Exit::KeeperLost).clone()
    }

    /// Does the work of a keeper that was killed: nobody of its tree may survive.
    async fn sweep(&self) {
        process::kill_process_group(self.pid, Signal::KILL).ok();
        sweep(&self.mark).await;
    }
}

/// Kills everybody whose mark begins so, until nobody is left.
pub(crate) async fn sweep(mark: &str) {
    for _ in 0..SWEEPS_MAX {
        let beginning = mark.to_owned();
        let survivors = task::spawn_blocking(move || tree::kill_marked(&beginning)).await;
        if matches!(survivors, Ok(0) | Err(_)) {
            return;
        }
        time::sleep(SWEEP_EVERY).await;
    }
    tracing::warn!(mark, "processes of a dead keeper survive SIGKILL: they hang in the kernel");
}

async fn first_report(reports: &mut Lines<BufReader<OwnedReadHalf>>) -> io::Result<Pid> {
    let Some(line) = reports.next_line().await? else {
        return Err(io::Error::other("the keeper ended before it started the command"));
    };
    let pid = line.strip_prefix("pid ").and_then(|pid| Pid::from_raw(pid.parse().ok()?));
    pid.ok_or_else(|| io::Error::other(line.strip_prefix("error ").unwrap_or(&line).to_owned()))
}

fn parse_exit(line: &str) -> Option<Exit> {
    match line.split_once(' ')? {
        ("status", status) => status.parse().ok().map(Exit::Status),
        ("signal", signal) => signal.parse().ok().map(Exit::Signal),
        ("error", why) => Some(Exit::NotStarted(why.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::direct;

    #[test]
    fn only_a_plain_program_takes_the_place_of_the_shell() {
        for plain in ["target/release/order", "'/a b/$x'/release/order --port 1", "./run.sh a=1"] {
            assert_eq!(direct(plain), format!("exec {plain}"));
        }
        for shell in [
            "exit 3",
            "A=/b ./c",
            "./a; ./b",
            "./a && ./b",
            "./a > /dev/null",
            "./a \"$X\"",
            "sh -c './a'",
            "./a 'b' &",
        ] {
            assert_eq!(direct(shell), shell);
        }
    }
}
