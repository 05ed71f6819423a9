//! Whom a handshake believes: what is current decides, so configurations outlive certificates.
//!
//! The errors are rustls's own, so that the peer is told what is wrong by the right alert: an unknown
//! authority, an expired certificate.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use bowline_model::{
    ServiceName,
    mesh::{SpiffeId, Workload},
};
use bowline_runtime::{
    metric::{Counter, Registry},
    time,
};
use tokio_rustls::rustls::{
    self, CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::verify_tls13_signature,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ClientHello, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    time_provider::TimeProvider,
};

use crate::{
    certificate,
    current::Current,
    peer_id,
    roots::{Roots, in_words, provider, unix_time},
};

/// What is current, as every handshake looks it up.
pub(crate) struct Shared {
    pub(crate) id: SpiffeId,
    pub(crate) current: ArcSwapOption<Current>,
    refused: Refused,
}

impl Shared {
    pub(crate) fn new(id: SpiffeId, metrics: &Registry) -> Self {
        let refused = Refused { metrics: metrics.clone(), workload: id.workload.to_string() };
        Self { id, current: ArcSwapOption::empty(), refused }
    }

    fn certified(&self) -> Option<Arc<CertifiedKey>> {
        self.current.load().as_ref().map(|current| current.certified.clone())
    }

    fn roots(&self) -> Result<Roots, rustls::Error> {
        let current = self.current.load();
        let no_roots = || rustls::Error::General("this workload has no certificate yet, and believes nobody".into());
        current.as_ref().map(|current| current.roots.clone()).ok_or_else(no_roots)
    }
}

/// Shows the current certificate, and believes servers that have the name that was asked for.
#[derive(Debug)]
pub(crate) struct Client(pub(crate) Arc<Shared>);

/// Shows the current certificate, and believes clients of the same system.
#[derive(Debug)]
pub(crate) struct Server(pub(crate) Arc<Shared>);

/// The wall clock.
#[derive(Debug)]
pub(crate) struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(time::system()))
    }
}

impl ResolvesClientCert for Client {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.certified()
    }

    fn has_certs(&self) -> bool {
        self.0.current.load().is_some()
    }
}

impl ResolvesServerCert for Server {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.certified()
    }
}

impl ServerCertVerifier for Client {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        asked: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.0.roots()?.verify_server(leaf, between, now);
        let verified = verified.and_then(|()| is_service(&self.0.id.system, leaf, asked));
        verified.map(|()| ServerCertVerified::assertion()).inspect_err(|error| self.0.refused.note("server", error))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Server {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.0.roots()?.verify_client(leaf, between, now);
        let verified = verified.and_then(|()| is_of_system(&self.0.id.system, leaf));
        verified.map(|()| ClientCertVerified::assertion()).inspect_err(|error| self.0.refused.note("client", error))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Peers that were not believed, by reason.
struct Refused {
    metrics: Registry,
    workload: String,
}

impl Refused {
    fn note(&self, peer: &str, error: &rustls::Error) {
        self.counter(peer, reason(error)).increment();
        tracing::debug!(workload = %self.workload, peer, error = %in_words(error), "peer's certificate was refused");
    }

    fn counter(&self, peer: &str, reason: &str) -> Counter {
        let labels = [("workload", self.workload.as_str()), ("peer", peer), ("reason", reason)];
        let help = "Certificates of peers that were refused.";
        self.metrics.counter("bowline_certificates_refused_total", help, &labels)
    }
}

/// Why a certificate is refused, as a label.
fn reason(error: &rustls::Error) -> &'static str {
    use CertificateError as E;
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            E::UnknownIssuer => "foreign_authority",
            E::Expired | E::ExpiredContext { .. } => "expired",
            E::NotValidYet | E::NotValidYetContext { .. } => "not_yet_valid",
            E::NotValidForName | E::NotValidForNameContext { .. } => "other_name",
            _ => "invalid",
        },
        _ => "invalid",
    }
}

/// Whether a certificate is that of the service asked for.
fn is_service(system: &ServiceName, leaf: &CertificateDer<'_>, asked: &ServerName<'_>) -> Result<(), rustls::Error> {
    let service = ServiceName::new(asked.to_str().as_ref());
    let expected = service.map(|service| SpiffeId::new(system.clone(), Workload::Service(service)));
    match (peer_id(leaf), expected) {
        (Ok(named), Ok(expected)) if named == expected => Ok(()),
        _ => Err(other_name(leaf, asked.to_owned())),
    }
}

/// Whether a certificate is that of a workload of this system.
fn is_of_system(system: &ServiceName, leaf: &CertificateDer<'_>) -> Result<(), rustls::Error> {
    match peer_id(leaf) {
        Ok(named) if named.system == *system => Ok(()),
        _ => {
            let ours = ServerName::try_from(system.as_str().to_owned());
            Err(ours.map_or(CertificateError::NotValidForName.into(), |ours| other_name(leaf, ours)))
        }
    }
}

/// A certificate whose names are others.
fn other_name(leaf: &CertificateDer<'_>, expected: ServerName<'static>) -> rustls::Error {
    let certificate = certificate::read(leaf);
    let presented = certificate.as_ref().map(certificate::uris).unwrap_or_default();
    let presented = presented.into_iter().map(str::to_owned).collect();
    CertificateError::NotValidForNameContext { expected, presented }.into()
}

fn no_tls12() -> rustls::Error {
    rustls::Error::General("the mesh speaks TLS 1.3 only".to_owned())
}
