//! A private key: ECDSA over P-256, made here, told to nobody.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rcgen::{CertificateParams, DistinguishedName, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use tokio_rustls::rustls::{
    crypto::aws_lc_rs::sign::any_ecdsa_type,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::SigningKey,
};

use crate::Error;

/// A private key of ours. The library that keeps it wipes it from memory.
#[derive(Clone)]
pub struct Key(Arc<EcdsaKeyPair>);

impl Key {
    /// A new one.
    ///
    /// # Errors
    /// [`Error::Cryptography`] when the system gives no randomness.
    pub fn generate() -> Result<Self, Error> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| Error::Cryptography)?;
        Ok(Self(Arc::new(pair)))
    }

    /// One that was kept, in PKCS #8.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is no key of this kind.
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, Error> {
        let invalid = |_| Error::Invalid { what: "the key", rule: "it is no private key over P-256 in PKCS #8".into() };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document).map_err(invalid)?;
        Ok(Self(Arc::new(pair)))
    }

    /// The key itself, in PKCS #8, to be sealed; wiped from memory when it is dropped.
    ///
    /// # Errors
    /// [`Error::Cryptography`] when there is no memory.
    pub fn to_pkcs8(&self) -> Result<aws_lc_rs::pkcs8::Document, Error> {
        self.0.to_pkcs8v1().map_err(|_| Error::Cryptography)
    }

    /// A request for a certificate of this key, in DER. It says nothing but the public key.
    ///
    /// # Errors
    /// [`Error::Cryptography`] when it cannot be signed.
    pub fn csr(&self) -> Result<Vec<u8>, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr = params.serialize_request(self).map_err(|_| Error::Cryptography)?;
        Ok(csr.der().to_vec())
    }

    /// A signature over a message, in ASN.1.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.0.sign(&SystemRandom::new(), message).map_err(|_| Error::Cryptography)?;
        Ok(signature.as_ref().to_vec())
    }

    /// The public half, as certificates have it.
    pub fn public_der(&self) -> Result<Vec<u8>, Error> {
        let der = self.0.public_key().as_der().map_err(|_| Error::Cryptography)?;
        Ok(der.as_ref().to_vec())
    }

    /// The key as TLS signs with it.
    pub(crate) fn for_tls(&self) -> Result<Arc<dyn SigningKey>, Error> {
        let document = self.to_pkcs8()?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(document.as_ref()));
        any_ecdsa_type(&der).map_err(|_| Error::Cryptography)
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Self::sign(self, message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_survives_being_kept_and_is_not_told() {
        let key = Key::generate().unwrap();
        let again = Key::from_pkcs8(key.to_pkcs8().unwrap().as_ref()).unwrap();
        assert_eq!(key.public_der().unwrap(), again.public_der().unwrap());
        assert_eq!(format!("{key:?}"), "Key(…)");
        assert!(Key::from_pkcs8(b"nothing").unwrap_err().to_string().contains("P-256"));
    }
}
