//! The certificate authority of a system: says who is who, for a short while.
//!
//! Its root is made once and lives in the store, its private key sealed by a key that is in a file of its
//! own ([`ca.key`](KEY_FILE)): neither store nor file alone can sign. Whoever asks for a certificate shows
//! by a join token or by its present certificate who it is; of the request nothing counts but the public
//! key. What was issued is recorded until it expires.
//!
//! Keys of the store: `mesh/ca`, `mesh/joins/WORKLOAD/HASH`, `mesh/certificates/WORKLOAD/EXPIRY-SERIAL`.

mod error;
mod joins;
mod leaf;
mod record;
mod root;
mod seal;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bowline_identity::{Error as IdentityError, Issued, Issuer, Proof, Request, Roots, peer_id, verify_renewal};
use bowline_model::{
    Code, Secret, ServiceName,
    mesh::{CERTIFICATE_TTL_RANGE, SpiffeId, Workload},
};
use bowline_runtime::{BoxFuture, time};
use bowline_store::{Error as StoreError, Store, Txn};

use self::{leaf::Leaf, record::Certificates, root::Root};

pub use error::Error;
pub use joins::{JOIN_TTL, JOIN_TTL_RANGE, JOINS_MAX};
pub use record::{CERTIFICATES_MAX, Certificate};
pub use seal::FILE as KEY_FILE;

/// How far the clock of who renews may be off.
pub const RENEWAL_SKEW_MAX: Duration = Duration::from_mins(1);
/// How often a record that changed meanwhile is looked at anew.
const ATTEMPTS_MAX: usize = 8;

/// What an authority is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose it is: the trust domain.
    pub system: ServiceName,
    /// The services that it has: nobody is let in as another, and whoever was is not any longer.
    pub services: BTreeSet<ServiceName>,
    /// How long its certificates live; what is beyond [`CERTIFICATE_TTL_RANGE`] is cut to it.
    pub certificate_ttl: Duration,
    /// The file that holds the key that its own is sealed by; made where there is neither file nor root.
    pub key_file: PathBuf,
}

/// The certificate authority of a system.
pub struct Authority {
    store: Arc<dyn Store>,
    system: ServiceName,
    services: BTreeSet<ServiceName>,
    ttl: Duration,
    root: Root,
    /// What its own certificates are verified by.
    roots: Roots,
    /// So that two who make a join token at once do not exceed the bound.
    creating: tokio::sync::Mutex<()>,
}

impl Authority {
    /// Opens the authority of a store; makes one where there is none.
    ///
    /// Two that do so at once agree: one's root is taken, by both.
    ///
    /// # Errors
    /// [`Error::NoKey`] when the store has a root but the file of the key is gone, [`Error::WrongKey`] when
    /// it is another one, [`Error::KeyFile`] when it cannot be used, [`Error::Damaged`], [`Error::Store`].
    ///
    /// # Cancel safety
    /// A root that was made stays, and is taken next time.
    pub async fn open(store: Arc<dyn Store>, settings: Settings) -> Result<Self, Error> {
        let Settings { system, services, certificate_ttl, key_file } = settings;
        let root = Root::open(&*store, &system, &key_file).await?;
        let roots = Roots::new(vec![root.der().to_vec()]).map_err(|error| Error::damaged(error.to_string()))?;
        let (min, max) = CERTIFICATE_TTL_RANGE;
        let ttl = certificate_ttl.clamp(min, max);
        let creating = tokio::sync::Mutex::default();
        Ok(Self { store, system, services, ttl, root, roots, creating })
    }

    /// Whose it is.
    pub fn system(&self) -> &ServiceName {
        &self.system
    }

    /// The roots to believe, in DER.
    pub fn roots(&self) -> Vec<Vec<u8>> {
        self.roots.ders().to_vec()
    }

    /// For workloads of this process, which need no proof.
    pub fn issuer(self: &Arc<Self>) -> Arc<dyn Issuer> {
        Arc::new(InProcess(Arc::clone(self)))
    }

    /// A token that lets one workload in once, within `ttl` ([`JOIN_TTL_RANGE`]).
    ///
    /// # Errors
    /// [`Error::Refused`] when the lifetime is out of its range, for the platform itself, for a service that the
    /// system does not have, and when there are [`JOINS_MAX`] that were not used; [`Error::Store`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether a token is kept, which nobody knows then.
    pub async fn new_join(&self, workload: &Workload, ttl: Duration) -> Result<Secret, Error> {
        self.check_known(workload, Code::Unprocessable)?;
        let _one_at_a_time = self.creating.lock().await;
        joins::create(&*self.store, workload, ttl, self.root.der(), time::unix_millis_now()).await
    }

    /// Issues a certificate to whoever proves who it is.
    ///
    /// # Errors
    /// [`Error::Refused`] with what is wrong with request or proof; [`Error::Store`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether a certificate was made and the join token used up; the same
    /// token is good for the same key while it lives.
    pub async fn issue(&self, request: Request) -> Result<Issued, Error> {
        let Request { workload, csr, proof } = request;
        let now = time::system();
        match proof {
            Proof::Join(token) => self.join(&workload, &csr, &token, now).await,
            Proof::Renewal { chain, signature, at_unix_ms } => {
                self.check_renewal(&workload, &csr, &Renewal { chain: &chain, signature, at_unix_ms }, now)?;
                let replaced = chain.first().and_then(|leaf| record::key_of(&workload, leaf));
                self.sign(&workload, &csr, None, now, replaced, Txn::default()).await
            }
            Proof::InProcess => Err(Error::refused(Code::PermissionDenied, "a certificate takes a proof of who asks")),
        }
    }

    /// The certificates that are good now, by workload, soonest expiry first.
    ///
    /// # Errors
    /// [`Error::Store`].
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn certificates(&self) -> Result<BTreeMap<Workload, Vec<Certificate>>, Error> {
        record::all(&*self.store, time::unix_millis_now()).await.map_err(Error::Store)
    }

    /// Whether there is that workload in the system: a service that was taken out of it is renewed no more.
    fn check_known(&self, workload: &Workload, code: Code) -> Result<(), Error> {
        match workload.service() {
            Some(service) if !self.services.contains(service) => {
                let system = &self.system;
                let detail = format!(
                    "workload: {system} has no service `{service}`: declare [service.{service}] in its bowline.toml, and start it anew"
                );
                Err(Error::refused(code, detail))
            }
            _ => Ok(()),
        }
    }

    async fn join(&self, workload: &Workload, csr: &[u8], token: &Secret, now: SystemTime) -> Result<Issued, Error> {
        let public = leaf::public_key(csr)?;
        for _ in 0..ATTEMPTS_MAX {
            let used = joins::take(&*self.store, workload, token, &public, time::unix_millis_now()).await?;
            match self.sign(workload, csr, Some(used.id), now, None, used.txn).await {
                // Somebody else used it meanwhile: what it says then decides.
                Err(Error::Store(StoreError::Conflict { .. })) => {}
                issued => return issued,
            }
        }
        Err(Error::refused(Code::Unavailable, "the join token is being used by others: try again"))
    }

    /// Whether who asks holds a certificate of ours for that workload, and signed this very request.
    fn check_renewal(
        &self,
        workload: &Workload,
        csr: &[u8],
        renewal: &Renewal<'_>,
        now: SystemTime,
    ) -> Result<(), Error> {
        let refuse = |detail: String| Err(Error::refused(Code::Unauthenticated, detail));
        let Renewal { chain, signature, at_unix_ms } = renewal;
        if let Err(error) = self.roots.verify(chain, now) {
            return refuse(error.to_string());
        }
        let Some(leaf) = chain.first() else { return refuse("there is no certificate".to_owned()) };
        let holder = peer_id(leaf).map_err(|error| Error::refused(Code::Unauthenticated, error.to_string()))?;
        let asked = SpiffeId::new(self.system.clone(), workload.clone());
        if holder != asked {
            return refuse(format!("the certificate is of `{holder}`, which cannot renew that of `{asked}`"));
        }
        let now_unix_ms = time::unix_nanos(now) / 1_000_000;
        let off = Duration::from_millis(now_unix_ms.abs_diff(*at_unix_ms));
        if off > RENEWAL_SKEW_MAX {
            return refuse(format!(
                "the renewal was signed {} s from now: set the clocks right, at most 60 s are allowed",
                off.as_secs()
            ));
        }
        verify_renewal(leaf, csr, *at_unix_ms, signature).or_else(|error| refuse(error.to_string()))
    }

    /// Signs a certificate, and records it.
    async fn sign(
        &self,
        workload: &Workload,
        csr: &[u8],
        join: Option<String>,
        now: SystemTime,
        replaced: Option<String>,
        txn: Txn,
    ) -> Result<Issued, Error> {
        // Not before the proof: who has none is not told which services there are.
        self.check_known(workload, Code::PermissionDenied)?;
        let id = SpiffeId::new(self.system.clone(), workload.clone());
        let leaf = Leaf::sign(&self.root, &id, csr, now, self.ttl)?;
        let certificates = Certificates { workload, store: &*self.store, now };
        let txn = certificates.record(txn, &leaf, join, replaced).await.map_err(Error::Store)?;
        self.store.commit(txn).await.map_err(Error::Store)?;
        Ok(Issued { chain: vec![leaf.der], roots: self.roots() })
    }
}

/// A renewal's proof.
struct Renewal<'a> {
    chain: &'a [Vec<u8>],
    signature: Vec<u8>,
    at_unix_ms: u64,
}

/// Issues to whoever is in this process.
struct InProcess(Arc<Authority>);

impl Issuer for InProcess {
    fn issue(&self, request: Request) -> BoxFuture<'_, Result<Issued, IdentityError>> {
        Box::pin(async move {
            let Request { workload, csr, proof } = request;
            let issued = match proof {
                Proof::InProcess => self.0.sign(&workload, &csr, None, time::system(), None, Txn::default()).await,
                proof => self.0.issue(Request { workload, csr, proof }).await,
            };
            issued.map_err(Error::into_identity)
        })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("system", &self.system).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}
