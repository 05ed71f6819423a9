//! Headers that are removed, set and added.

use std::sync::Arc;

use bowline_model::gateway::{HeaderEdits, is_own_header};
use bowline_proxy::Visit;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Middleware;
use crate::error::PolicyError;

/// Headers that are not a policy's to change: they frame messages, or are meant for one hop.
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-trace-id",
];

/// Changes of headers, ready to be made.
#[derive(Debug)]
struct Edits {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

impl Edits {
    fn new(edits: &HeaderEdits) -> Result<Self, PolicyError> {
        let HeaderEdits { remove, set, add } = edits;
        let pairs = |pairs: &[(String, String)]| {
            let pair = |(text, value): &(String, String)| {
                let invalid = |_| PolicyError::HeaderValue { header: text.clone() };
                Ok((name(text)?, HeaderValue::from_str(value).map_err(invalid)?))
            };
            pairs.iter().map(pair).collect::<Result<_, PolicyError>>()
        };
        let remove = remove.iter().map(|text| name(text)).collect::<Result<_, _>>()?;
        Ok(Self { remove, set: pairs(set)?, add: pairs(add)? })
    }

    fn make(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

fn name(text: &str) -> Result<HeaderName, PolicyError> {
    let invalid = || PolicyError::Header { header: text.to_owned() };
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| invalid())?;
    if is_own_header(name.as_str()) || FRAMING.contains(&name.as_str()) {
        return Err(PolicyError::ReservedHeader { header: text.to_owned() });
    }
    Ok(name)
}

/// What is changed in requests.
#[derive(Debug)]
pub(crate) struct RequestEdits(Edits);

/// What is changed in answers, refusals included.
#[derive(Debug)]
pub(crate) struct ResponseEdits(Arc<Edits>);

impl RequestEdits {
    pub(crate) fn new(edits: &HeaderEdits) -> Result<Self, PolicyError> {
        Ok(Self(Edits::new(edits)?))
    }
}

impl ResponseEdits {
    pub(crate) fn new(edits: &HeaderEdits) -> Result<Self, PolicyError> {
        Ok(Self(Arc::new(Edits::new(edits)?)))
    }
}

impl Middleware for RequestEdits {
    fn name(&self) -> &'static str {
        "request_headers"
    }

    fn process(&self, visit: &mut Visit<'_>) {
        self.0.make(&mut visit.head.headers);
    }
}

impl Middleware for ResponseEdits {
    fn name(&self) -> &'static str {
        "response_headers"
    }

    fn begin(&self, visit: &mut Visit<'_>) {
        let edits = Arc::clone(&self.0);
        visit.on_answer(move |leaving| edits.make(&mut leaving.head.headers));
    }
}
