//! What can be dialled: an address and the protocol spoken there.

use std::fmt;

use bowline_model::{Address, Instance, Protocol, ServiceName};

/// An address and the protocol spoken there: what connections are pooled by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Where it listens.
    pub address: Address,
    /// What is spoken there; of [`Protocol::Both`] that is HTTP/1.1.
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
    /// Who speaks both is spoken to in HTTP/1.1.
    fn from(instance: &Instance) -> Self {
        let protocol = match instance.protocol {
            Protocol::Http1 | Protocol::Both => Protocol::Http1,
            Protocol::Http2 => Protocol::Http2,
        };
        Self { address: instance.address.clone(), protocol, tls: None }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}
