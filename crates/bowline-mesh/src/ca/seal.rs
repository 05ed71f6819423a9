//! The key that the authority's own is sealed by: 256 bits in a file for its owner alone.

use std::{
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
};
use bowline_runtime::{
    fs,
    time::{Duration, sleep},
};
use zeroize::Zeroizing;

use super::Error;

/// The file's name in a data folder.
pub const FILE: &str = "ca.key";

/// Bytes of the key.
const BYTES: usize = 32;
/// What others than the owner may do with a file.
const OTHERS: u32 = 0o077;
/// How often it is looked whether another process has written its file to the end.
const LOOKS_MAX: usize = 40;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What the check of a key is over.
const CHECK: &[u8] = b"bowline certificate authority, key check";

/// A key that seals.
pub(super) struct SealKey {
    key: LessSafeKey,
    check: String,
}

impl SealKey {
    /// The key in a file; none where there is no file.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Error> {
        let io_error = |source| Error::KeyFileIo { path: path.to_owned(), source };
        let unusable = |rule| Error::KeyFile { path: path.to_owned(), rule };
        let metadata = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata.map_err(io_error)?,
        };
        if !metadata.is_file() {
            return Err(unusable("it is no regular file"));
        }
        if metadata.mode() & OTHERS != 0 {
            return Err(unusable("others may read it: take that from them (chmod 600)"));
        }
        let text = Zeroizing::new(fs::read_to_string(path).map_err(io_error)?);
        let bytes = unhex(text.trim_end()).ok_or_else(|| unusable("it does not hold 64 hexadecimal digits"))?;
        Self::new(&bytes).map(Some)
    }

    /// Makes the file, or takes the one that somebody else makes at this moment.
    pub(super) async fn make(path: &Path) -> Result<Self, Error> {
        let io_error = |source| Error::KeyFileIo { path: path.to_owned(), source };
        let mut bytes = Zeroizing::new([0; BYTES]);
        aws_lc_rs::rand::fill(&mut *bytes).map_err(|_| Error::Cryptography)?;
        let text = Zeroizing::new(format!("{}\n", super::record::hex(&*bytes)));
        match fs::private_options().write(true).create_new(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Self::wait(path).await,
            file => {
                let mut file = file.map_err(io_error)?;
                file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io_error)?;
            }
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::sync_dir(folder).map_err(io_error)?;
        Self::new(&bytes)
    }

    /// Waits until the file is written.
    async fn wait(path: &Path) -> Result<Self, Error> {
        for _ in 0..LOOKS_MAX {
            if let Ok(Some(key)) = Self::read(path) {
                return Ok(key);
            }
            sleep(LOOK_EVERY).await;
        }
        Self::read(path)?.ok_or_else(|| Error::NoKey { path: path.to_owned() })
    }

    fn new(bytes: &[u8; BYTES]) -> Result<Self, Error> {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes), CHECK);
        let check = super::record::hex(&tag.as_ref()[..8]);
        let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| Error::Cryptography)?;
        Ok(Self { key: LessSafeKey::new(key), check })
    }

    /// By what the key is recognised, which says nothing about it.
    pub(super) fn check(&self) -> &str {
        &self.check
    }

    /// Seals bytes, bound to a name: nonce and sealed bytes.
    pub(super) fn seal(&self, mut bytes: Zeroizing<Vec<u8>>, name: &str) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| Error::Cryptography)?;
        // What grows is moved, and what it leaves behind is not wiped.
        bytes.reserve_exact(AES_256_GCM.tag_len());
        let bound = Aad::from(name.as_bytes());
        let sealed = self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound, &mut *bytes);
        sealed.map_err(|_| Error::Cryptography)?;
        Ok([nonce.as_slice(), &bytes].concat())
    }

    /// Opens what was sealed under that name; none if it was not.
    pub(super) fn open(&self, sealed: &[u8], name: &str) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let length = self.key.open_in_place(nonce, Aad::from(name.as_bytes()), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

fn unhex(text: &str) -> Option<Zeroizing<[u8; BYTES]>> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    if text.len() != 2 * BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}
