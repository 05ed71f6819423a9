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
        roots.verify(&chain, now)?;
        let leaf = &chain[0];
        let named = peer_id(leaf)?;
        if named != *id {
            return Err(Error::certificate(format!("it is for `{named}`, not for `{id}`")));
        }
        if certificate::read(leaf)?.public_key().raw != key.public_der()? {
            return Err(Error::certificate("it is for another key"));
        }
        let validity = Validity::of(leaf)?;
        let ders = chain.iter().cloned().map(CertificateDer::from).collect();
        let certified = Arc::new(CertifiedKey::new(ders, key.for_tls()?));
        Ok(Self { key, chain, roots, validity, certified })
    }
}
