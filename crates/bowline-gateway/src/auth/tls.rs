//! TLS to whoever publishes keys: the system's roots, one provider of cryptography.

use std::{io, sync::Arc};

use bowline_runtime::task;
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs},
};

/// A connector that trusts the system's roots (or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name).
///
/// # Cancel safety
/// Nothing is left behind.
pub(super) async fn system_connector() -> io::Result<TlsConnector> {
    let loaded = task::spawn_blocking(rustls_native_certs::load_native_certs).await.map_err(io::Error::other)?;
    let mut roots = RootCertStore::empty();
    let (added, _unusable) = roots.add_parsable_certificates(loaded.certs);
    if added == 0 {
        let detail = loaded.errors.into_iter().next().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(io::Error::other(format!("the system has no certificates to trust{detail}")));
    }
    connector(roots)
}

/// A connector that trusts these roots.
pub(super) fn connector(roots: RootCertStore) -> io::Result<TlsConnector> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth())))
}
