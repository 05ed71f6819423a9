//! The rotation: a certificate before it is needed, a new one before it expires.

use std::{sync::Arc, time::SystemTime};

use bowline_model::error::chain;
use bowline_runtime::{
    metric::{Counter, Gauge, Registry},
    rand, task,
    time::{self, Duration},
};

use crate::{
    Error, Identity, Issued, Issuer, JoinToken, Key, Proof, Request, current::Current, proof::sign_renewal, rest::Rest,
};

/// The wait after a first failure; it doubles.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest wait after a failure.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// The longest single sleep: the wall clock may be set, and a machine may sleep itself.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// The least time between two certificates.
const RENEWAL_MIN: Duration = Duration::from_secs(1);
/// The longest wait for the issuer's answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Obtains certificates for an identity.
pub(crate) struct Rotation {
    identity: Identity,
    issuer: Arc<dyn Issuer>,
    token: Option<JoinToken>,
    rest: Option<Rest>,
    metrics: Metrics,
}

struct Metrics {
    expires: Gauge,
    renewed: Counter,
    failed: Counter,
}

impl Rotation {
    pub(crate) fn new(
        identity: Identity,
        issuer: Arc<dyn Issuer>,
        token: Option<JoinToken>,
        rest: Option<Rest>,
        metrics: &Registry,
    ) -> Self {
        let metrics = Metrics::new(metrics, &identity.id().workload.to_string());
        Self { identity, issuer, token, rest, metrics }
    }

    /// Goes on with what was kept.
    pub(crate) fn take_up(&self, kept: Current) {
        tracing::info!(id = %self.identity.id(), "identity was taken up as it was kept");
        self.metrics.take(&kept);
        self.identity.set(kept);
    }

    /// Until dropped, or until the issuer refuses to let us in.
    pub(crate) async fn run(self) {
        // One key until it is answered: a token that was used up by a lost answer is good for it still.
        let mut next_key = None;
        let mut backoff = BACKOFF_MIN;
        loop {
            if let Some(current) = self.identity.current() {
                until(renewal_at(&current)).await;
            }
            while let Err(error) = self.obtain(&mut next_key).await {
                if self.is_over(&error) {
                    return self.identity.refuse(error);
                }
                time::sleep(self.failed(&error, &mut backoff)).await;
            }
            (next_key, backoff) = (None, BACKOFF_MIN);
        }
    }

    /// Obtains one certificate, and keeps it.
    async fn obtain(&self, next_key: &mut Option<Key>) -> Result<(), Error> {
        let key = next_key.clone().map_or_else(Key::generate, Ok)?;
        *next_key = Some(key.clone());
        let issued = self.believe(self.ask(&key).await?)?;
        let current = Current::new(self.identity.id(), key, issued, time::system())?;
        if let Some(rest) = &self.rest {
            // What cannot be kept is used all the same: only a restart needs it.
            if let Err(error) = rest.write(&current).await {
                tracing::error!(error = %chain(&error), "identity could not be kept for the next start");
            }
        }
        self.metrics.take(&current);
        self.metrics.renewed.increment();
        tracing::debug!(id = %self.identity.id(), "certificate was issued");
        self.identity.set(current);
        Ok(())
    }

    /// Asks for a certificate of that key.
    async fn ask(&self, key: &Key) -> Result<Issued, Error> {
        let csr = key.csr()?;
        let valid = self.identity.current().filter(|current| !current.validity.left(time::system()).is_zero());
        let Some(current) = valid else { return self.send(csr, self.admission()).await };
        let at_unix_ms = time::unix_millis_now();
        let signature = sign_renewal(&current.key, &csr, at_unix_ms)?;
        let proof = Proof::Renewal { chain: current.chain.clone(), signature, at_unix_ms };
        match self.send(csr.clone(), proof).await {
            // Whoever needs no proof is not kept out by a bad one.
            Err(error) if self.token.is_none() && !error.retryable() => self.send(csr, self.admission()).await,
            answer => answer,
        }
    }

    async fn send(&self, csr: Vec<u8>, proof: Proof) -> Result<Issued, Error> {
        let request = Request { workload: self.identity.id().workload.clone(), csr, proof };
        let answer = time::timeout(ANSWER_MAX, self.issuer.issue(request)).await;
        answer.unwrap_or_else(|elapsed| Err(Error::Unavailable(Arc::new(elapsed))))
    }

    /// What lets in whoever has no certificate.
    fn admission(&self) -> Proof {
        self.token.as_ref().map_or(Proof::InProcess, |token| Proof::Join(token.text().clone()))
    }

    /// The roots of an answer that may be believed: whoever is between us and the issuer could add some.
    fn believe(&self, issued: Issued) -> Result<Issued, Error> {
        let Some(token) = &self.token else { return Ok(issued) };
        let Issued { chain, mut roots } = issued;
        let known = self.identity.roots();
        roots.retain(|root| match &known {
            Some(known) => known.contains(root),
            None => token.is_for_root(root),
        });
        if roots.is_empty() {
            let rule = "the answer comes from another authority than the one that made the join token".to_owned();
            return Err(Error::Invalid { what: "the issuer's answer", rule });
        }
        Ok(Issued { chain, roots })
    }

    /// Whether asking again is of no use.
    fn is_over(&self, error: &Error) -> bool {
        let is_over = self.token.is_some() && self.identity.current().is_none() && !error.retryable();
        if is_over {
            tracing::error!(id = %self.identity.id(), error = %chain(error), "workload is not let into the mesh");
        }
        is_over
    }

    /// Tells of a failure, and answers how long to wait.
    fn failed(&self, error: &Error, backoff: &mut Duration) -> Duration {
        self.metrics.failed.increment();
        let left = self.identity.current().map(|current| current.validity.left(time::system()));
        let (id, error) = (self.identity.id(), chain(error));
        match left {
            Some(left) if left.is_zero() => {
                tracing::error!(%id, %error, "certificate expired and is not renewed: make a new join token and start anew");
            }
            Some(left) => {
                tracing::warn!(%id, %error, left_seconds = left.as_secs(), "certificate could not be renewed");
            }
            None => tracing::warn!(%id, %error, "certificate could not be obtained"),
        }
        let wait = backoff.mul_f64(0.5 + rand::unit() / 2.0);
        *backoff = (*backoff * 2).min(BACKOFF_MAX);
        // Some attempts before it expires, however short it lives.
        match left {
            Some(left) if !left.is_zero() => wait.min((left / 8).max(BACKOFF_MIN)),
            _ => wait,
        }
    }
}

impl Metrics {
    fn new(metrics: &Registry, workload: &str) -> Self {
        let help = "When the workload's certificate expires, in seconds since 1970.";
        let expires = metrics.gauge("bowline_certificate_expires_seconds", help, &[("workload", workload)]);
        let help = "Certificates that were asked for.";
        let outcome = |outcome| {
            let labels = [("workload", workload), ("outcome", outcome)];
            metrics.counter("bowline_certificate_renewals_total", help, &labels)
        };
        Self { expires, renewed: outcome("renewed"), failed: outcome("failed") }
    }

    fn take(&self, current: &Current) {
        let since = current.validity.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.expires.set(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    }
}

/// About half of what is left, by chance, so that workloads that started together do not come together.
fn renewal_at(current: &Current) -> SystemTime {
    let now = time::system();
    let left = current.validity.left(now);
    now + left.mul_f64(0.4 + 0.2 * rand::unit()).max(RENEWAL_MIN)
}

/// Sleeps until the wall clock shows that time.
async fn until(at: SystemTime) {
    while let Ok(left) = at.duration_since(time::system()) {
        if left.is_zero() {
            return;
        }
        time::sleep(left.min(SLEEP_MAX)).await;
        task::yield_now().await;
    }
}
