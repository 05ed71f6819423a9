//! What keeps a gateway from starting, or from taking new routes.

use std::{fmt, io, net::SocketAddr};

use bowline_model::Code;
use bowline_proxy::{StartError, matcher::InvalidRoute};

pub use crate::auth::SecretError;

/// Why a gateway did not start, or did not take its routes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Somebody listens on the address.
    #[error("the gateway's address {listen} is taken: stop what listens there, or choose another with --gateway")]
    AddressTaken {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("the gateway cannot listen on {listen}: choose another address with --gateway")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A worker's thread or runtime cannot be made.
    #[error("worker {worker} of the gateway cannot be started")]
    Worker {
        /// Which, from 0.
        worker: usize,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Two routes have one name.
    #[error("there are two routes named `{name}`")]
    DuplicateRoute {
        /// The name.
        name: String,
    },
    /// A route, or the listener, names a way to tell who calls that there is none of.
    #[error("{place} demands auth `{auth}`, which is not declared: add [auth.{auth}]")]
    UnknownAuth {
        /// Which route, or the listener.
        place: Place,
        /// The name.
        auth: String,
    },
    /// What is demanded or done cannot be served as it is written.
    #[error("{place} cannot be served as it is written")]
    Policy {
        /// Where it is written.
        place: Place,
        /// Why.
        #[source]
        source: PolicyError,
    },
    /// A route cannot be compiled.
    #[error("the gateway cannot take a route")]
    Route {
        /// Which, and why.
        #[source]
        source: InvalidRoute,
    },
}

/// Where in a route table something is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In `[gateway]`.
    Listener,
    /// In a route of that name.
    Route(String),
    /// In `[auth.NAME]`.
    Auth(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener => f.write_str("the listener"),
            Self::Route(name) => write!(f, "route `{name}`"),
            Self::Auth(name) => write!(f, "auth `{name}`"),
        }
    }
}

/// Why what is demanded or done cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A header has a name that cannot exist.
    #[error("`{header}` is not a header name")]
    Header {
        /// What stands in the place of the name.
        header: String,
    },
    /// A header has a value that cannot exist.
    #[error("the value of `{header}` cannot stand in a header: write visible ASCII characters")]
    HeaderValue {
        /// The header's name.
        header: String,
    },
    /// A header is not a policy's to change.
    #[error("`{header}` is the gateway's own to set: leave it out")]
    ReservedHeader {
        /// The header's name.
        header: String,
    },
    /// A subject cannot be told to a service.
    #[error("the subject `{subject}` is not 1 to 256 visible ASCII characters")]
    Subject {
        /// The subject.
        subject: String,
    },
    /// A key set's place is none.
    #[error("`{url}` is no place of a key set: write https://…, http://…, or the path of a service")]
    Url {
        /// What stands in its place.
        url: String,
    },
    /// A secret cannot be used.
    #[error("its secret cannot be used")]
    Secret(#[from] SecretError),
    /// The algorithms do not go with the keys.
    #[error("HS256 stands alone and needs a secret, the others need a key set")]
    Algorithms,
    /// A part of a CORS policy cannot stand in a header.
    #[error("`{text}` cannot stand in a header of CORS")]
    Cors {
        /// The part.
        text: String,
    },
    /// A CORS policy allows nobody.
    #[error("the CORS policy names no origin: write origins = [\"https://shop.example\"]")]
    NoOrigin,
    /// A CORS policy allows everybody with the rights of whoever is signed in.
    #[error("a CORS policy with credentials names its origins, it cannot allow `*`")]
    AnyOriginWithCredentials,
}

impl PolicyError {
    /// The code it answers to.
    pub fn code(&self) -> Code {
        match self {
            // The document is good, and what it refers to is missing here.
            Self::Secret(_) => Code::FailedPrecondition,
            _ => Code::InvalidArgument,
        }
    }
}

impl Error {
    /// Whether it is for the table: another one may be served.
    pub fn is_of_table(&self) -> bool {
        match self {
            Self::AddressTaken { .. } | Self::Listen { .. } | Self::Worker { .. } => false,
            Self::DuplicateRoute { .. } | Self::UnknownAuth { .. } | Self::Policy { .. } | Self::Route { .. } => true,
        }
    }

    /// The code it answers to.
    pub fn code(&self) -> Code {
        match self {
            Self::AddressTaken { .. } => Code::AlreadyExists,
            Self::Listen { .. } | Self::DuplicateRoute { .. } | Self::Route { .. } | Self::UnknownAuth { .. } => {
                Code::InvalidArgument
            }
            Self::Policy { source, .. } => source.code(),
            Self::Worker { .. } => Code::Internal,
        }
    }

    /// Whether trying the same again may help.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::AddressTaken { .. } | Self::Worker { .. })
    }
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Listen { listen, source } if source.kind() == io::ErrorKind::AddrInUse => {
                Self::AddressTaken { listen, source }
            }
            StartError::Listen { listen, source } => Self::Listen { listen, source },
            StartError::Worker { worker, source } => Self::Worker { worker, source },
        }
    }
}

impl From<InvalidRoute> for Error {
    fn from(source: InvalidRoute) -> Self {
        Self::Route { source }
    }
}
