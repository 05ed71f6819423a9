//! What an identity is at this moment: key, certificate and roots, checked to fit together.

use std::{sync::Arc, time::SystemTime};

use bowline_model::mesh::SpiffeId;
use tokio_rustls::rustls::{pki_types::CertificateDer, sign::CertifiedKey};

use crate::{Error, Issued, Key, Roots, Validity, certificate, peer_id};

/// Key, certificate and roots.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) key: Key,
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) roots: Roots,
    pub(crate) validity: Validity,
    /// Key and chain, as TLS shows them.
    pub(crate) certified: Arc<CertifiedKey>,
}

impl Current {
    /// What was issued for a key: it has to be for us, for this key, and of a root that came with it.
    pub(crate) fn new(id: &SpiffeId, key: Key, issued: Issued, now: SystemTime) -> Result<Self, Error> {
        let Issued { chain, roots } = issued;
        let roots = Roots::new(roots)?;
        let leaf = chain.first().ok_or_else(|| Error::certificate("there is none"))?;
        let validity = Validity::of(leaf)?;
        // Where our clock is behind the issuer's, it counts soon, and for others already.
        roots.verify(&chain, now.max(validity.not_before))?;
        let named = peer_id(leaf)?;
        if named != *id {
            return Err(Error::certificate(format!("it is for `{named}`, not for `{id}`")));
        }
        if certificate::read(leaf)?.public_key().raw != key.public_der()? {
            return Err(Error::certificate("it is for another key"));
        }
        let ders = chain.iter().cloned().map(CertificateDer::from).collect();
        let certified = Arc::new(CertifiedKey::new(ders, key.for_tls()?));
        Ok(Self { key, chain, roots, validity, certified })
    }
}
