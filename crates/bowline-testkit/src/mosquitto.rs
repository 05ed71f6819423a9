//! An MQTT broker that others make: the machine's own `mosquitto`.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use crate::foreign::{Foreign, Program, report_absence};

/// Debian's is not on everybody's path.
const PROGRAM: Program = Program { name: "mosquitto", paths: &["/usr/sbin/mosquitto"], args: &["-c"] };

/// A broker on a port of its own, with a folder of its own. It ends with the value.
#[derive(Debug)]
pub struct Server(Foreign);

/// Who may come in, and what they may do.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    /// Names and passwords; with none, nobody is asked for them.
    pub users: &'a [(&'a str, &'a str)],
    /// The lines of an `acl_file`; with none, everybody may do everything.
    pub rules: &'a str,
}

impl Server {
    /// Starts one; none where `mosquitto` is not installed, which is said loudly.
    ///
    /// # Panics
    /// When it is not installed and `CI=true`, or when it does not start.
    pub fn start(access: Access<'_>) -> Option<Self> {
        let server = Foreign::start(&PROGRAM, |dir, addr| {
            let (passwords, rules) = (dir.join("passwords"), dir.join("rules"));
            let lines: Vec<String> =
                access.users.iter().map(|(name, password)| format!("{name}:{password}\n")).collect();
            fs::write(&passwords, lines.concat()).expect("the folder can be written");
            fs::write(&rules, access.rules).expect("the folder can be written");
            if !access.users.is_empty() {
                hash(&passwords);
            }
            let known = format!("allow_anonymous false\npassword_file {}\n", passwords.display());
            let ruled = format!("acl_file {}\n", rules.display());
            format!(
                "listener {} {}\nuser root\npersistence true\npersistence_location {}/\nautosave_interval 1\n\
                 autosave_on_changes true\nlog_dest stderr\n{}{}",
                addr.port(),
                addr.ip(),
                dir.display(),
                if access.users.is_empty() { "allow_anonymous true\n" } else { &known },
                if access.rules.is_empty() { "" } else { &ruled },
            )
        });
        server.map(Self)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.0.addr()
    }

    /// Starts it again on its port and its folder.
    ///
    /// # Panics
    /// When it does not start.
    pub fn begin(&mut self) {
        self.0.begin();
    }

    /// Ends it as `kill -9` does. It keeps what was retained and what sessions are to have after each change, without a
    /// sync.
    pub fn kill(&mut self) {
        self.0.kill();
    }
}

/// Turns passwords into what Mosquitto reads.
fn hash(passwords: &Path) {
    let status = Command::new("mosquitto_passwd").arg("-U").arg(passwords).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "mosquitto_passwd, of the package mosquitto, hashes passwords"
    );
}

/// Mosquitto's program of that name for clients; none where it is not installed, which is said loudly.
///
/// # Panics
/// When it is not installed and `CI=true`.
pub fn client(name: &'static str) -> Option<Command> {
    if Command::new(name).arg("--help").output().is_err() {
        report_absence(name, "mosquitto-clients");
        return None;
    }
    Some(Command::new(name))
}
