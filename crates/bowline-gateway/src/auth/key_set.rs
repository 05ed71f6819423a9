//! Key sets (RFC 7517): read, kept, and renewed when it is time or when a token names a key that is not
//! there.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use bowline_model::{error::chain, gateway::JwtAlgorithm};
use bowline_runtime::{
    BoxFuture,
    metric::{Counter, Registry},
    rand, task,
    time::{self, Instant},
};
use bytes::Bytes;
use jsonwebtoken::{
    DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use tokio::sync::{Notify, watch};

use super::source::{KEY_SET_BYTES_MAX, Source, SourceError};

/// The most keys of a set, and the longest name of one.
const KEYS_MAX: usize = 100;
const KEY_ID_BYTES_MAX: usize = 256;

/// How key sets are kept current.
#[derive(Debug, Clone, Copy)]
pub struct KeySetSettings {
    /// How often a set is fetched anew.
    pub refresh_every: Duration,
    /// The least time from one fetch to the next that a token asks for by naming an unknown key.
    pub refresh_min: Duration,
    /// The longest that a request waits for a fetch under way.
    pub wait_max: Duration,
}

impl Default for KeySetSettings {
    /// 5 min, 10 s, 2 s.
    fn default() -> Self {
        Self {
            refresh_every: Duration::from_mins(5),
            refresh_min: Duration::from_secs(10),
            wait_max: Duration::from_secs(2),
        }
    }
}

/// The waits after fetches that failed in a row: the first, and the longest.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// The least wait until a service whose instances changed is asked again.
const CHANGED_MIN: Duration = Duration::from_millis(100);

/// Keys that signatures are checked with.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
    /// Another set has another number.
    pub(super) edition: u64,
    /// What it was read from.
    document: Bytes,
}

struct Key {
    id: String,
    algorithm: JwtAlgorithm,
    public: DecodingKey,
}

/// Why a document is no key set that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeySetError {
    #[error("it has more than {KEY_SET_BYTES_MAX} bytes")]
    TooLong,
    #[error("it is not a JSON object with a list of `keys`")]
    Json(#[source] serde_json::Error),
    #[error("it has more than {KEYS_MAX} keys")]
    TooMany,
    #[error("it has no key with a `kid` for RS256, ES256 or EdDSA")]
    Empty,
}

/// What a set has of a name.
pub(super) enum Lookup<'a> {
    Key(&'a DecodingKey),
    /// There is one, for another algorithm.
    Unfit,
    Unknown,
}

impl KeySet {
    /// Reads a set. Keys that are not for checking signatures of ours are left out, as a set may have
    /// some for others (RFC 7517, 5).
    fn parse(document: Bytes, edition: u64) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<serde_json::Value>,
        }
        if document.len() > KEY_SET_BYTES_MAX {
            return Err(KeySetError::TooLong);
        }
        let Document { keys } = serde_json::from_slice(&document).map_err(KeySetError::Json)?;
        if keys.len() > KEYS_MAX {
            return Err(KeySetError::TooMany);
        }
        let keys: Vec<Key> = keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() { Err(KeySetError::Empty) } else { Ok(Self { keys, edition, document }) }
    }

    /// The key of that name for that algorithm.
    pub(super) fn find(&self, id: &str, algorithm: JwtAlgorithm) -> Lookup<'_> {
        let mut lookup = Lookup::Unknown;
        for key in self.keys.iter().filter(|key| key.id == id) {
            if key.algorithm == algorithm {
                return Lookup::Key(&key.public);
            }
            lookup = Lookup::Unfit;
        }
        lookup
    }
}

impl Key {
    fn read(value: serde_json::Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let common = &jwk.common;
        let id = common.key_id.clone().filter(|id| id.len() <= KEY_ID_BYTES_MAX)?;
        // The type of the key alone decides what it checks: a public key is never taken for a secret.
        let (algorithm, name) = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (JwtAlgorithm::Rs256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                (JwtAlgorithm::Es256, KeyAlgorithm::ES256)
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                (JwtAlgorithm::EdDsa, KeyAlgorithm::EdDSA)
            }
            _ => return None,
        };
        let is_for_signatures = common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
        let operations = common.key_operations.as_ref();
        let may_verify = operations.is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        let is_named_so = common.key_algorithm.is_none_or(|algorithm| algorithm == name);
        if !(is_for_signatures && may_verify && is_named_so) {
            return None;
        }
        Some(Self { id, algorithm, public: DecodingKey::from_jwk(&jwk).ok()? })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("algorithm", &self.algorithm).finish()
    }
}

/// A key set that is kept current by a task, which ends with it. The last good one is kept as long as no
/// other can be had.
#[derive(Debug)]
pub(crate) struct Jwks {
    shared: Arc<Shared>,
    _keeping: task::Guarded<()>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    settings: KeySetSettings,
    current: ArcSwapOption<KeySet>,
    progress: watch::Sender<Progress>,
    wanted: Notify,
    fetched: Counter,
    failed: Counter,
}

/// How far the fetching is.
#[derive(Debug, Default)]
struct Progress {
    /// Fetches that have ended.
    ended_count: u64,
    ended_at: Option<Instant>,
    /// Whether one is under way, or about to be.
    is_under_way: bool,
}

impl Jwks {
    /// Begins to fetch a set.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn new(source: Source, settings: KeySetSettings, metrics: &Registry) -> Self {
        let name = source.to_string();
        let count = |outcome| {
            let labels = [("source", name.as_str()), ("outcome", outcome)];
            metrics.counter("bowline_key_set_fetches_total", "Fetches of key sets.", &labels)
        };
        let (fetched, failed) = (count("ok"), count("error"));
        let progress = watch::Sender::new(Progress { is_under_way: true, ..Progress::default() });
        let (current, wanted) = (ArcSwapOption::empty(), Notify::new());
        let shared = Arc::new(Shared { name, settings, current, progress, wanted, fetched, failed });
        let keeping = task::spawn(keep(Arc::clone(&shared), source));
        Self { shared, _keeping: task::Guarded::new(keeping) }
    }

    /// The set as it is known.
    pub(super) fn current(&self) -> Option<Arc<KeySet>> {
        self.shared.current.load_full()
    }

    fn edition(&self) -> Option<u64> {
        self.shared.current.load().as_ref().map(|set| set.edition)
    }

    /// Has the set fetched anew, unless that was done a moment ago: what ends with the fetch, or with the
    /// longest wait. However many ask, there is one fetch at a time.
    ///
    /// `known` is the edition that does not do, if there was one. Where another has come since, there is
    /// nothing to wait for.
    ///
    /// While there is no set at all it ends with the first good fetch: at a start, the service that serves
    /// the set may be known a moment after the gateway is open.
    pub(super) fn refresh(&self, known: Option<u64>, now: Instant) -> Option<BoxFuture<'static, ()>> {
        let Shared { settings, progress, wanted, .. } = &*self.shared;
        let has_none = known.is_none();
        let (mut seen, mut has_changed) = (None, false);
        progress.send_if_modified(|progress| {
            // Looked at here, where a fetch that has ended is seen with the set that it gave.
            has_changed = self.edition() != known;
            if has_changed {
                return false;
            }
            let is_due =
                progress.ended_at.is_none_or(|ended| now.saturating_duration_since(ended) >= settings.refresh_min);
            if progress.is_under_way || is_due || has_none {
                seen = Some(progress.ended_count);
            }
            if is_due && !progress.is_under_way {
                progress.is_under_way = true;
                wanted.notify_one();
            }
            false
        });
        if has_changed {
            return Some(Box::pin(std::future::ready(())));
        }
        let (seen, wait_max, shared) = (seen?, settings.wait_max, Arc::clone(&self.shared));
        Some(Box::pin(async move {
            let mut progress = shared.progress.subscribe();
            let is_over =
                |progress: &Progress| progress.ended_count > seen && (!has_none || shared.current.load().is_some());
            // Whoever waits looks for themselves what there is.
            drop(time::timeout(wait_max, progress.wait_for(is_over)).await);
        }))
    }
}

/// Keeps a set current, for ever.
async fn keep(shared: Arc<Shared>, mut source: Source) {
    let mut failed_count = 0;
    loop {
        let fetched = source.get().await;
        failed_count = if shared.end(fetched) { 0 } else { failed_count + 1 };
        let pause = if failed_count == 0 { shared.settings.refresh_every } else { retry_wait(failed_count) };
        let changed = async {
            time::sleep(CHANGED_MIN).await;
            source.changed().await;
        };
        tokio::select! {
            () = time::sleep(pause) => {}
            () = shared.wanted.notified() => {}
            () = changed, if failed_count > 0 => {}
        }
        shared.progress.send_modify(|progress| progress.is_under_way = true);
    }
}

/// The wait after so many failures: half of it, and up to as much again, so that gateways spread.
fn retry_wait(failed_count: u32) -> Duration {
    let whole = RETRY_MIN.saturating_mul(1 << failed_count.min(6)).min(RETRY_MAX);
    whole.mul_f64(0.5 + rand::unit() / 2.0)
}

impl Shared {
    /// Takes what a fetch gave; answers whether it is a set.
    fn end(&self, fetched: Result<Bytes, SourceError>) -> bool {
        let failure = match fetched.map(|document| self.take(document)) {
            Ok(Ok(())) => {
                self.fetched.increment();
                None
            }
            Ok(Err(error)) => Some(chain(&error)),
            Err(error) => Some(chain(&error)),
        };
        if let Some(error) = &failure {
            self.failed.increment();
            let has_keys = self.current.load().is_some();
            tracing::warn!(source = self.name, has_keys, error, "key set cannot be had, the last good one stays");
        }
        self.progress.send_modify(|progress| {
            progress.ended_count += 1;
            progress.ended_at = Some(time::now());
            progress.is_under_way = false;
        });
        failure.is_none()
    }
}

impl Shared {
    /// Takes in a document. The one that is there is no other edition: were it, whoever names unknown keys
    /// would have each token that was found good by it checked again and again.
    fn take(&self, document: Bytes) -> Result<(), KeySetError> {
        if self.current.load().as_ref().is_some_and(|set| set.document == document) {
            return Ok(());
        }
        let set = KeySet::parse(document, self.progress.borrow().ended_count)?;
        tracing::debug!(source = self.name, keys = set.keys.len(), "key set fetched");
        self.current.store(Some(Arc::new(set)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn document(keys: &str) -> Bytes {
        format!("{{\"keys\":[{keys}],\"other\":1}}").into()
    }

    fn set(keys: &str) -> Result<KeySet, KeySetError> {
        KeySet::parse(document(keys), 0)
    }

    #[test]
    fn a_key_is_found_by_its_name_and_algorithm() {
        let set = set(ED).unwrap();
        assert!(matches!(set.find("ed", JwtAlgorithm::EdDsa), Lookup::Key(_)));
        assert!(matches!(set.find("ed", JwtAlgorithm::Rs256), Lookup::Unfit));
        assert!(matches!(set.find("other", JwtAlgorithm::EdDsa), Lookup::Unknown));
    }

    #[test]
    fn keys_that_are_for_others_are_left_out() {
        let with = |extra: &str| ED.replace("\"kid\"", &format!("{extra},\"kid\""));
        for good in [r#""use":"sig""#, r#""alg":"EdDSA""#, r#""key_ops":["verify"]"#] {
            assert!(set(&with(good)).is_ok(), "{good}");
        }
        let unnamed = ED.replace(r#""kid":"ed","#, "");
        let long = ED.replace(r#""ed""#, &format!("\"{}\"", "k".repeat(257)));
        let secret = r#"{"kty":"oct","kid":"ed","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}"#;
        let p384 = r#"{"kty":"EC","crv":"P-384","kid":"ed","x":"AA","y":"AA"}"#;
        let others = [r#""use":"enc""#, r#""alg":"RS256""#, r#""key_ops":["sign"]"#].map(with);
        for bad in [&unnamed, &long, secret, p384, "1", "{}"].into_iter().chain(others.iter().map(String::as_str)) {
            assert!(matches!(set(bad), Err(KeySetError::Empty)), "{bad}");
            assert!(set(&format!("{bad},{ED}")).is_ok(), "{bad} beside a good one");
        }
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        for bad in ["", "[]", "{}", r#"{"keys":1}"#] {
            assert!(matches!(KeySet::parse(bad.into(), 0), Err(KeySetError::Json(_))), "{bad}");
        }
        assert!(matches!(set(&vec![ED; KEYS_MAX + 1].join(",")), Err(KeySetError::TooMany)));
        let long = " ".repeat(KEY_SET_BYTES_MAX + 1);
        assert!(matches!(KeySet::parse(long.into(), 0), Err(KeySetError::TooLong)));
    }

    fn shared() -> Shared {
        let (fetched, failed) = (Counter::default(), Counter::default());
        let (progress, current, wanted) = (watch::Sender::default(), ArcSwapOption::empty(), Notify::new());
        let settings = KeySetSettings::default();
        Shared { name: String::new(), settings, current, progress, wanted, fetched, failed }
    }

    /// Between looking for a key and asking for a fetch, a fetch may end.
    #[tokio::test(start_paused = true)]
    async fn who_missed_a_fetch_looks_again_at_once() {
        let keeping = task::Guarded::new(task::spawn(std::future::pending()));
        let jwks = Jwks { shared: Arc::new(shared()), _keeping: keeping };
        let mut known = None;
        for id in ["a", "b"] {
            assert!(jwks.shared.end(Ok(document(&ED.replace(r#""ed""#, &format!("{id:?}"))))));
            let begun = time::now();
            jwks.refresh(known, begun).expect("there is another set to look at").await;
            assert_eq!((time::now(), jwks.shared.progress.borrow().is_under_way), (begun, false));
            known = jwks.edition();
        }
        assert!(jwks.refresh(known, time::now()).is_none(), "that was done a moment ago");
    }

    #[test]
    fn only_another_document_is_another_edition() {
        let shared = shared();
        let edition = || shared.current.load().as_ref().unwrap().edition;
        assert!(shared.end(Ok(document(ED))));
        let first = edition();
        assert!(shared.end(Ok(document(ED))));
        assert_eq!((edition(), shared.fetched.get()), (first, 2));
        let other = document(&ED.replace(r#""ed""#, r#""other""#));
        assert!(shared.end(Ok(other.clone())));
        let second = edition();
        assert_ne!(second, first);
        assert!(!shared.end(Ok(Bytes::new())));
        assert!(shared.end(Ok(other)) && edition() == second, "the last good one stayed");
        assert!(shared.end(Ok(document(ED))));
        assert!(![first, second].contains(&edition()), "what came back is another edition, too");
    }

    #[test]
    fn waits_grow_to_a_bound() {
        for count in 1..100 {
            let wait = retry_wait(count);
            assert!((RETRY_MIN / 2..=RETRY_MAX).contains(&wait), "{wait:?}");
        }
        assert!(retry_wait(20) >= RETRY_MAX / 2);
    }
}
