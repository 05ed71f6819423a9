//! The proof of a renewal: the holder of a certificate's key signs its request for the next one.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm,
};
use x509_parser::{oid_registry, x509::SubjectPublicKeyInfo};

use crate::{Error, Key, certificate};

/// What signatures of renewals begin with, so that they are good for nothing else.
const CONTEXT: &[u8] = b"bowline certificate renewal, version 1\0";

/// Signs a request by the key of the current certificate.
///
/// # Errors
/// [`Error::Cryptography`] when it cannot be signed.
pub fn sign_renewal(current: &Key, csr: &[u8], at_unix_ms: u64) -> Result<Vec<u8>, Error> {
    current.sign(&message(csr, at_unix_ms))
}

/// Whether the holder of a certificate's key signed this request at that time.
///
/// Whether the certificate and the time are good is for the caller to find out.
///
/// # Errors
/// [`Error::Invalid`] when the certificate cannot be read, or the signature is not its key's.
pub fn verify_renewal(certificate_der: &[u8], csr: &[u8], at_unix_ms: u64, signature: &[u8]) -> Result<(), Error> {
    let certificate = certificate::read(certificate_der)?;
    let public = certificate.public_key();
    let key = UnparsedPublicKey::new(algorithm(public)?, public.subject_public_key.as_ref());
    let bad = |_| Error::Invalid {
        what: "the signature of the renewal",
        rule: "it is not by the key of the current certificate over this request and its time".to_owned(),
    };
    key.verify(&message(csr, at_unix_ms), signature).map_err(bad)
}

fn message(csr: &[u8], at_unix_ms: u64) -> Vec<u8> {
    [CONTEXT, &at_unix_ms.to_be_bytes(), csr].concat()
}

fn algorithm(key: &SubjectPublicKeyInfo<'_>) -> Result<&'static dyn VerificationAlgorithm, Error> {
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let is_ec = key.algorithm.algorithm == oid_registry::OID_KEY_TYPE_EC_PUBLIC_KEY;
    match curve {
        Some(curve) if is_ec && curve == oid_registry::OID_EC_P256 => Ok(&ECDSA_P256_SHA256_ASN1),
        Some(curve) if is_ec && curve == oid_registry::OID_NIST_EC_P384 => Ok(&ECDSA_P384_SHA384_ASN1),
        _ if key.algorithm.algorithm == oid_registry::OID_SIG_ED25519 => Ok(&ED25519),
        _ => Err(Error::certificate("its key is neither over P-256 nor P-384, and not Ed25519")),
    }
}
