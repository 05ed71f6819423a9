//! Which pages of other origins may ask (Fetch, CORS protocol).
//!
//! What a service itself says of it is taken away: two answers to one question are none.

use std::sync::Arc;

use bowline_model::{gateway::CorsPolicy, route::Route};
use bowline_proxy::Visit;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
    },
};

use super::{Middleware, vary};
use crate::error::PolicyError;

/// The longest list of headers that a preflight asks for and that is granted as it is.
const ASKED_BYTES_MAX: usize = 4096;

/// What only the gateway says.
const SAID: [HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

/// The methods that a page may use without asking (Fetch, CORS-safelisted method).
const SAFELISTED: [&str; 3] = ["GET", "HEAD", "POST"];

/// A policy, ready to answer.
#[derive(Debug)]
pub(crate) struct Cors {
    rules: Arc<Rules>,
    /// `None`: any method that is asked for, as the route takes any.
    methods: Option<HeaderValue>,
    headers: Headers,
    max_age: HeaderValue,
}

#[derive(Debug)]
struct Rules {
    /// Empty: every origin.
    origins: Vec<HeaderValue>,
    expose: Option<HeaderValue>,
    has_credentials: bool,
}

/// Which request headers pages may set.
#[derive(Debug)]
enum Headers {
    None,
    These(HeaderValue),
    /// Every one but `authorization`.
    Any,
}

impl Cors {
    pub(crate) fn new(policy: &CorsPolicy, route: &Route) -> Result<Self, PolicyError> {
        let CorsPolicy { origins, methods, headers, expose, credentials, max_age } = policy;
        let is_any = |list: &[String]| list.iter().any(|item| item == "*");
        if is_any(origins) && *credentials {
            return Err(PolicyError::AnyOriginWithCredentials);
        }
        let rules = Rules {
            origins: if is_any(origins) {
                Vec::new()
            } else {
                origins.iter().map(|origin| value(origin)).collect::<Result<_, _>>()?
            },
            expose: if expose.is_empty() { None } else { Some(value(&expose.join(", "))?) },
            has_credentials: *credentials,
        };
        if rules.origins.is_empty() && !is_any(origins) {
            return Err(PolicyError::NoOrigin);
        }
        let headers = match headers.as_slice() {
            [] => Headers::None,
            list if is_any(list) => Headers::Any,
            list => Headers::These(value(&list.join(", "))?),
        };
        Ok(Self {
            rules: Arc::new(rules),
            methods: allowed_methods(methods, route).map(|methods| value(&methods)).transpose()?,
            headers,
            max_age: HeaderValue::from(max_age.as_secs()),
        })
    }

    fn write_preflight(&self, asked: &HeaderMap, headers: &mut HeaderMap) {
        let methods = self.methods.as_ref().or_else(|| asked.get(ACCESS_CONTROL_REQUEST_METHOD));
        headers.extend(methods.map(|methods| (ACCESS_CONTROL_ALLOW_METHODS, methods.clone())));
        let granted = match &self.headers {
            Headers::None => None,
            Headers::These(these) => Some(these.clone()),
            Headers::Any => asked.get(ACCESS_CONTROL_REQUEST_HEADERS).and_then(all_but_authorization),
        };
        headers.extend(granted.map(|granted| (ACCESS_CONTROL_ALLOW_HEADERS, granted)));
        headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
    }
}

/// The methods that are granted: those of the policy beside the safelisted ones, or else the route's;
/// `None` where the route takes any.
fn allowed_methods(methods: &[String], route: &Route) -> Option<String> {
    let mut allowed: Vec<&str> = Vec::new();
    if methods.is_empty() {
        if route.matches.is_empty() || route.matches.iter().any(|each| each.methods.is_empty()) {
            return None;
        }
        allowed.extend(route.matches.iter().flat_map(|each| &each.methods).map(String::as_str));
    } else {
        allowed.extend(SAFELISTED);
        allowed.extend(methods.iter().map(String::as_str));
    }
    allowed.sort_unstable();
    allowed.dedup();
    Some(allowed.join(", "))
}

/// What a preflight asks for without `authorization`, which has to be named (Fetch, CORS
/// non-wildcard request-header name).
fn all_but_authorization(asked: &HeaderValue) -> Option<HeaderValue> {
    let asked = asked.to_str().ok().filter(|asked| asked.len() <= ASKED_BYTES_MAX)?;
    let names = asked.split(',').map(str::trim).filter(|name| !name.eq_ignore_ascii_case("authorization"));
    HeaderValue::try_from(names.collect::<Vec<_>>().join(", ")).ok().filter(|granted| !granted.is_empty())
}

fn value(text: &str) -> Result<HeaderValue, PolicyError> {
    HeaderValue::from_str(text).map_err(|_| PolicyError::Cors { text: text.to_owned() })
}

impl Rules {
    fn allows(&self, origin: &HeaderValue) -> bool {
        self.origins.is_empty() || self.origins.contains(origin)
    }

    /// Says in an answer whether a page of that origin may read it.
    fn write(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        for name in &SAID {
            headers.remove(name);
        }
        if self.origins.is_empty() {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else {
            // Whoever keeps the answer keeps it for this origin alone, or for those without.
            vary(headers, "origin");
            let Some(origin) = origin.filter(|origin| self.allows(origin)) else { return };
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
        if self.has_credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        headers.extend(self.expose.clone().map(|expose| (ACCESS_CONTROL_EXPOSE_HEADERS, expose)));
    }
}

/// The one origin of a request.
fn origin_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(ORIGIN).iter();
    let (origin, other) = (values.next()?, values.next());
    other.is_none().then(|| origin.clone())
}

impl Middleware for Cors {
    fn name(&self) -> &'static str {
        "cors"
    }

    fn begin(&self, visit: &mut Visit<'_>) {
        if visit.is_preflight {
            return;
        }
        let (rules, origin) = (Arc::clone(&self.rules), origin_of(&visit.head.headers));
        visit.on_answer(move |leaving| rules.write(origin.as_ref(), &mut leaving.head.headers));
    }

    /// Whatever is asked, the answer is 204: whether it grants what is asked is the browser's to see.
    fn preflight(&self, asked: &HeaderMap) -> Option<Response<Bytes>> {
        let mut answer = Response::new(Bytes::new());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let (headers, origin) = (answer.headers_mut(), origin_of(asked));
        self.rules.write(origin.as_ref(), headers);
        headers.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
        if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            self.write_preflight(asked, headers);
        }
        vary(headers, "access-control-request-method");
        vary(headers, "access-control-request-headers");
        Some(answer)
    }
}
