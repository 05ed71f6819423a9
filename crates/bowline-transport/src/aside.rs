//! A request beside the others, whose answer nobody waits for.

use std::fmt;

use bowline_runtime::time::{self, Instant};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};

use crate::{body::Body, endpoint::Endpoint, error::Error, pool::Pool, send::send};

/// The most of an answer that is read so that its connection can be used again; the rest is not waited for.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Who is told what came of it.
type Told = Box<dyn FnOnce(Option<Result<StatusCode, Error>>) + Send>;

/// What is to be done, in a task of its own.
pub struct Errand {
    endpoint: Endpoint,
    request: Request<Body>,
    deadline: Instant,
    told: Told,
}

/// Sends one request in a task of its own, and throws its answer away.
///
/// `tell` is called when it is over, with the status of the answer, with why there was none, or
/// with nothing where the deadline passed before. The answer is read to its end, up to 1 MiB and
/// the deadline, so that the connection can be used again. How many there are at once is the
/// caller's to bound: what `tell` holds is dropped with the task, however that ends.
///
/// # Panics
/// Outside a tokio runtime; over a [`LocalPool`](crate::LocalPool), outside that of a core.
pub fn send_aside<P: Pool>(
    pool: &P,
    endpoint: Endpoint,
    request: Request<Body>,
    deadline: Instant,
    tell: impl FnOnce(Option<Result<StatusCode, Error>>) + Send + 'static,
) {
    pool.run_aside(Errand { endpoint, request, deadline, told: Box::new(tell) });
}

impl Errand {
    pub(crate) async fn run<P: Pool>(self, pool: P) {
        let Self { endpoint, request, deadline, told } = self;
        match time::timeout_at(deadline, send(&pool, &endpoint, request)).await {
            Ok(Ok(response)) => {
                let (head, body) = response.into_parts();
                let reading = Limited::new(body, ANSWER_BYTES_MAX).collect();
                // How it ends changes nothing: the head has said what came of it.
                drop(time::timeout_at(deadline, reading).await);
                told(Some(Ok(head.status)));
            }
            Ok(Err(error)) => told(Some(Err(error))),
            Err(_) => told(None),
        }
    }
}

impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Errand").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
