//! Why a node could not start.

use std::{net::SocketAddr, path::PathBuf};

use bowline_mesh::ca;
use bowline_model::Code;

use crate::access::MakeRootError;

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data folder cannot be made.
    #[error("cannot create the data folder {}", path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The store cannot be opened.
    #[error("cannot open the store in {}", path.display())]
    Store {
        /// The data folder.
        path: PathBuf,
        /// What the store says.
        #[source]
        source: bowline_store::Error,
    },
    /// The trace store cannot be opened.
    #[error("cannot open the traces in {}", path.display())]
    Traces {
        /// The data folder.
        path: PathBuf,
        /// What the trace store says.
        #[source]
        source: bowline_observe::traces::Error,
    },
    /// The series store cannot be opened.
    #[error("cannot open the metrics in {}", path.display())]
    Metrics {
        /// The data folder.
        path: PathBuf,
        /// What the series store says.
        #[source]
        source: bowline_observe::series::Error,
    },
    /// What was published of alerts cannot be read.
    #[error("cannot read what was published of alerts in {}", path.display())]
    Config {
        /// The data folder.
        path: PathBuf,
        /// What the configuration says.
        #[source]
        source: bowline_config::Error,
    },
    /// What is known of alerts cannot be read.
    #[error("cannot read what is known of alerts in {}", path.display())]
    Alerts {
        /// The data folder.
        path: PathBuf,
        /// What they say.
        #[source]
        source: bowline_observe::alerts::Error,
    },
    /// The root token cannot be made.
    #[error("cannot make the root token in {}", path.display())]
    RootToken {
        /// The data folder.
        path: PathBuf,
        /// What the system or the store says.
        #[source]
        source: MakeRootError,
    },
    /// The certificate authority cannot be opened.
    #[error("cannot open the certificate authority in {}", path.display())]
    Authority {
        /// The data folder.
        path: PathBuf,
        /// What the authority says.
        #[source]
        source: ca::Error,
    },
    /// The messages cannot be opened.
    #[error("cannot open the messages in {}", path.display())]
    Messages {
        /// The data folder.
        path: PathBuf,
        /// What the bus says.
        #[source]
        source: bowline_messaging::Error,
    },
    /// The API's address is taken or not ours.
    #[error("the API cannot listen on {addr}: choose another address with --api, or --api off")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// OTLP's address is taken or not ours.
    #[error("OTLP cannot listen on {addr}: choose another address with {flag}, or {flag} off")]
    ListenOtlp {
        /// The address.
        addr: SocketAddr,
        /// The flag that tells it.
        flag: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::DataDir { .. } | Self::Listen { .. } | Self::ListenOtlp { .. } => Code::FailedPrecondition,
            Self::RootToken { source, .. } => source.code(),
            Self::Store { source, .. } => source.code(),
            Self::Traces { source, .. } => source.code(),
            Self::Metrics { source, .. } => source.code(),
            Self::Config { source, .. } => source.code(),
            Self::Alerts { source, .. } => source.code(),
            Self::Authority { source, .. } => source.code(),
            Self::Messages { source, .. } => source.code(),
        }
    }

    /// Whether the same start may succeed later, without a change by hand.
    pub fn retryable(&self) -> bool {
        match self {
            // Messages that are full or damaged stay so.
            Self::DataDir { .. } | Self::Listen { .. } | Self::ListenOtlp { .. } | Self::Messages { .. } => false,
            Self::RootToken { source, .. } => source.retryable(),
            Self::Store { source, .. } => source.retryable(),
            Self::Traces { source, .. } => source.retryable(),
            Self::Metrics { source, .. } => source.retryable(),
            Self::Config { source, .. } => source.retryable(),
            Self::Alerts { source, .. } => source.retryable(),
            Self::Authority { source, .. } => source.retryable(),
        }
    }
}
