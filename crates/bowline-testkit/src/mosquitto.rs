//! An MQTT broker that others make: the machine's own `mosquitto`.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use crate::foreign::{Foreign, Program, report_absence};

/// Debian's is not on everybody's path.
const PROGRAM: Program = Program { name: "mosquitto", paths: &["/usr/sbin/mosquitto"], args: &["-c"] };

/// Where packages put the plugin that is told who may connect while the broker runs.
const PLUGINS: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so",
    "/usr/lib/aarch64-linux-gnu/mosquitto_dynamic_security.so",
    "/usr/lib/mosquitto_dynamic_security.so",
];

/// The longest packet that it takes with that plugin, in bytes.
const PACKET_BYTES_MAX: u32 = 256 * 1024;

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
            let anonymous = "allow_anonymous true\n".to_owned();
            let (known, ruled) = (
                if access.users.is_empty() { &anonymous } else { &known },
                if access.rules.is_empty() { "" } else { &ruled },
            );
            format!("{}{known}{ruled}", base(dir, addr))
        });
        server.map(Self)
    }

    /// Starts one that is told who may connect by its dynamic security plugin; to begin with, `admin` may tell it. None
    /// where either is not installed, which is said loudly.
    ///
    /// # Panics
    /// When it is not installed and `CI=true`, or when it does not start.
    pub fn start_with_plugin(admin: &str, password: &str) -> Option<Self> {
        let Some(plugin) = PLUGINS.into_iter().find(|path| Path::new(path).exists()) else {
            report_absence("mosquitto_dynamic_security.so", "mosquitto");
            return None;
        };
        let server = Foreign::start(&PROGRAM, |dir, addr| {
            let accounts = dir.join("accounts.json");
            let made =
                Command::new("mosquitto_ctrl").args(["dynsec", "init"]).arg(&accounts).args([admin, password]).output();
            assert!(
                made.is_ok_and(|made| made.status.success()),
                "mosquitto_ctrl, of the package mosquitto, makes accounts"
            );
            format!(
                "{}allow_anonymous false\nmax_packet_size {PACKET_BYTES_MAX}\nmax_inflight_messages 1000\nplugin {plugin}\n\
                 plugin_opt_config_file {}\n",
                base(dir, addr),
                accounts.display(),
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

    /// Ends it as `kill` does, so that it keeps everything it has.
    ///
    /// # Panics
    /// When it does not run.
    pub fn end(&mut self) {
        self.0.end();
    }

    /// Ends it as `kill -9` does. It keeps what was retained and what sessions are to have after each change, without a
    /// sync.
    pub fn kill(&mut self) {
        self.0.kill();
    }
}

/// What every broker is told: where it listens, and that it keeps everything at once.
fn base(dir: &Path, addr: SocketAddr) -> String {
    let (port, ip, dir) = (addr.port(), addr.ip(), dir.display());
    format!(
        "listener {port} {ip}\nuser root\npersistence true\npersistence_location {dir}/\nautosave_interval 1\n\
         autosave_on_changes true\nlog_dest stderr\n"
    )
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
