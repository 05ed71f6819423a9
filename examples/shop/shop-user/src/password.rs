//! Passwords: checked against their hashes, by a few at once.

use std::sync::Arc;

use argon2::{Argon2, PasswordHash, PasswordHasher as _, PasswordVerifier as _, password_hash};
use aws_lc_rs::rand;
use bowline::{
    Code, HandlerError,
    runtime::{
        metric::{Counter, Registry},
        task,
    },
};
use tokio::sync::Semaphore;

/// The most hashes that are computed at once: each takes 19 MiB and a core.
const AT_ONCE_MAX: usize = 4;

/// The most checks that wait for their turn.
const WAITING_MAX: usize = 256;

/// What the password of a user who does not exist is held against, so that the answer takes as long.
/// Nobody knows what it is the hash of.
const NOBODYS_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$+m4RoW7U+BiD385txA4F3g$N09pvMyYTEuP4LoPKqxn6O06JkShK2W+JzAMD8jM2dI";

/// Checks passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    /// Places of those that are checked or wait.
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    refused: Counter,
}

impl Passwords {
    /// One core is left to the service's other work, where there are several.
    pub(crate) fn new(metrics: &Registry) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_bounds(cores.saturating_sub(1).clamp(1, AT_ONCE_MAX), WAITING_MAX, metrics)
    }

    fn with_bounds(at_once: usize, waiting: usize, metrics: &Registry) -> Self {
        let help = "Logins refused because too many waited.";
        let refused = metrics.counter("shop_logins_refused_total", help, &[]);
        let places = Arc::new(Semaphore::new(at_once + waiting));
        Self { places, turns: Arc::new(Semaphore::new(at_once)), refused }
    }

    /// Whether a password has that hash, a PHC string. Without a hash it is false, after as long a time.
    ///
    /// # Errors
    /// [`Code::Unavailable`] when too many wait; [`Code::Internal`] when the hash cannot be read.
    ///
    /// # Cancel safety
    /// Dropping the future gives the place back; a check that has begun keeps its place to its end.
    pub(crate) async fn is_right(&self, password: String, hash: Option<String>) -> Result<bool, HandlerError> {
        self.in_turn(move || check(&password, hash.as_deref())).await
    }

    /// The hash of a password, a PHC string with a salt of its own.
    ///
    /// # Errors
    /// [`Code::Unavailable`] when too many wait.
    ///
    /// # Cancel safety
    /// As [`Passwords::is_right`].
    pub(crate) async fn hash(&self, password: String) -> Result<String, HandlerError> {
        let mut salt = [0; 16];
        rand::fill(&mut salt).map_err(|_| HandlerError::internal("the system gave no randomness"))?;
        self.in_turn(move || {
            Argon2::default().hash_password_with_salt(password.as_bytes(), &salt).map(|hash| hash.to_string())
        })
        .await
    }

    /// Computes something when its turn has come.
    async fn in_turn<T: Send + 'static>(
        &self,
        compute: impl FnOnce() -> Result<T, password_hash::Error> + Send + 'static,
    ) -> Result<T, HandlerError> {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.refused.increment();
            return Err(HandlerError::new(Code::Unavailable, "too many logins at once, try again in a second"));
        };
        let turn = self.turns.clone().acquire_owned().await.map_err(HandlerError::internal)?;
        let computed = task::spawn_blocking(move || {
            let computed = compute();
            drop((turn, place));
            computed
        });
        computed.await.map_err(HandlerError::internal)?.map_err(HandlerError::internal)
    }
}

fn check(password: &str, hash: Option<&str>) -> Result<bool, password_hash::Error> {
    let known = PasswordHash::new(hash.unwrap_or(NOBODYS_HASH))?;
    match Argon2::default().verify_password(password.as_bytes(), &known) {
        Ok(()) => Ok(hash.is_some()),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn passwords() -> Passwords {
        Passwords::new(&Registry::default())
    }

    fn hash(password: &str) -> String {
        Argon2::default().hash_password_with_salt(password.as_bytes(), b"a salt of tests").unwrap().to_string()
    }

    #[tokio::test]
    async fn only_the_password_is_right() {
        let (passwords, hash) = (passwords(), hash("correct horse"));
        let is_right = async |password: &str, hash| passwords.is_right(password.to_owned(), hash).await.unwrap();
        assert!(is_right("correct horse", Some(hash.clone())).await);
        for wrong in ["", "Correct horse", "correct horse ", "correct"] {
            assert!(!is_right(wrong, Some(hash.clone())).await, "{wrong}");
        }
        assert!(!is_right("correct horse", None).await);
    }

    #[tokio::test]
    async fn a_hash_that_cannot_be_read_is_a_fault_here_and_does_not_let_in() {
        for broken in ["", "correct horse", "$argon2id$", "$md5$x$y"] {
            let error = passwords().is_right("x".to_owned(), Some(broken.to_owned())).await.unwrap_err();
            assert_eq!(error.code(), Code::Internal, "{broken}");
        }
        let cut_short = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ".to_owned();
        assert!(!passwords().is_right("x".to_owned(), Some(cut_short)).await.unwrap());
    }

    /// With other parameters the time would tell who exists.
    #[test]
    fn nobodys_hash_takes_as_long_as_everybodys() {
        let (nobodys, everybodys) = (PasswordHash::new(NOBODYS_HASH).unwrap(), hash("x"));
        let everybodys = PasswordHash::new(&everybodys).unwrap();
        assert_eq!(nobodys.algorithm, everybodys.algorithm);
        assert_eq!((nobodys.version, &nobodys.params), (everybodys.version, &everybodys.params));
    }

    #[tokio::test]
    async fn who_finds_no_place_is_told_at_once_and_who_leaves_gives_it_back() {
        let passwords = Passwords::with_bounds(1, 1, &Registry::default());
        let turn = passwords.turns.clone().acquire_owned().await.unwrap();
        // As what is being checked holds it.
        let place = passwords.places.clone().acquire_owned().await.unwrap();
        let mut waiting = Box::pin(passwords.is_right("x".to_owned(), None));
        assert!((&mut waiting).now_or_never().is_none());
        let refused = passwords.is_right("x".to_owned(), None).await.unwrap_err();
        assert_eq!((refused.code(), passwords.refused.get()), (Code::Unavailable, 1));
        drop(waiting);
        let mut waiting = Box::pin(passwords.is_right("x".to_owned(), None));
        assert!((&mut waiting).now_or_never().is_none());
        drop((turn, place));
        assert!(!waiting.await.unwrap());
    }
}
