//! The gateway: routes of the system from outside to its services, over the data-plane engine.
//!
//! A [`Gateway`] serves a [`RouteTable`](bowline_model::gateway::RouteTable) with `bowline-proxy` and keeps
//! the instances behind it current from `bowline-registry`'s discovery. What the engine answers itself, and
//! what it refuses, is in the documentation of [`bowline_proxy`].
//!
//! A request passes a chain: an [`Authenticator`] tells who calls, a [`RateLimiter`] how often they may, the
//! route is looked up, each [`Middleware`] does its part, the request is forwarded, and the answer passes the
//! middleware in reverse. The listener has the first two links for every request, each route has all of them
//! for its own: listener authentication → listener limit → route → route authentication → route limit →
//! middleware → the call, with the route's deadline, retries and breakers → middleware in reverse.
//!
//! - What a client says in `x-bowline-…` is taken away before any of it; then [`SUBJECT_HEADER`] and
//!   [`AUTH_HEADER`] say who calls. The credential is taken away, unless the provider passes it on.
//! - A refusal passes the middleware of its route, too, the listener's refusals included: a browser may
//!   read why.
//! - A preflight is matched by the method it asks for and answered without authentication; the listener's
//!   limit counts it, the route's does not.
//! - [`Gateway::explain`] says what would become of a request, by the same matcher and the same links.
//!
//! - [`Gateway::follow`] serves by the table that the store holds; the [`LastGood`] one on disk is served
//!   where the store cannot be asked.
//! - [`Gateway::follow_mesh`] calls under TLS as the mesh demands, services that give their keys included, and steers
//!   traffic between versions as is published.
//!
//! | status | reason | when |
//! |---|---|---|
//! | 401 | `no_credentials` | the route or the listener demands to know who calls, and nobody says |
//! | 401 | `bad_token`, `bad_api_key` | what is said is not believed: `WWW-Authenticate` says why |
//! | 429 | `rate_limited` | more than the limit was asked: `Retry-After` says when to come again |
//! | 503 | `auth_keys_unavailable`, `auth_undecided` | nobody can tell now whether a token is good |

mod auth;
mod backends;
mod chain;
mod error;
mod explain;
mod follow;
mod gateway;
mod limit;
mod mesh;
mod middleware;
mod policies;
mod serving;

pub use auth::{AUTH_HEADER, Authenticator, Identity, KeySetSettings, Outcome, SUBJECT_HEADER};
pub use bowline_upstream::Standpoint;
pub use error::{Error, Place, PolicyError, SecretError};
pub use explain::{Ask, AuthState, BackendState, Demands, Explanation, InstanceState, LimitState};
pub use follow::{Follow, LastGood};
pub use gateway::{Gateway, SETTLE_MAX, Settings};
pub use limit::{Caller, RateLimiter};
pub use mesh::{FollowMesh, LastGoodMesh};
pub use middleware::Middleware;
pub use serving::Handle;
