//! What a certificate says: whose it is, and from when until when it counts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bowline_model::mesh::SpiffeId;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    parse_x509_certificate,
};

use crate::Error;

/// Who a certificate is for: its one URI.
///
/// Whether it can be believed is another matter, which the handshake settled.
///
/// Source: X509-SVID, 2 and 5.2: exactly one URI, and no certificate of an authority.
///
/// # Errors
/// [`Error::Invalid`] when it cannot be read, names nobody, or names more than one.
pub fn peer_id(certificate_der: &[u8]) -> Result<SpiffeId, Error> {
    let certificate = read(certificate_der)?;
    if certificate.is_ca() {
        return Err(Error::certificate("it is one of an authority, not of a workload"));
    }
    let uris = uris(&certificate);
    match uris.as_slice() {
        [uri] => uri.parse().map_err(|error| Error::certificate(format!("{error}"))),
        [] => Err(Error::certificate("it names no SPIFFE id")),
        _ => Err(Error::certificate(format!("it names {} URIs, not one", uris.len()))),
    }
}

/// From when until when a certificate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// It does not count before.
    pub not_before: SystemTime,
    /// It does not count after.
    pub not_after: SystemTime,
}

impl Validity {
    /// That of a certificate.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it cannot be read.
    pub fn of(certificate_der: &[u8]) -> Result<Self, Error> {
        let certificate = read(certificate_der)?;
        let validity = certificate.validity();
        let at = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        Ok(Self { not_before: at(not_before), not_after: at(not_after) })
    }

    /// How long it counts from `now` on; zero when it does no more.
    pub fn left(&self, now: SystemTime) -> Duration {
        self.not_after.duration_since(now).unwrap_or_default()
    }
}

/// Reads a certificate, and nothing behind it.
pub(crate) fn read(certificate_der: &[u8]) -> Result<X509Certificate<'_>, Error> {
    match parse_x509_certificate(certificate_der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(Error::certificate("something follows it")),
        Err(_) => Err(Error::certificate("it is no X.509 certificate")),
    }
}

/// The URIs among a certificate's alternative names.
pub(crate) fn uris<'a>(certificate: &'a X509Certificate<'_>) -> Vec<&'a str> {
    let names = certificate.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    let uri = |name: &GeneralName<'a>| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    };
    names.flatten().filter_map(uri).collect()
}
