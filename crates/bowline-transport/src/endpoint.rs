//! What can be dialled: an address and the protocol spoken there.

use std::fmt;

use bowline_model::{Address, Instance, Protocol, ServiceName};

/// An address and the protocol spoken there: what connections are pooled by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Where it listens.
    pub address: Address,
    /// What it speaks.
    pub protocol: Protocol,
    /// Whose certificate it has to show; none: it is spoken to in the clear.
    pub tls: Option<ServiceName>,
}

impl Endpoint {
    /// An HTTP/1.1 endpoint.
    pub fn http1(address: impl Into<Address>) -> Self {
        Self { address: address.into(), protocol: Protocol::Http1, tls: None }
    }

    /// An HTTP/2 endpoint, with prior knowledge.
    pub fn http2(address: impl Into<Address>) -> Self {
        Self { address: address.into(), protocol: Protocol::Http2, tls: None }
    }
}

impl From<&Instance> for Endpoint {
    fn from(instance: &Instance) -> Self {
        Self { address: instance.address.clone(), protocol: instance.protocol, tls: None }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}
