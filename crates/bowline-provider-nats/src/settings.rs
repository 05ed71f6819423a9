//! Where NATS is, and who asks.

use std::{fmt, path::PathBuf, time::Duration};

use bowline_messaging::Error;
use bowline_runtime::metric;
use zeroize::Zeroizing;

/// The most servers that are named.
const SERVERS_MAX: usize = 16;

/// Where NATS is, and how it is used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Servers of one cluster: `nats://HOST:PORT`, or `tls://HOST:PORT`. Credentials do not belong in here.
    pub servers: Vec<String>,
    /// Who asks.
    pub credentials: Credentials,
    /// Certificates in PEM that a server's is signed by; those of the system, where there are none.
    pub ca: Option<PathBuf>,
    /// On how many servers of the cluster everything is kept: 1 to 5.
    pub replicas: usize,
    /// How all names in NATS begin, so that several systems share a server.
    pub prefix: String,
    /// How often is looked for messages that are not kept any longer.
    pub tidy_every: Duration,
    /// The most messages of a topic that are delayed at a time; one more is refused by who serves the group.
    pub delayed_max: usize,
    /// Where it counts.
    pub metrics: metric::Registry,
}

/// Who asks NATS.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Anybody.
    #[default]
    None,
    /// Whoever has the token.
    Token(Zeroizing<String>),
    /// A user.
    Password {
        /// His name.
        user: String,
        /// What he shows.
        password: Zeroizing<String>,
    },
    /// A file of credentials (a JWT and its key), as `nsc` makes it.
    File(PathBuf),
}

impl Settings {
    /// One server, with everything else as it is usual.
    pub fn new(server: impl Into<String>, metrics: metric::Registry) -> Self {
        Self {
            servers: vec![server.into()],
            credentials: Credentials::None,
            ca: None,
            replicas: 1,
            prefix: "bowline".to_owned(),
            tidy_every: Duration::from_secs(30),
            delayed_max: bowline_messaging::DELAYED_MAX,
            metrics,
        }
    }

    pub(crate) fn checked_servers(&self) -> Result<Vec<String>, Error> {
        let is_good = |server: &String| {
            let rest = server.strip_prefix("nats://").or_else(|| server.strip_prefix("tls://"));
            rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['@', '/', ' ', ',']))
        };
        if !(1..=SERVERS_MAX).contains(&self.servers.len()) || !self.servers.iter().all(is_good) {
            return Err(Error::Invalid {
                what: "nats",
                rule: "it is `nats://HOST:PORT` or `tls://HOST:PORT`, 1 to 16 of them; credentials are in the environment",
            });
        }
        if !(1..=5).contains(&self.replicas) {
            return Err(Error::Invalid { what: "replicas", rule: "they are 1 to 5" });
        }
        Ok(self.servers.clone())
    }
}

impl Credentials {
    /// Those that the environment has: `BOWLINE_NATS_TOKEN`, or `BOWLINE_NATS_USER` with `BOWLINE_NATS_PASSWORD`, or
    /// the path of a file in `BOWLINE_NATS_CREDENTIALS`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it has more than one of them, or a user without a password.
    pub fn find(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let find = |name| variable(name).filter(|value| !value.is_empty());
        let token = find("BOWLINE_NATS_TOKEN").map(|token| Self::Token(Zeroizing::new(token)));
        let file = find("BOWLINE_NATS_CREDENTIALS").map(|path| Self::File(path.into()));
        let user = match (find("BOWLINE_NATS_USER"), find("BOWLINE_NATS_PASSWORD")) {
            (Some(user), Some(password)) => Some(Self::Password { user, password: Zeroizing::new(password) }),
            (None, None) => None,
            _ => {
                return Err(Error::Invalid {
                    what: "BOWLINE_NATS_USER",
                    rule: "it goes with BOWLINE_NATS_PASSWORD, set both or none",
                });
            }
        };
        let mut found = [token, user, file].into_iter().flatten();
        match (found.next(), found.next()) {
            (found, None) => Ok(found.unwrap_or_default()),
            _ => Err(Error::Invalid {
                what: "BOWLINE_NATS_*",
                rule: "set a token, a user with a password, or a file of credentials, not two of them",
            }),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token(…)",
            Self::Password { .. } => "Password(…)",
            Self::File(_) => "File(…)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(set: &[(&str, &str)]) -> Result<Credentials, Error> {
        Credentials::find(|name| set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn credentials_are_those_of_the_environment() {
        assert!(matches!(find(&[]), Ok(Credentials::None)));
        assert!(matches!(find(&[("BOWLINE_NATS_TOKEN", "s3cret")]), Ok(Credentials::Token(_))));
        let user = [("BOWLINE_NATS_USER", "u"), ("BOWLINE_NATS_PASSWORD", "s3cret")];
        let found = find(&user).unwrap();
        assert!(!format!("{found:?}").contains("s3cret"));
        assert!(find(&user[..1]).is_err());
        assert!(find(&[user[0], user[1], ("BOWLINE_NATS_TOKEN", "t")]).is_err());
    }

    #[test]
    fn servers_carry_no_credentials() {
        for (server, is_good) in [
            ("nats://localhost:4222", true),
            ("tls://[::1]:4222", true),
            ("nats://user:password@localhost", false),
            ("localhost:4222", false),
            ("nats://", false),
        ] {
            let settings = Settings::new(server, metric::Registry::default());
            assert_eq!(settings.checked_servers().is_ok(), is_good, "{server}");
        }
    }
}
