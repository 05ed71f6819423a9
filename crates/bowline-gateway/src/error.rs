//! What keeps a gateway from starting, or from taking new routes.

use std::{io, net::SocketAddr};

use bowline_model::Code;
use bowline_proxy::{StartError, matcher::InvalidRoute};

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
    /// A route cannot be compiled.
    #[error("the gateway cannot take a route")]
    Route {
        /// Which, and why.
        #[source]
        source: InvalidRoute,
    },
}

impl Error {
    /// The code it answers to.
    pub fn code(&self) -> Code {
        match self {
            Self::AddressTaken { .. } => Code::AlreadyExists,
            Self::Listen { .. } | Self::DuplicateRoute { .. } | Self::Route { .. } => Code::InvalidArgument,
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
