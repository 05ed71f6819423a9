//! The root of a system: made once, its key sealed in the store.

use std::{path::Path, time::Duration};

use bowline_identity::{Key, fingerprint};
use bowline_model::ServiceName;
use bowline_runtime::time;
use bowline_store::{Entry, Error as StoreError, Expect, Store, Txn};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyUsagePurpose};
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::{Error, leaf, seal::SealKey};

/// Where it is in the store.
const KEY: &str = "mesh/ca";
/// The format of what is there.
const FORMAT: u32 = 1;
/// How long a root lives.
const LIFE: Duration = Duration::from_hours(24 * 3650);
/// How much before now it begins, since clocks differ.
const BACKDATED: Duration = Duration::from_hours(1);

/// A root, and what signs for it.
pub(super) struct Root {
    der: Vec<u8>,
    issuer: rcgen::Issuer<'static, Key>,
}

/// A root as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    format: u32,
    /// In DER.
    certificate: Vec<u8>,
    /// By which key it is sealed: [`SealKey::check`].
    sealed_by: String,
    /// The private key in PKCS #8, bound to the certificate's fingerprint.
    sealed_key: Vec<u8>,
}

impl Root {
    /// The store's, or a new one.
    pub(super) async fn open(store: &dyn Store, system: &ServiceName, key_file: &Path) -> Result<Self, Error> {
        let kept = store.get(KEY).await.map_err(Error::Store)?;
        let seal_key = match (SealKey::read(key_file)?, &kept) {
            (Some(seal_key), _) => seal_key,
            (None, Some(_)) => return Err(Error::NoKey { path: key_file.to_owned() }),
            (None, None) => SealKey::make(key_file).await?,
        };
        if let Some(kept) = kept {
            return Self::unseal(&kept, &seal_key, key_file);
        }
        let (der, key) = generate(system)?;
        let kept = seal(&der, &key, &seal_key)?;
        match store.commit(Txn::default().when(KEY, Expect::Missing).put(KEY, kept)).await {
            Ok(_) => Self::new(der, key),
            // Another node was faster: its root is everybody's.
            Err(StoreError::Conflict { .. }) => {
                let kept = store.get(KEY).await.map_err(Error::Store)?;
                Self::unseal(&kept.ok_or_else(|| Error::damaged("it is gone"))?, &seal_key, key_file)
            }
            Err(error) => Err(Error::Store(error)),
        }
    }

    fn unseal(entry: &Entry, seal_key: &SealKey, key_file: &Path) -> Result<Self, Error> {
        let kept: Kept = serde_json::from_slice(&entry.value).map_err(|error| Error::damaged(error.to_string()))?;
        let Kept { format, certificate, sealed_by, sealed_key } = kept;
        if format != FORMAT {
            return Err(Error::damaged(format!("it has format {format}, this release reads format {FORMAT}")));
        }
        if sealed_by != seal_key.check() {
            return Err(Error::WrongKey { path: key_file.to_owned() });
        }
        let document = seal_key.open(&sealed_key, &fingerprint(&certificate));
        let document = document.ok_or_else(|| Error::damaged("its key does not belong to its certificate"))?;
        let key = Key::from_pkcs8(&document).map_err(|error| Error::damaged(error.to_string()))?;
        Self::new(certificate, key)
    }

    fn new(der: Vec<u8>, key: Key) -> Result<Self, Error> {
        let issuer = rcgen::Issuer::from_ca_cert_der(&CertificateDer::from(der.as_slice()), key);
        let issuer = issuer.map_err(|error| Error::damaged(error.to_string()))?;
        Ok(Self { der, issuer })
    }

    /// The certificate, in DER.
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// What signs.
    pub(super) fn issuer(&self) -> &rcgen::Issuer<'static, Key> {
        &self.issuer
    }
}

fn generate(system: &ServiceName) -> Result<(Vec<u8>, Key), Error> {
    let key = Key::generate().map_err(|_| Error::Cryptography)?;
    let now = time::system();
    let mut params = CertificateParams::default();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + LIFE).into();
    params.serial_number = Some(leaf::new_serial()?);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, leaf::common_name(&format!("Bowline CA of {system}")));
    // It signs workloads' certificates, and no other authority's.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(|_| Error::Cryptography)?;
    Ok((certificate.der().to_vec(), key))
}

fn seal(der: &[u8], key: &Key, seal_key: &SealKey) -> Result<Vec<u8>, Error> {
    let document = key.to_pkcs8().map_err(|_| Error::Cryptography)?;
    let sealed_key = seal_key.seal(Zeroizing::new(document.as_ref().to_vec()), &fingerprint(der))?;
    let kept = Kept { format: FORMAT, certificate: der.to_vec(), sealed_by: seal_key.check().to_owned(), sealed_key };
    Ok(serde_json::to_vec(&kept).expect("bytes and texts are JSON"))
}
