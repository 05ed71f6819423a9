//! Routes, in the Gateway API's words: which requests from outside go to which backends.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    gateway::{LimitPolicy, Middleware},
    name::ServiceName,
    policy::CallPolicy,
    text_form::text_form,
};

/// One route: a request that matches any host and any match goes to one of the backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Unique in the system; a DNS label.
    pub name: String,
    /// Hosts it answers for; empty: every host.
    pub hosts: Vec<HostPattern>,
    /// Any of these suffices; empty: every path.
    pub matches: Vec<RouteMatch>,
    /// Where requests go, in proportion to weights. At least one of weight above 0.
    pub backends: Vec<Backend>,
    /// Time, failure and choice of the gateway's calls for this route.
    pub policy: CallPolicy,
    /// The largest request body, in bytes.
    pub body_max: u64,
    /// Who may come in, by the name of an [`AuthProvider`](crate::gateway::AuthProvider); absent: everybody.
    pub auth: Option<ServiceName>,
    /// How often; absent: without limit.
    pub limit: Option<LimitPolicy>,
    /// What is done to requests and answers on their way.
    pub middleware: Middleware,
}

impl Route {
    /// A route of every request to those backends, with the default policy and nothing demanded.
    pub fn new(name: impl Into<String>, backends: Vec<Backend>) -> Self {
        Self {
            name: name.into(),
            hosts: Vec::new(),
            matches: Vec::new(),
            backends,
            policy: CallPolicy::default(),
            body_max: BODY_MAX_DEFAULT,
            auth: None,
            limit: None,
            middleware: Middleware::default(),
        }
    }
}

/// The HTTP methods that a match or an operation may name.
pub const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The largest request body where a route does not say: 10 MiB.
pub const BODY_MAX_DEFAULT: u64 = 10 << 20;

/// A host name, exact (`shop.localhost`) or with a leading wildcard label (`*.shop.localhost`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPattern {
    /// This name only.
    Exact(String),
    /// Any name with one or more labels before this suffix (kept without the `*.`).
    Wildcard(String),
}

impl HostPattern {
    /// Reads a host pattern; names are lower-cased.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "write a host name without a port: \"shop.localhost\" or \"*.shop.localhost\"";
        let lower = text.to_ascii_lowercase();
        let (is_wildcard, name) = match lower.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, lower.as_str()),
        };
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if name.len() > 253 || !name.split('.').all(is_label) {
            return Err(RULE);
        }
        let name = name.to_owned();
        Ok(if is_wildcard { Self::Wildcard(name) } else { Self::Exact(name) })
    }
}

impl TryFrom<String> for HostPattern {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        Self::parse(&text)
    }
}

impl From<HostPattern> for String {
    fn from(host: HostPattern) -> Self {
        match host {
            HostPattern::Exact(name) => name,
            HostPattern::Wildcard(suffix) => format!("*.{suffix}"),
        }
    }
}

/// Conditions that all hold for a request to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteMatch {
    /// The path.
    pub path: PathPattern,
    /// Any of these methods; empty: every method.
    pub methods: Vec<String>,
    /// Header name (lower case) and the exact value it has.
    pub headers: Vec<(String, String)>,
}

/// A path: exact, a prefix by whole segments, or a template.
///
/// As text: `/orders` exact, `/orders/**` that path and everything below it,
/// `/orders/{id}` one segment for each name in braces, and `/users/{id}/**` both.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern {
    segments: Vec<Segment>,
    is_prefix: bool,
}

/// One part of a path between slashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// This text.
    Literal(String),
    /// Any one non-empty segment; the name is for people.
    Parameter(String),
}

impl PathPattern {
    /// Reads a pattern; it starts with `/`, `**` stands only at the end.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "write \"/orders\", \"/orders/**\" or \"/orders/{id}\"";
        let rest = text.strip_prefix('/').ok_or(RULE)?;
        if text.len() > 1024 {
            return Err("a path pattern has at most 1024 bytes");
        }
        let (rest, is_prefix) = match rest.strip_suffix("**") {
            Some(rest) if rest.is_empty() || rest.ends_with('/') => (rest.trim_end_matches('/'), true),
            Some(_) => return Err("** stands alone in the last segment: \"/orders/**\""),
            None => (rest, false),
        };
        if rest.is_empty() {
            return Ok(Self { segments: Vec::new(), is_prefix });
        }
        let segments = rest.split('/').map(parse_segment).collect::<Result<_, _>>()?;
        Ok(Self { segments, is_prefix })
    }

    /// Its segments, without the `**`.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether everything below matches too.
    pub fn is_prefix(&self) -> bool {
        self.is_prefix
    }

    /// Whether every path that the other matches is matched by this too.
    ///
    /// What several patterns cover together, one of them covers alone: a path with a name of its own for each
    /// parameter, and an empty segment below a prefix, is matched by no literal and by no longer pattern.
    pub fn covers(&self, other: &Self) -> bool {
        let (outer, inner) = (&self.segments, &other.segments);
        let has_length =
            if self.is_prefix { inner.len() >= outer.len() } else { inner.len() == outer.len() && !other.is_prefix };
        let covers_segment = |(outer, inner): (&Segment, &Segment)| match (outer, inner) {
            (Segment::Parameter(_), _) => true,
            (Segment::Literal(outer), Segment::Literal(inner)) => decoded(outer) == decoded(inner),
            (Segment::Literal(_), Segment::Parameter(_)) => false,
        };
        has_length && outer.iter().zip(inner).all(covers_segment)
    }

    /// Whether the path (no query, still percent-encoded) matches.
    pub fn matches(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix('/') else { return false };
        let mut parts = rest.split('/').peekable();
        if rest.is_empty() {
            parts.next();
        }
        for segment in &self.segments {
            match (segment, parts.next()) {
                (Segment::Literal(text), Some(part)) if text == part => {}
                (Segment::Parameter(_), Some(part)) if !part.is_empty() => {}
                _ => return false,
            }
        }
        self.is_prefix || parts.next().is_none()
    }
}

/// The bytes that a literal stands for: percent-decoded, as the gateway compares it.
pub(crate) fn decoded(literal: &str) -> Cow<'_, [u8]> {
    let mut rest = literal.as_bytes();
    if !rest.contains(&b'%') {
        return Cow::Borrowed(rest);
    }
    let mut bytes = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let encoded = digit(0).zip(digit(1)).filter(|_| *first == b'%');
        let byte = encoded.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    Cow::Owned(bytes)
}

fn parse_segment(text: &str) -> Result<Segment, &'static str> {
    if let Some(name) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        return if is_name {
            Ok(Segment::Parameter(name.to_owned()))
        } else {
            Err("a name in braces has letters, digits and _: \"{id}\"")
        };
    }
    if text.is_empty() {
        return Err("a path pattern has no empty segment");
    }
    if text.bytes().any(|b| b"{}*?#".contains(&b) || b <= b' ' || b == 0x7f) {
        return Err("a segment holds no { } * ? # or blanks; ** stands only at the end");
    }
    Ok(Segment::Literal(text.to_owned()))
}

text_form!(PathPattern);

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(part) => write!(f, "/{part}")?,
                Segment::Parameter(name) => write!(f, "/{{{name}}}")?,
            }
        }
        match (self.is_prefix, self.segments.is_empty()) {
            (true, _) => f.write_str("/**"),
            (false, true) => f.write_str("/"),
            (false, false) => Ok(()),
        }
    }
}

/// One of a route's destinations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The service that answers.
    pub service: ServiceName,
    /// Its share beside the other backends, 0 to 1,000,000.
    pub weight: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let parsed = PathPattern::parse(pattern).unwrap();
        assert_eq!(String::from(parsed.clone()), pattern);
        for path in yes {
            assert!(parsed.matches(path), "{pattern} should match {path}");
        }
        for path in no {
            assert!(!parsed.matches(path), "{pattern} should not match {path}");
        }
    }

    #[test]
    fn paths() {
        check("/", &["/"], &["/a", "//", "", "a"]);
        check("/**", &["/", "/a", "/a/b"], &["", "a"]);
        check("/orders", &["/orders"], &["/orders/", "/orders/1", "/ordersx", "/"]);
        check("/orders/**", &["/orders", "/orders/", "/orders/1/x"], &["/ordersx", "/order"]);
        check("/orders/{id}", &["/orders/1"], &["/orders", "/orders/", "/orders/1/2"]);
        check("/u/{id}/**", &["/u/1", "/u/1/x/y"], &["/u", "/u/"]);
        for bad in ["", "orders", "/a**", "/**/a", "/a//b", "/{", "/{}", "/a b", "/a?b"] {
            assert!(PathPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts() {
        assert_eq!(HostPattern::parse("Shop.Localhost"), Ok(HostPattern::Exact("shop.localhost".to_owned())));
        assert_eq!(HostPattern::parse("*.a.b"), Ok(HostPattern::Wildcard("a.b".to_owned())));
        for bad in ["", "*", "a..b", "a:80", "*.", "a.*.b", "http://a"] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
    }
}
