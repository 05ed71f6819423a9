//! The port: whoever gives certificates.

use bowline_model::{Secret, mesh::Workload};
use bowline_runtime::BoxFuture;

use crate::Error;

/// Gives certificates to whoever proves who it is.
pub trait Issuer: Send + Sync {
    /// Asks for a certificate.
    ///
    /// # Errors
    /// [`Error::Refused`] when the proof is not good, [`Error::Unavailable`] when nobody can be asked.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether a certificate was made, and a join token used up: the same
    /// request with the same key is answered again while the token lives.
    fn issue(&self, request: Request) -> BoxFuture<'_, Result<Issued, Error>>;
}

/// A request for a certificate.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who asks.
    pub workload: Workload,
    /// A PKCS #10 request in DER, signed by the new key. Nothing in it counts but the public key.
    pub csr: Vec<u8>,
    /// What shows that it is who it says.
    pub proof: Proof,
}

/// What shows that somebody is who it says.
#[derive(Debug, Clone)]
pub enum Proof {
    /// A join token, made for this workload; good once.
    Join(Secret),
    /// Possession of the key of a certificate that is still good.
    Renewal {
        /// That certificate, and what is between it and the root; in DER.
        chain: Vec<Vec<u8>>,
        /// As of [`sign_renewal`](crate::sign_renewal).
        signature: Vec<u8>,
        /// When it was signed.
        at_unix_ms: u64,
    },
    /// It runs in the issuer's own process, which knows whom it started.
    InProcess,
}

/// A certificate, and what to believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate, and what is between it and the root; in DER.
    pub chain: Vec<Vec<u8>>,
    /// The roots of everybody in the system, in DER.
    pub roots: Vec<Vec<u8>>,
}
