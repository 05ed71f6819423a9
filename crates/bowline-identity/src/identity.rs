//! An identity: what a workload shows, and whom it believes.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bowline_model::{Secret, mesh::SpiffeId};
use bowline_runtime::{
    metric::Registry,
    task::{self, Guarded},
    time::{self, Instant},
};
use bowline_transport::{ClientTls, ServerTls, Until};
use tokio::sync::watch;
use tokio_rustls::rustls::{
    ClientConfig, ServerConfig, client::Resumption, server::NoServerSessionStorage, version::TLS13,
};

use crate::{
    Error, Issuer, JoinToken, Roots, Validity,
    current::Current,
    rest::Rest,
    roots::provider,
    rotate::Rotation,
    verify::{Client, Clock, Server, Shared},
};

/// How long before its certificates expire a client lets go of a connection, so that no server does so first: it
/// covers the second in which servers look, and clocks that differ a little.
const RETIREMENT: Duration = Duration::from_secs(5);

/// A workload's current certificate and key, and the roots it believes. Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    state: watch::Sender<State>,
}

/// Whether there is a certificate.
#[derive(Debug, Clone)]
enum State {
    Waiting,
    Ready,
    Refused(Error),
}

/// Whose identity it is, and how it is let in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose.
    pub id: SpiffeId,
    /// How it is let in.
    pub admission: Admission,
    /// Where its metrics go.
    pub metrics: Registry,
}

/// How a workload gets its first certificate.
#[derive(Debug, Clone)]
pub enum Admission {
    /// It runs in the issuer's process.
    InProcess,
    /// By a join token.
    Join {
        /// The token.
        token: Secret,
        /// Where key, certificate and roots are kept for the next start, in the file `identity`, sealed by
        /// a key that is derived from the token; none: in memory only.
        ///
        /// A start with the same token takes up what was kept while its certificate is valid, and needs
        /// no issuer for that.
        folder: Option<PathBuf>,
    },
}

impl Identity {
    /// Begins to obtain a certificate, and to renew it at about half of its life, until the guard is
    /// dropped; the identity stays what it then is.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the join token is none; [`Error::Kept`] when what was kept is sealed by
    /// another token, damaged or another workload's; [`Error::Io`] when the folder cannot be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(settings: Settings, issuer: Arc<dyn Issuer>) -> Result<(Self, Guarded<()>), Error> {
        let Settings { id, admission, metrics } = settings;
        let (token, rest) = match admission {
            Admission::InProcess => (None, None),
            Admission::Join { token, folder } => {
                let token = JoinToken::parse(&token)?;
                let rest = folder.map(|folder| Rest::open(&folder, &token)).transpose()?;
                (Some(token), rest)
            }
        };
        let identity = Self::new(Arc::new(Shared::new(id.clone(), &metrics)));
        let kept = rest.as_ref().map(|rest| rest.read(&id, time::system())).transpose()?.flatten();
        let rotation = Rotation::new(identity.clone(), issuer, token, rest, &metrics);
        if let Some(kept) = kept {
            rotation.take_up(kept);
        }
        Ok((identity, Guarded::new(task::spawn(rotation.run()))))
    }

    fn new(shared: Arc<Shared>) -> Self {
        let (client, server) = (client_config(&shared), server_config(&shared));
        Self(Arc::new(Inner { shared, client, server, state: watch::Sender::new(State::Waiting) }))
    }

    /// Whose it is.
    pub fn id(&self) -> &SpiffeId {
        &self.0.shared.id
    }

    /// How its workload calls: it shows what is current when a connection is made, and believes only
    /// certificates of the service that is called. A connection has no new request from 5 s before one of the
    /// two certificates expires.
    pub fn client_tls(&self) -> ClientTls {
        ClientTls { config: self.0.client.clone(), until: Some(until(&self.0.shared)) }
    }

    /// How its workload takes connections: it shows what is current when a connection is made, and
    /// believes only certificates of its own system. A connection ends with the request that it has when the
    /// client's certificate expires.
    pub fn server_tls(&self, takes_plain: bool) -> ServerTls {
        // A client lets go of a connection earlier by itself.
        let until: Until = Arc::new(|shown| instant(Validity::of(shown).ok()?.not_after));
        ServerTls { config: self.0.server.clone(), takes_plain, until: Some(until) }
    }

    /// Waits for the first certificate.
    ///
    /// # Errors
    /// Why there will be none: the issuer refuses the join token.
    ///
    /// # Cancel safety
    /// It only waits.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut state = self.0.state.subscribe();
        match state.wait_for(|state| !matches!(state, State::Waiting)).await.as_deref() {
            Ok(State::Refused(error)) => Err(error.clone()),
            // The sender lives as long as we do.
            Ok(State::Ready | State::Waiting) | Err(_) => Ok(()),
        }
    }

    /// When the current certificate expires; none while there is none.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.current().map(|current| current.validity.not_after)
    }

    /// The current certificate, and what is between it and the root, in DER; none while there is none.
    pub fn chain(&self) -> Option<Vec<Vec<u8>>> {
        self.current().map(|current| current.chain.clone())
    }

    /// The roots it believes; none while it has no certificate.
    pub fn roots(&self) -> Option<Roots> {
        self.current().map(|current| current.roots.clone())
    }

    pub(crate) fn current(&self) -> Option<Arc<Current>> {
        self.0.shared.current.load_full()
    }

    pub(crate) fn set(&self, current: Current) {
        self.0.shared.current.store(Some(Arc::new(current)));
        self.0.state.send_replace(State::Ready);
    }

    /// Tells whoever waits that there will be no certificate.
    pub(crate) fn refuse(&self, error: Error) {
        self.0.state.send_if_modified(|state| {
            let is_waiting = matches!(state, State::Waiting);
            if is_waiting {
                *state = State::Refused(error);
            }
            is_waiting
        });
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id().to_string();
        f.debug_struct("Identity").field("id", &id).field("expires_at", &self.expires_at()).finish_non_exhaustive()
    }
}

/// Until when a client uses a connection: what we show and what the server showed are current then.
///
/// We show what is current as a connection is made. Where that is replaced just meanwhile, the server is the one who
/// ends the connection.
fn until(shared: &Arc<Shared>) -> Until {
    let shared = shared.clone();
    Arc::new(move |shown| {
        let theirs = Validity::of(shown).ok()?.not_after;
        let ours = shared.current.load().as_ref().map(|current| current.validity.not_after);
        instant(ours.map_or(theirs, |ours| ours.min(theirs)) - RETIREMENT)
    })
}

/// When that is, by the clock that does not jump; none: too far away to be told.
fn instant(at: SystemTime) -> Option<Instant> {
    time::now().checked_add(at.duration_since(time::system()).unwrap_or_default())
}

fn client_config(shared: &Arc<Shared>) -> Arc<ClientConfig> {
    let versions = ClientConfig::builder_with_details(provider(), Arc::new(Clock)).with_protocol_versions(&[&TLS13]);
    let client = Arc::new(Client(shared.clone()));
    let mut config = versions
        .expect("our cryptography speaks TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(client.clone())
        .with_client_cert_resolver(client);
    // Every connection proves both sides anew: by the certificates of that time.
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Arc::new(config)
}

fn server_config(shared: &Arc<Shared>) -> Arc<ServerConfig> {
    let versions = ServerConfig::builder_with_details(provider(), Arc::new(Clock)).with_protocol_versions(&[&TLS13]);
    let server = Arc::new(Server(shared.clone()));
    let mut config = versions
        .expect("our cryptography speaks TLS 1.3")
        .with_client_cert_verifier(server.clone())
        .with_cert_resolver(server);
    // No tickets: an idle connection that becomes readable is one that ends.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Arc::new(config)
}
