//! Where Redis is, and who asks.

use std::{fmt, time::Duration};

use bowline_cache::PortError;
use bowline_model::caches::check_redis_url;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, io::tcp::TcpSettings};
use zeroize::Zeroizing;

/// After how long without a sign of life the system gives a connection up; else a partition is found out after a
/// quarter of an hour.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Where Redis is, and how it is used.
#[derive(Clone)]
pub struct Settings {
    /// One server, or what stands for one: `redis://HOST:PORT`, `rediss://HOST:PORT` by TLS (certificates are those of
    /// the system), either with `/DATABASE`, or `redis+unix:///PATH`. Credentials do not belong in here.
    pub url: String,
    /// What Redis demands: `PASSWORD`, or `USER:PASSWORD`; a password with a colon in it is `default:PASS:WORD`.
    pub credential: Option<Zeroizing<String>>,
    /// How all names in Redis begin, so that several systems share a server.
    pub prefix: String,
}

impl Settings {
    /// A server that demands nothing.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), credential: None, prefix: "bowline".to_owned() }
    }

    /// As the client is told.
    pub(crate) fn connection_info(&self) -> Result<ConnectionInfo, PortError> {
        let invalid = |rule| PortError::Invalid { what: "redis", rule };
        check_redis_url(&self.url).map_err(invalid)?;
        let info = self.url.as_str().into_connection_info();
        let info = info.map_err(|_| invalid("the client cannot connect to such a place"))?;
        let mut redis = info.redis_settings().clone();
        if let Some(credential) = &self.credential {
            redis = match credential.split_once(':') {
                Some((user, password)) => redis.set_username(user).set_password(password),
                None => redis.set_password(credential.as_str()),
            };
        }
        let info = info.set_redis_settings(redis);
        Ok(match info.addr() {
            ConnectionAddr::Unix(_) => info,
            _ => info.set_tcp_settings(tcp_settings()),
        })
    }
}

fn tcp_settings() -> TcpSettings {
    let settings = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(SILENCE_MAX);
    settings
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("url", &self.url).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_carries_no_credentials() {
        for (url, is_good) in [
            ("redis://localhost:6379", true),
            ("redis://localhost:6379/3", true),
            ("rediss://[::1]:6380", true),
            ("redis+unix:///run/redis.sock", true),
            ("redis://user:password@localhost", false),
            ("rediss://localhost/#insecure", false),
            ("http://localhost:6379", false),
            ("redis://", false),
        ] {
            assert_eq!(Settings::new(url).connection_info().is_ok(), is_good, "{url}");
        }
    }

    #[test]
    fn a_credential_is_a_password_perhaps_of_a_user() {
        let with = |text: &str| {
            let credential = Some(Zeroizing::new(text.to_owned()));
            Settings { credential, ..Settings::new("redis://localhost:6379") }
        };
        let of = |settings: &Settings| {
            let info = settings.connection_info().unwrap();
            let redis = info.redis_settings();
            (redis.username().map(ToOwned::to_owned), redis.password().map(ToOwned::to_owned))
        };
        assert_eq!(of(&with("s3cret")), (None, Some("s3cret".to_owned())));
        assert_eq!(of(&with("shop:s3:cret")), (Some("shop".to_owned()), Some("s3:cret".to_owned())));
        assert_eq!(of(&with("default:s3:cret")), (Some("default".to_owned()), Some("s3:cret".to_owned())));
        assert!(!format!("{:?}", with("s3cret")).contains("s3cret"));
    }
}
