//! An identity at rest: key, certificate and roots in a file, sealed by the join token.
//!
//! The file begins with a line of text, `bowline-identity 1 CHECK`, by which a wrong token is told from
//! damage; behind it are a nonce of 12 bytes and the sealed JSON, which is bound to that line. Key of
//! the seal and check are derived from the token by HKDF-SHA256.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, KeyType, Prk, Salt},
};
use bowline_model::mesh::SpiffeId;
use bowline_runtime::{fs, task};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{Error, Issued, JoinToken, Key, Validity, current::Current, token::hex};

/// The file's name.
const FILE: &str = "identity";
/// What it begins with: the format and its version.
const FORMAT: &str = "bowline-identity 1";
/// More is not read.
const BYTES_MAX: usize = 256 << 10;

/// Where an identity is kept.
#[derive(Clone)]
pub(crate) struct Rest {
    path: PathBuf,
    seal: Arc<LessSafeKey>,
    /// The first line of the file.
    head: String,
}

/// What is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    id: String,
    key: Zeroizing<Vec<u8>>,
    chain: Vec<Vec<u8>>,
    roots: Vec<Vec<u8>>,
}

impl Rest {
    /// The file of a folder, which is made.
    pub(crate) fn open(folder: &Path, token: &JoinToken) -> Result<Self, Error> {
        let path = folder.join(FILE);
        fs::create_private_dir_all(folder)
            .map_err(|source| Error::Io { path: folder.to_owned(), source: Arc::new(source) })?;
        let secret = Salt::new(HKDF_SHA256, FORMAT.as_bytes()).extract(token.text().expose().as_bytes());
        let key = Zeroizing::new(derive::<32>(&secret, b"seal")?);
        let seal = UnboundKey::new(&AES_256_GCM, key.as_ref()).map_err(|_| Error::Cryptography)?;
        let head = format!("{FORMAT} {}\n", hex(&derive::<8>(&secret, b"check")?));
        Ok(Self { path, seal: Arc::new(LessSafeKey::new(seal)), head })
    }

    /// What was kept, if its certificate still counts.
    pub(crate) fn read(&self, id: &SpiffeId, now: SystemTime) -> Result<Option<Current>, Error> {
        let content = match self.content() {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            content => content?,
        };
        let Kept { id: named, key, chain, roots } = self.unseal(&content)?;
        if named != id.to_string() {
            return Err(self
                .unusable(format!("it is that of `{named}`, not of `{id}`: give each workload a folder of its own")));
        }
        let leaf = chain.first().ok_or_else(|| self.damaged())?;
        if Validity::of(leaf)?.left(now).is_zero() {
            tracing::warn!(%id, "certificate that was kept has expired: the join token has to be good once more");
            return Ok(None);
        }
        let key = Key::from_pkcs8(&key)?;
        Current::new(id, key, Issued { chain, roots }, now).map(Some).map_err(|error| self.unusable(error.to_string()))
    }

    /// Replaces what is kept.
    pub(crate) async fn write(&self, current: &Current) -> Result<(), Error> {
        let (path, content) = (self.path.clone(), self.seal(current)?);
        let written = task::spawn_blocking(move || fs::replace_private(&path, &content)).await;
        let written = written.unwrap_or_else(|_| Err(io::Error::other("it was not written to its end")));
        written.map_err(|source| self.io(source))
    }

    fn content(&self) -> Result<Vec<u8>, Error> {
        let metadata = fs::symlink_metadata(&self.path).map_err(|source| self.io(source))?;
        if !metadata.is_file() || metadata.len() > BYTES_MAX as u64 {
            return Err(self.damaged());
        }
        fs::read(&self.path).map_err(|source| self.io(source))
    }

    fn seal(&self, current: &Current) -> Result<Vec<u8>, Error> {
        let key = Zeroizing::new(current.key.to_pkcs8()?.as_ref().to_vec());
        let id = crate::peer_id(&current.chain[0])?.to_string();
        let kept = Kept { id, key, chain: current.chain.clone(), roots: current.roots.ders().to_vec() };
        let mut body = Zeroizing::new(Vec::with_capacity(BYTES_MAX));
        serde_json::to_writer(&mut *body, &kept).map_err(|_| Error::Cryptography)?;
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| Error::Cryptography)?;
        let bound = Aad::from(self.head.as_bytes());
        let sealed = self.seal.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound, &mut *body);
        sealed.map_err(|_| Error::Cryptography)?;
        Ok([self.head.as_bytes(), &nonce, &body].concat())
    }

    fn unseal(&self, content: &[u8]) -> Result<Kept, Error> {
        let line = content.iter().position(|byte| *byte == b'\n').ok_or_else(|| self.damaged())?;
        let (head, sealed) = content.split_at(line + 1);
        let head = std::str::from_utf8(head).map_err(|_| self.damaged())?;
        if !head.starts_with(FORMAT) {
            let rule = "it is of a format that this release does not know";
            return Err(if head.starts_with("bowline-identity ") { self.unusable(rule) } else { self.damaged() });
        }
        if head != self.head {
            let rule = "it was sealed by another join token: start with that one, or delete the file to join anew";
            return Err(self.unusable(rule));
        }
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or_else(|| self.damaged())?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| self.damaged())?;
        let mut body = Zeroizing::new(sealed.to_vec());
        let opened = self.seal.open_in_place(nonce, Aad::from(self.head.as_bytes()), &mut body);
        serde_json::from_slice(opened.map_err(|_| self.damaged())?).map_err(|_| self.damaged())
    }

    fn unusable(&self, rule: impl Into<String>) -> Error {
        Error::Kept { path: self.path.clone(), rule: rule.into() }
    }

    fn damaged(&self) -> Error {
        self.unusable("it is damaged: delete it, and start with a new join token")
    }

    fn io(&self, source: io::Error) -> Error {
        Error::Io { path: self.path.clone(), source: Arc::new(source) }
    }
}

/// Bytes derived from a secret for one purpose.
fn derive<const N: usize>(secret: &Prk, purpose: &[u8]) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    let info = [purpose];
    let derived = secret.expand(&info, Length(N)).map_err(|_| Error::Cryptography)?;
    derived.fill(&mut bytes).map_err(|_| Error::Cryptography)?;
    Ok(bytes)
}

/// So many bytes.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}
