//! An authority, and the configurations of the workloads that it certifies.

use std::sync::Arc;

use bowline_model::mesh::SpiffeId;
use bowline_transport::{ClientTls, ServerTls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
    version::TLS13,
};

/// Who certifies.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The certificate of a workload, which is a server by that name too.
    fn leaf(&self, id: &str, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI(id.try_into().unwrap()));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().der().clone();
        (vec![certificate], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Arc::new(roots)
    }

    /// How that workload connects.
    pub(crate) fn client(&self, id: &str) -> ClientTls {
        let (chain, key) = self.leaf(id, "client");
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]).unwrap();
        let builder = builder.with_root_certificates(self.roots());
        ClientTls { config: Arc::new(builder.with_client_auth_cert(chain, key).unwrap()), until: None }
    }

    /// How that service is connected to.
    pub(crate) fn server(&self, service: &str, takes_plain: bool) -> ServerTls {
        let (chain, key) = self.leaf(&format!("spiffe://shop/service/{service}"), service);
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider()).build().unwrap();
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]).unwrap();
        let mut config = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap();
        config.send_tls13_tickets = 0;
        ServerTls { config: Arc::new(config), takes_plain, until: None }
    }
}

/// Finds the id in a certificate, as far as these have one.
pub(crate) fn peer_id(certificate: &[u8]) -> Option<SpiffeId> {
    let start = certificate.windows(9).position(|window| window == b"spiffe://")?;
    let is_of_id = |byte: &&u8| byte.is_ascii_lowercase() || b":/-".contains(byte);
    let id = certificate[start..].iter().take_while(is_of_id).copied().collect();
    String::from_utf8(id).ok()?.parse().ok()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
