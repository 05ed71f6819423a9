//! The data-plane engine: listener, route, backend, upstream, on an immutable snapshot.
//!
//! An [`Engine`] runs one thread a worker, each with its own runtime, listener, connections and
//! pool; they share the [`Snapshot`], which is replaced as a whole, and the state of the policies
//! in the [`Upstream`](bowline_upstream::Upstream)s it holds.
//!
//! What it answers itself is a problem document with the header `x-bowline-reason`:
//!
//! | status | reason | when |
//! |---|---|---|
//! | 400 | `bad_host` | HTTP/1.1 without exactly one valid `Host` of at most 255 bytes; HTTP/2 with two hosts that differ |
//! | 400 | `bad_path` | the path can be read as another one: see below |
//! | 400 | `upgrade_unsupported`, `connect_unsupported` | the client asks for a WebSocket or a tunnel |
//! | 403 | `not_admitted` | the listener [admits](Admits) others only |
//! | 400 | `proxy_form` | what is not addressed as to an HTTP proxy came to [one](Addressed::AsProxy) |
//! | 403 | `egress_not_declared` | no route has the host that a call is [for](Addressed): it is not declared |
//! | 404 | `no_route` | no route has the host and path, or the path is [Bowline's own](bowline_model::instance::OWN_PATHS) |
//! | 405 | `method_not_allowed` | a route has them, with other methods: `Allow` says which |
//! | 407 | `proxy_credentials` | the HTTP proxy demands its [secret](ProxySecret): `Proxy-Authenticate` |
//! | 413 | `body_too_large` | the body exceeds the route's `body_max` |
//! | 499 | `client_gone` | never sent; the status in spans and metrics when the client left first |
//! | 502 | `upstream_reset`, `upstream_malformed` | the answer broke off, or is no HTTP |
//! | 503 | `no_backend`, `no_instance`, `breaker_open`, `bulkhead_full`, `bulkhead_timeout`, `upstream_connect`, `pool_full` | nobody can take it now |
//! | 504 | `timeout` | no answer before the route's timeout |
//!
//! A path goes to the route that its every reading goes to, or nowhere, so that none walks round a
//! strict route by another spelling. Refused are empty segments (`//`, `/;x`), `.` and `..` segments,
//! backslashes, a `%` without two hexadecimal digits, and percent-encoded slashes, backslashes, NULs,
//! letters, digits and `-._~`. [Matching](matcher::Matcher) looks at each segment percent-decoded and
//! without its parameters (`;x=1`); the path is passed on as it was sent.
//!
//! A [`Snapshot`] may have [`Filter`]s, for the listener and for each route: they decide who comes in, change
//! heads, and rewrite answers. What they refuse is a problem document, too, with a reason of theirs. A route
//! without them pays for a comparison.
//!
//! A request that fails through no fault of the client is logged, at most once a second for each route
//! and reason; the next line has the count of those left out.
//!
//! It serves as a gateway and as a sidecar, which differ in their [`Settings`]: by which [`Listener`]s requests
//! come, [who](Peers) the clients are and what of what they say is believed, which [`Spans`] are reported. What
//! it acts by is followed with [`follow`].
//!
//! Every response carries `x-trace-id`. Headers named `x-bowline-…` are Bowline's own and are taken
//! away from requests and answers that pass, but for what [peers](Peers) of the mesh may say, and for the reason
//! of a refusal by whom is called under mutual TLS: that is a sidecar, which lets no service claim one. An `Upgrade` other than to WebSocket is ignored, as RFC 9110
//! 7.8 allows.

mod body;
mod cells;
mod client;
mod engine;
mod error;
mod fed;
mod filter;
mod gate;
mod handler;
mod headers;
mod listener;
mod record;
mod snapshot;
mod target;

pub mod follow;
pub mod matcher;

pub use client::Peers;
pub use engine::{Engine, ReadId, Settings, Spans, StartError, Switch};
pub use fed::Fed;
pub use filter::{Filter, Leaving, Recode, Refusal, Verdict, Visit, whole_seconds};
pub use gate::Gates;
pub use listener::{Addressed, Admits, Listener, PROXY_USER, ProxySecret};
pub use snapshot::{Found, LookedUp, Snapshot};
