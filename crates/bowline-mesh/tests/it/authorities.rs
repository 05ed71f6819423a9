//! An authority over a store of its own, and handshakes between identities.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_identity::{Admission, Error as IdentityError, Identity, Issued, Issuer, Key, Proof, Request, Settings};
use bowline_mesh::ca::{self, Authority};
use bowline_model::{
    Secret, ServiceName,
    mesh::{SpiffeId, Workload},
};
use bowline_runtime::{BoxFuture, metric::Registry, task::Guarded};
use bowline_store::{Embedded, Store};
use bowline_testkit::TempDir;
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::pki_types::{CertificateDer, ServerName},
};

/// A store, the folder of its key, and the authority over both.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) store: Arc<Embedded>,
    pub(crate) authority: Arc<Authority>,
}

pub(crate) const HOUR: Duration = Duration::from_hours(1);
pub(crate) const MINUTE: Duration = Duration::from_mins(1);

pub(crate) fn workload(text: &str) -> Workload {
    text.parse().unwrap()
}

pub(crate) fn id(text: &str) -> SpiffeId {
    format!("spiffe://shop/{text}").parse().unwrap()
}

pub(crate) async fn open_store(dir: &TempDir) -> Embedded {
    let settings = bowline_store::Settings::new(dir.path().join("store.redb"));
    Embedded::open(settings, &Registry::default()).await.unwrap()
}

pub(crate) fn ca_settings(key_file: PathBuf, ttl: Duration) -> ca::Settings {
    let services = ["order", "payment", "user"].map(|name| ServiceName::new(name).unwrap()).into();
    ca::Settings { system: ServiceName::new("shop").unwrap(), services, certificate_ttl: ttl, key_file }
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::start_with(HOUR).await
    }

    pub(crate) async fn start_with(ttl: Duration) -> Self {
        let dir = bowline_testkit::temp_dir();
        let store = Arc::new(open_store(&dir).await);
        let authority = Self::open(&store, dir.path().join("ca.key"), ttl).await.unwrap();
        Self { dir, store, authority }
    }

    pub(crate) async fn open(
        store: &Arc<Embedded>,
        key_file: PathBuf,
        ttl: Duration,
    ) -> Result<Arc<Authority>, ca::Error> {
        let store: Arc<dyn Store> = store.clone();
        Authority::open(store, ca_settings(key_file, ttl)).await.map(Arc::new)
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.dir.path().join("ca.key")
    }

    /// An identity of this process, with its certificate.
    pub(crate) async fn identity(&self, of: &str) -> (Identity, Guarded<()>) {
        start(of, Admission::InProcess, self.authority.issuer()).await
    }

    pub(crate) async fn join_token(&self, of: &str) -> Secret {
        self.authority.new_join(&workload(of), ca::JOIN_TTL).await.unwrap()
    }

    /// A certificate by a join token, and its key.
    pub(crate) async fn joined(&self, of: &str) -> (Key, Issued) {
        let key = Key::generate().unwrap();
        let proof = Proof::Join(self.join_token(of).await);
        let issued = self.authority.issue(request(of, &key, proof)).await.unwrap();
        (key, issued)
    }
}

pub(crate) fn request(of: &str, key: &Key, proof: Proof) -> Request {
    Request { workload: workload(of), csr: key.csr().unwrap(), proof }
}

pub(crate) fn settings(of: &str, admission: Admission) -> Settings {
    Settings { id: id(of), admission, metrics: Registry::default() }
}

pub(crate) async fn start(of: &str, admission: Admission, issuer: Arc<dyn Issuer>) -> (Identity, Guarded<()>) {
    let (identity, guard) = Identity::start(settings(of, admission), issuer).unwrap();
    identity.ready().await.unwrap();
    (identity, guard)
}

/// What both sides of a handshake end with: the certificate of the other, or what is wrong.
pub(crate) struct Shaken {
    pub(crate) client: Result<Vec<u8>, String>,
    pub(crate) server: Result<Vec<u8>, String>,
}

/// A handshake over a pipe: the client asks for that service.
pub(crate) async fn shake(client: &Identity, server: &Identity, asked: &str) -> Shaken {
    let (near, far) = tokio::io::duplex(1 << 16);
    let connector = TlsConnector::from(client.client_tls().config);
    let acceptor = TlsAcceptor::from(server.server_tls(false).config);
    let name = ServerName::try_from(asked.to_owned()).unwrap();
    let client_side = async {
        // A server that refuses says so after the client's handshake.
        let mut stream = connector.connect(name, near).await.map_err(|error| error.to_string())?;
        let peer = leaf(stream.get_ref().1.peer_certificates());
        tokio::io::AsyncReadExt::read(&mut stream, &mut [0]).await.map_err(|error| error.to_string())?;
        Ok(peer)
    };
    let server_side = async {
        let mut stream = acceptor.accept(far).await.map_err(|error| error.to_string())?;
        let peer = leaf(stream.get_ref().1.peer_certificates());
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await.map_err(|error| error.to_string())?;
        Ok(peer)
    };
    let (client, server) = tokio::join!(client_side, server_side);
    Shaken { client, server }
}

fn leaf(certificates: Option<&[CertificateDer<'_>]>) -> Vec<u8> {
    certificates.unwrap()[0].to_vec()
}

/// An issuer that fails or lies as told, and otherwise asks another one.
pub(crate) struct Told {
    inner: Arc<dyn Issuer>,
    pub(crate) failure: Mutex<Option<IdentityError>>,
    /// The proofs that were shown.
    pub(crate) proofs: Mutex<Vec<&'static str>>,
    /// Whether answers are lost after they were made.
    pub(crate) loses_answers: std::sync::atomic::AtomicBool,
}

impl Told {
    pub(crate) fn new(inner: Arc<dyn Issuer>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            failure: Mutex::default(),
            proofs: Mutex::default(),
            loses_answers: std::sync::atomic::AtomicBool::default(),
        })
    }

    /// One that lets everybody in, as a stranger would who wants to be believed.
    pub(crate) fn lying(inner: Arc<dyn Issuer>) -> Arc<dyn Issuer> {
        Arc::new(Lying(inner))
    }

    pub(crate) fn fail(&self, failure: Option<IdentityError>) {
        *self.failure.lock().unwrap() = failure;
    }

    pub(crate) fn asked(&self) -> usize {
        self.proofs.lock().unwrap().len()
    }
}

impl Issuer for Told {
    fn issue(&self, request: Request) -> BoxFuture<'_, Result<Issued, IdentityError>> {
        let proof = match request.proof {
            Proof::Join(_) => "join",
            Proof::Renewal { .. } => "renewal",
            Proof::InProcess => "in_process",
        };
        self.proofs.lock().unwrap().push(proof);
        let failure = self.failure.lock().unwrap().clone();
        Box::pin(async move {
            if let Some(failure) = failure {
                return Err(failure);
            }
            let issued = self.inner.issue(request).await;
            if self.loses_answers.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(unavailable());
            }
            issued
        })
    }
}

/// Asks for no proof.
struct Lying(Arc<dyn Issuer>);

impl Issuer for Lying {
    fn issue(&self, request: Request) -> BoxFuture<'_, Result<Issued, IdentityError>> {
        self.0.issue(Request { proof: Proof::InProcess, ..request })
    }
}

pub(crate) fn unavailable() -> IdentityError {
    IdentityError::Unavailable(Arc::new(std::io::Error::other("the server is away")))
}

/// Asks an authority as whoever is elsewhere does.
pub(crate) struct Elsewhere(pub(crate) Arc<Authority>);

impl Issuer for Elsewhere {
    fn issue(&self, request: Request) -> BoxFuture<'_, Result<Issued, IdentityError>> {
        Box::pin(async move {
            self.0.issue(request).await.map_err(|error| match error {
                ca::Error::Refused { code, detail } => IdentityError::Refused { code, detail },
                error => IdentityError::Unavailable(Arc::new(error)),
            })
        })
    }
}
