//! The credential that a question is asked with: a token that was given, or this machine's root token.
//!
//! The running Bowline is asked for its data folder, where its root token is. Anybody can take its port
//! once it is gone, name any folder, and wait for a token to come: so the token is sent only to who
//! proves to know it already.

use std::{io::Write as _, net::SocketAddr, path::Path};

use anyhow::Context as _;
use bowline_model::{Secret, error::chain};
use bowline_provider_remote::{Client, wire::ServerInfo};
use bowline_server::{RootTokenError, read_root_token, secret};

use crate::{args, style};

/// The token to ask with; none where there is none, which is enough for much on loopback.
pub(crate) async fn find(query: &args::Query) -> anyhow::Result<Option<Secret>> {
    if let Some(token) = query.token.as_ref().filter(|token| !token.expose().is_empty()) {
        return Ok(Some(token.clone()));
    }
    let addr = query.api.0;
    if !addr.ip().to_canonical().is_loopback() {
        return Ok(None);
    }
    let nonce = secret::new_nonce().context("cannot ask for a proof")?;
    // What is wrong there, the question itself will tell.
    let Ok(told) = Client::new(addr).proven_server(&nonce).await else { return Ok(None) };
    match root_token(&told, &nonce, addr) {
        Ok(found) => Ok(found),
        Err(note) => {
            let _closed = writeln!(std::io::stderr(), "note: {}", style::plain(&note));
            Ok(None)
        }
    }
}

/// The root token of whoever told that about itself, if there is one for us; an error says why what is
/// there is not used.
fn root_token(told: &ServerInfo, nonce: &str, addr: SocketAddr) -> Result<Option<Secret>, String> {
    let (Some(data_dir), Some(proof)) = (&told.data_dir, &told.proof) else { return Ok(None) };
    let data_dir = Path::new(data_dir);
    if !data_dir.is_absolute() {
        return Ok(None);
    }
    match read_root_token(data_dir) {
        Ok(token) if secret::is_proof(&secret::hash(token.expose()), nonce, addr, proof) => Ok(Some(token)),
        Ok(_) => Err(format!(
            "whoever answers at {addr} does not know the root token in {}: it is asked without a token",
            data_dir.display()
        )),
        // Another user's Bowline, or one that is not for us.
        Err(RootTokenError::Missing { .. }) => Ok(None),
        Err(RootTokenError::Io { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(format!("{}; it is asked without a token", chain(&error))),
    }
}
