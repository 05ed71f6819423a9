//! A workload's certificate: what stands in it, and what of a request is believed, which is the key.

use std::time::{Duration, SystemTime};

use bowline_identity::Validity;
use bowline_model::{
    Code,
    mesh::{MESH_DOMAIN, SpiffeId},
};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData as _, SanType,
    SerialNumber, SubjectPublicKeyInfo,
};
use tokio_rustls::rustls::pki_types::CertificateSigningRequestDer;
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer as _};

use super::{Error, root::Root};

/// The largest request, in bytes.
const CSR_BYTES_MAX: usize = 4096;
/// How much before now a certificate begins, since clocks differ.
const BACKDATED: Duration = Duration::from_secs(10);
/// Random bytes of a serial number.
const SERIAL_BYTES: usize = 16;
/// The longest common name (X.520).
const COMMON_NAME_MAX: usize = 64;

/// A certificate that was just signed.
pub(super) struct Leaf {
    pub(super) der: Vec<u8>,
    pub(super) serial: Vec<u8>,
    pub(super) validity: Validity,
}

impl Leaf {
    /// Signs a certificate for that workload, of the key in the request.
    pub(super) fn sign(root: &Root, id: &SpiffeId, csr: &[u8], now: SystemTime, ttl: Duration) -> Result<Self, Error> {
        let key = parse(csr)?;
        let serial = new_serial()?;
        let root_ends = Validity::of(root.der()).map_err(|error| Error::damaged(error.to_string()))?.not_after;
        let validity = Validity { not_before: now - BACKDATED, not_after: (now + ttl).min(root_ends) };
        let params = params(id, serial.clone(), validity)?;
        let certificate = params.signed_by(&key, root.issuer()).map_err(|_| Error::Cryptography)?;
        let der = certificate.der().to_vec();
        let validity = Validity::of(&der).map_err(|_| Error::Cryptography)?;
        Ok(Self { der, serial: serial.to_bytes(), validity })
    }
}

fn params(id: &SpiffeId, serial: SerialNumber, validity: Validity) -> Result<CertificateParams, Error> {
    let name = |text: String| text.try_into().map_err(|_| Error::Cryptography);
    let mut params = CertificateParams::default();
    params.not_before = validity.not_before.into();
    params.not_after = validity.not_after.into();
    params.serial_number = Some(serial);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name(&id.workload.to_string()));
    params.subject_alt_names = vec![SanType::URI(name(id.to_string())?)];
    if let Some(service) = id.workload.service() {
        params.subject_alt_names.push(SanType::DnsName(name(format!("{service}.{MESH_DOMAIN}"))?));
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// The public key of a request, as certificates have it.
pub(super) fn public_key(csr: &[u8]) -> Result<Vec<u8>, Error> {
    parse(csr).map(|key| key.subject_public_key_info())
}

/// Reads a request: its signature has to be by the key that it asks a certificate for.
fn parse(csr: &[u8]) -> Result<SubjectPublicKeyInfo, Error> {
    let refuse = |detail: &str| Error::refused(Code::InvalidArgument, format!("the certificate request {detail}"));
    if csr.len() > CSR_BYTES_MAX {
        return Err(refuse("has more than 4096 bytes"));
    }
    let (rest, request) = X509CertificationRequest::from_der(csr).map_err(|_| refuse("is no PKCS #10 in DER"))?;
    if !rest.is_empty() {
        return Err(refuse("is followed by something"));
    }
    let unfit = "is for a key that is neither over P-256 nor P-384, and not Ed25519";
    let key = SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw);
    let key = key.map_err(|_| refuse(unfit))?;
    if ![&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519].contains(&key.algorithm()) {
        return Err(refuse(unfit));
    }
    let unsigned = "is not signed by the key that it is for, or asks for extensions that nobody knows";
    CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr))
        .map_err(|_| refuse(unsigned))?;
    Ok(key)
}

/// A serial number that nobody foresees.
pub(super) fn new_serial() -> Result<SerialNumber, Error> {
    let mut bytes = [0; SERIAL_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Cryptography)?;
    // It is a positive number of the same length each time.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// A text for people, as long as a common name may be.
pub(super) fn common_name(text: &str) -> String {
    text.chars().take(COMMON_NAME_MAX).collect()
}
