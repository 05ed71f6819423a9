//! Newline-delimited JSON off a body that does not end.

use std::{sync::Arc, time::Duration};

use bowline_runtime::time;
use bowline_transport::{
    ResponseBody, SharedPool,
    lines::LineReader,
    problem::{Problem, code_of_status},
};
use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;

/// The longest line, unless another bound is asked for.
const LINE_BYTES_MAX: usize = 1 << 20;
/// How long a watch may be silent: three bookmarks of the server are missing then.
const SILENCE_MAX: Duration = Duration::from_secs(35);

/// The lines of an answer.
#[derive(Debug)]
pub(crate) struct Lines {
    body: ResponseBody<SharedPool>,
    reader: LineReader,
}

/// Why there is no further line.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The answer is no success.
    Refused(Box<Problem>),
    /// The connection broke, or what came over it makes no sense.
    Broken(Arc<dyn std::error::Error + Send + Sync>),
}

impl Lines {
    /// The lines that an answer is; an answer that is no success is read as the problem it tells.
    pub(crate) async fn of(answer: Response<ResponseBody<SharedPool>>) -> Result<Self, Fault> {
        let (head, body) = answer.into_parts();
        let mut lines = Self { body, reader: LineReader::by_feed(LINE_BYTES_MAX) };
        if head.status.is_success() {
            return Ok(lines);
        }
        let mut text = BytesMut::new();
        while let Some(bytes) = lines.read().await? {
            if text.len() + bytes.len() > LINE_BYTES_MAX {
                return Err(broken("the answer is too long"));
            }
            text.extend_from_slice(&bytes);
        }
        let problem = Problem::parse(head.status, &head.headers, &text);
        let problem = problem.unwrap_or_else(|| Problem::new(code_of_status(head.status), head.status.to_string()));
        Err(Fault::Refused(Box::new(problem)))
    }

    /// The same with another bound on a line.
    pub(crate) fn with_line_bytes_max(self, line_bytes_max: usize) -> Self {
        Self { reader: self.reader.with_max(line_bytes_max), ..self }
    }

    /// Waits for the next line; none at the end of the answer.
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Fault> {
        loop {
            if let Some(line) = self.reader.next_line().map_err(broken)? {
                return serde_json::from_slice(&line).map(Some).map_err(broken);
            }
            let Some(bytes) = self.read().await? else { return Ok(None) };
            self.reader.push(&bytes);
        }
    }

    /// Reads more; none at the end of the body.
    async fn read(&mut self) -> Result<Option<Bytes>, Fault> {
        match time::timeout(SILENCE_MAX, self.body.frame()).await {
            Err(elapsed) => Err(broken(elapsed)),
            Ok(None) => Ok(None),
            Ok(Some(Err(error))) => Err(broken(error)),
            // What is no data is nothing to read.
            Ok(Some(Ok(frame))) => Ok(Some(frame.into_data().unwrap_or_default())),
        }
    }
}

fn broken(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Fault {
    Fault::Broken(Arc::from(cause.into()))
}
