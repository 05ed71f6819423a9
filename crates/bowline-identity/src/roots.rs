//! The roots that are believed, ready to verify by.

use std::{fmt, sync::Arc, time::SystemTime};

use tokio_rustls::rustls::{
    self, CertificateError, RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, UnixTime},
    server::{ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier},
};

use crate::Error;

/// The roots of a system.
#[derive(Clone)]
pub struct Roots {
    ders: Arc<[Vec<u8>]>,
    store: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Roots {
    /// These, in DER.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is none, or one cannot be read.
    pub fn new(ders: Vec<Vec<u8>>) -> Result<Self, Error> {
        let invalid = |rule: &str| Error::Invalid { what: "the root certificate", rule: rule.to_owned() };
        let mut store = RootCertStore::empty();
        for der in &ders {
            store
                .add(CertificateDer::from(der.clone()))
                .map_err(|_| invalid("it is no certificate of an authority"))?;
        }
        let store = Arc::new(store);
        let clients = WebPkiClientVerifier::builder_with_provider(store.clone(), provider()).build();
        let clients = clients.map_err(|_| invalid("there is none"))?;
        Ok(Self { ders: ders.into(), store, clients })
    }

    /// The roots, in DER.
    pub fn ders(&self) -> &[Vec<u8>] {
        &self.ders
    }

    /// Whether one is among them.
    pub fn contains(&self, der: &[u8]) -> bool {
        self.ders.iter().any(|known| known == der)
    }

    /// Verifies a workload's certificate at a time: signed by one of these, valid, and for clients.
    ///
    /// # Errors
    /// [`Error::Invalid`] with what is wrong.
    pub fn verify(&self, chain: &[Vec<u8>], at: SystemTime) -> Result<(), Error> {
        let (leaf, between) = split(chain)?;
        self.verify_client(&leaf, &between, unix_time(at)).map_err(|error| Error::certificate(in_words(&error)))
    }

    /// Verifies a client's certificate.
    pub(crate) fn verify_client(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        self.clients.verify_client_cert(leaf, between, now).map(|_| ()).map_err(of_chain)
    }

    /// Verifies a server's certificate; its name is another matter.
    pub(crate) fn verify_server(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let algorithms = provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &self.store,
            between,
            now,
            algorithms,
        )
        .map_err(of_chain)
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots").field("count", &self.ders.len()).finish_non_exhaustive()
    }
}

/// A root of the same name that signed nothing of it is an unknown one: another system's of that name.
fn of_chain(error: rustls::Error) -> rustls::Error {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => CertificateError::UnknownIssuer.into(),
        error => error,
    }
}

/// The one cryptography that we use, whatever the process's default is.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::LazyLock<Arc<CryptoProvider>> =
        std::sync::LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

/// A time as TLS has it.
pub(crate) fn unix_time(at: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// What is wrong with a peer's certificate, for people.
pub(crate) fn in_words(error: &rustls::Error) -> String {
    use CertificateError as E;
    let rustls::Error::InvalidCertificate(error) = error else { return error.to_string() };
    match error {
        E::UnknownIssuer => "it is signed by an authority that is not this system's".to_owned(),
        E::ExpiredContext { time, not_after } => {
            format!("it expired {} s ago", time.as_secs().saturating_sub(not_after.as_secs()))
        }
        E::Expired => "it expired".to_owned(),
        E::NotValidYetContext { time, not_before } => {
            format!("it is not valid before {} s from now", not_before.as_secs().saturating_sub(time.as_secs()))
        }
        E::NotValidYet => "it is not yet valid".to_owned(),
        other => other.to_string(),
    }
}

fn split(chain: &[Vec<u8>]) -> Result<(CertificateDer<'_>, Vec<CertificateDer<'_>>), Error> {
    let (leaf, between) = chain.split_first().ok_or_else(|| Error::certificate("there is none"))?;
    let der = |bytes: &'_ Vec<u8>| CertificateDer::from(bytes.clone());
    Ok((CertificateDer::from(leaf.as_slice()), between.iter().map(der).collect()))
}
