//! What a gateway demands of a client and does to its requests, as data: who comes in, how often, what
//! is changed on the way.
//!
//! The same words in `bowline.toml` and in the route table that the store holds. The code that acts on
//! them is in `bowline-gateway`.

use std::{fmt, time::Duration};

use crate::{
    name::ServiceName,
    route::Route,
    units::{self, Rate},
};

/// All that a gateway serves by: `[gateway]`, `[auth.X]` and `[[route]]`, in the order of the document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteTable {
    /// What every request passes before it is routed.
    pub listener: ListenerPolicy,
    /// The ways to tell who calls; routes name them.
    pub auth: Vec<AuthProvider>,
    /// Which requests go where.
    pub routes: Vec<Route>,
}

impl RouteTable {
    /// The way of that name to tell who calls.
    pub fn auth(&self, name: &str) -> Option<&AuthProvider> {
        self.auth.iter().find(|provider| provider.name.as_str() == name)
    }
}

/// What every request passes before it is routed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListenerPolicy {
    /// Who may come in at all; absent: everybody.
    pub auth: Option<ServiceName>,
    /// How often; absent: without limit.
    pub limit: Option<LimitPolicy>,
}

/// A named way to tell who calls: `[auth.customers]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthProvider {
    /// Its name.
    pub name: ServiceName,
    /// How it tells.
    pub kind: AuthKind,
    /// Whether the credential itself is passed on to the service; otherwise it is taken away.
    pub pass_credential: bool,
}

/// How a provider tells who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthKind {
    /// By a signed token in `Authorization: Bearer`.
    Jwt(JwtPolicy),
    /// By a secret in a header.
    ApiKey(ApiKeyPolicy),
}

/// Which JSON Web Tokens are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtPolicy {
    /// What `iss` has to be.
    pub issuer: String,
    /// What `aud` has to be, or has to contain.
    pub audience: String,
    /// The only algorithms that are believed, whatever a token says of itself. At least one; `HS256`
    /// stands alone, and only with [`JwtKeys::Secret`].
    pub algorithms: Vec<JwtAlgorithm>,
    /// What signatures are checked with.
    pub keys: JwtKeys,
    /// How far the clocks of issuer and gateway may differ; at most 5 min.
    pub leeway: Duration,
}

/// A signature algorithm of JSON Web Tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JwtAlgorithm {
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// HMAC with SHA-256: who checks can also sign.
    Hs256,
}

impl JwtAlgorithm {
    /// Each with its name.
    pub const NAMES: [(&'static str, Self); 4] =
        [("RS256", Self::Rs256), ("ES256", Self::Es256), ("EdDSA", Self::EdDsa), ("HS256", Self::Hs256)];

    /// Its name, as tokens write it.
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

/// Where the keys are that signatures are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwtKeys {
    /// A key set at a URL, `http://` or `https://`.
    Url(String),
    /// A key set that a service of the system serves.
    Service {
        /// The service.
        service: ServiceName,
        /// The path it serves it at.
        path: String,
    },
    /// A key set in a file.
    File(String),
    /// A shared secret; never in the document itself.
    Secret(SecretSource),
}

/// Where a secret is, so that documents name it and never hold it. As text: `env:NAME`, `file:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In an environment variable of the process that needs it.
    Env(String),
    /// In a file, without the line end after it.
    File(String),
}

impl SecretSource {
    /// Reads `env:NAME` or `file:PATH`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "a secret stands elsewhere: write \"env:NAME\" or \"file:PATH\"";
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.to_owned())),
            _ => Err(RULE),
        }
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
        }
    }
}

/// Which API keys are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyPolicy {
    /// The header a key comes in, lower case.
    pub header: String,
    /// The keys, each with whose it is. At least one.
    pub keys: Vec<ApiKey>,
}

/// The header an API key comes in where a provider does not say.
pub const API_KEY_HEADER_DEFAULT: &str = "x-api-key";

/// A key as it is kept: its hash alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Whose it is.
    pub subject: String,
    /// What it hashes to.
    pub hash: KeyHash,
}

/// The SHA-256 of a secret of full entropy. As text: `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// Reads `sha256:` and 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "write the key's hash, not the key: \"sha256:\" and 64 hexadecimal digits";
        let digits = text.strip_prefix("sha256:").ok_or(RULE)?;
        if digits.len() != 64 || !digits.is_ascii() {
            return Err(RULE);
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| RULE)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| RULE)?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How often somebody may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitPolicy {
    /// What is counted together.
    pub by: LimitBy,
    /// How many.
    pub quota: Quota,
}

/// How many are let through, and in which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// At an even pace, with a burst.
    Pace {
        /// How many in the long run.
        rate: Rate,
        /// How many at once after a pause, 1 to [`BURST_MAX`], and no more than [`LIMIT_REFILL_MAX`] refills.
        burst: u32,
    },
    /// So many in any window of time, wherever it begins.
    Window(Window),
}

/// So many in any window of time. As text: `"100 in 1m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    count: u32,
    length: Duration,
}

impl Window {
    /// The most that one lets through.
    pub const COUNT_MAX: u32 = 1_000_000;

    /// The shortest; the longest is [`LIMIT_REFILL_MAX`].
    pub const LENGTH_MIN: Duration = Duration::from_millis(1);

    /// Reads a whole number, `in`, and a duration.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "write how many in which time: \"100 in 1m\", \"5000 in 1h\"";
        let (count, length) = text.split_once(" in ").ok_or(RULE)?;
        let count: u32 = count.trim().parse().map_err(|_| RULE)?;
        let length = units::parse_duration(length).map_err(|_| RULE)?;
        if !(1..=Self::COUNT_MAX).contains(&count) {
            return Err("a window lets 1 to 1,000,000 through");
        }
        if !(Self::LENGTH_MIN..=LIMIT_REFILL_MAX).contains(&length) {
            return Err("a window is 1ms to 30d long");
        }
        Ok(Self { count, length })
    }

    /// How many, 1 to [`Window::COUNT_MAX`].
    pub fn count(self) -> u32 {
        self.count
    }

    /// How long it is.
    pub fn length(self) -> Duration {
        self.length
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.count, units::format_duration(self.length))
    }
}

/// The most that a limit lets through at once.
pub const BURST_MAX: u32 = 1_000_000;

/// The longest that a limit takes from nothing to its full burst, and the longest window.
pub const LIMIT_REFILL_MAX: Duration = Duration::from_hours(30 * 24);

/// What a limit counts together. As text: `address`, `subject`, `header:x-tenant`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitBy {
    /// Requests of one client address; of IPv6 those of one /64.
    Address,
    /// Requests of one subject, as authentication tells; of nobody by address.
    Subject,
    /// Requests with one value of this header, lower case; without it by address.
    Header(String),
}

impl LimitBy {
    /// Reads `address`, `subject` or `header:NAME`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "write \"address\", \"subject\" or \"header:x-tenant\"";
        match text {
            "address" => Ok(Self::Address),
            "subject" => Ok(Self::Subject),
            _ => {
                let name = text.strip_prefix("header:").ok_or(RULE)?.to_ascii_lowercase();
                if is_header_name(&name) { Ok(Self::Header(name)) } else { Err(RULE) }
            }
        }
    }
}

impl fmt::Display for LimitBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("address"),
            Self::Subject => f.write_str("subject"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

/// What is done to a route's requests and answers, in this order; answers pass it in reverse.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Middleware {
    /// Which pages of other origins may ask.
    pub cors: Option<CorsPolicy>,
    /// Whether each request has an `x-request-id`, kept where the client gave a valid one, and told in
    /// the answer.
    pub request_id: bool,
    /// What is changed in requests.
    pub request_headers: HeaderEdits,
    /// What is changed in answers.
    pub response_headers: HeaderEdits,
    /// Whether answers are compressed for those who accept it.
    pub compress: bool,
}

/// Which pages of other origins may ask (Fetch, CORS protocol).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorsPolicy {
    /// Origins, as `https://shop.example`; a single `*` is every one, and never with credentials.
    pub origins: Vec<String>,
    /// Methods beyond GET, HEAD and POST; empty: the route's.
    pub methods: Vec<String>,
    /// Request headers that pages may set, lower case; a single `*` is every one but `authorization`.
    pub headers: Vec<String>,
    /// Answer headers that pages may read, lower case.
    pub expose: Vec<String>,
    /// Whether cookies and the like may come along.
    pub credentials: bool,
    /// How long a browser may remember the answer; at most a day.
    pub max_age: Duration,
}

/// Changes of headers: removed first, then set, then added. Names are lower case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderEdits {
    /// Taken away.
    pub remove: Vec<String>,
    /// Replaced, or added where absent.
    pub set: Vec<(String, String)>,
    /// Added beside what is there.
    pub add: Vec<(String, String)>,
}

impl HeaderEdits {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

/// Whether a text is the name of a header, in any case (RFC 9110, 5.6.2).
pub fn is_header_name(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.len() <= 256 && text.bytes().all(is_token)
}

/// Whether Bowline itself speaks in the header of that name, in lower case: a client's own reaches no service.
///
/// `_` counts as `-` wherever it stands, as it does to services behind CGI and its kin.
pub fn is_own_header(name: &str) -> bool {
    const PREFIX: &[u8] = b"x-bowline-";
    let alike = |(byte, own): (u8, &u8)| byte == *own || (byte == b'_' && *own == b'-');
    name.len() >= PREFIX.len() && name.bytes().zip(PREFIX).all(alike)
}

impl fmt::Display for LimitPolicy {
    /// `100/s, burst 200, by subject`; `100 in 1m, by subject`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by, quota } = self;
        match quota {
            Quota::Pace { rate, burst } => write!(f, "{rate}, burst {burst}, by {by}"),
            Quota::Window(window) => write!(f, "{window}, by {by}"),
        }
    }
}

/// How far the clocks of issuer and gateway may differ where a provider does not say.
pub const LEEWAY_DEFAULT: Duration = Duration::from_secs(30);

/// How long a browser may remember a CORS answer where a policy does not say.
pub const CORS_MAX_AGE_DEFAULT: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_written_as_they_are_read() {
        let text = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(KeyHash::parse(&text).unwrap().to_string(), text);
        for bad in ["", "sha256:", "0a", &format!("sha256:{}", "0".repeat(63)), &format!("sha256:{}", "é".repeat(32))]
        {
            assert!(KeyHash::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn windows_are_written_as_they_are_read() {
        for text in ["100 in 1m", "1 in 1ms", "1000000 in 30d", "5 in 1h 30m"] {
            assert_eq!(Window::parse(text).unwrap().to_string(), text);
        }
        for bad in
            ["", "100", "100/m", "100 in", "in 1m", "0 in 1m", "1000001 in 1m", "1 in 0s", "1 in 31d", "-1 in 1m"]
        {
            assert!(Window::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_limit_counts_by_is_written_as_it_is_read() {
        for text in ["address", "subject", "header:x-tenant"] {
            assert_eq!(LimitBy::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "header:", "header:a b", "client", "Subject"] {
            assert!(LimitBy::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn secrets_are_named_not_told() {
        for text in ["env:SHOP_SECRET", "file:/run/secrets/jwt"] {
            assert_eq!(SecretSource::parse(text).unwrap().to_string(), text);
        }
        for bad in ["hunter2", "env:", "file:", "vault:x"] {
            assert!(SecretSource::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn algorithms_have_the_names_of_tokens() {
        for (name, algorithm) in JwtAlgorithm::NAMES {
            assert_eq!(algorithm.as_str(), name);
        }
    }
}
