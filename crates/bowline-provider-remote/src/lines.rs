//! Newline-delimited JSON off a body that does not end.

use std::{sync::Arc, time::Duration};

use bowline_runtime::time;
use bowline_transport::{
    ResponseBody, SharedPool,
    problem::{Problem, code_of_status},
};
use bytes::{Buf as _, BytesMut};
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
    buffer: BytesMut,
    /// So many bytes of the buffer hold no end of a line.
    searched: usize,
    line_bytes_max: usize,
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
        let mut lines = Self { body, buffer: BytesMut::new(), searched: 0, line_bytes_max: LINE_BYTES_MAX };
        if head.status.is_success() {
            return Ok(lines);
        }
        while lines.read().await? {}
        let problem = Problem::parse(head.status, &head.headers, &lines.buffer);
        let problem = problem.unwrap_or_else(|| Problem::new(code_of_status(head.status), head.status.to_string()));
        Err(Fault::Refused(Box::new(problem)))
    }

    /// The same with another bound on a line.
    pub(crate) fn with_line_bytes_max(self, line_bytes_max: usize) -> Self {
        Self { line_bytes_max, ..self }
    }

    /// Waits for the next line; none at the end of the answer.
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Fault> {
        loop {
            if let Some(line) = self.line() {
                return serde_json::from_slice(&line).map(Some).map_err(broken);
            }
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// Reads more; false at the end of the body.
    async fn read(&mut self) -> Result<bool, Fault> {
        if self.buffer.len() > self.line_bytes_max {
            return Err(broken("the line of a watch is too long"));
        }
        match time::timeout(SILENCE_MAX, self.body.frame()).await {
            Err(elapsed) => Err(broken(elapsed)),
            Ok(None) => Ok(false),
            Ok(Some(Err(error))) => Err(broken(error)),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
                Ok(true)
            }
        }
    }

    /// The next whole line that is buffered.
    fn line(&mut self) -> Option<BytesMut> {
        let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.searched + end);
        self.searched = 0;
        self.buffer.advance(1);
        Some(line)
    }
}

fn broken(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Fault {
    Fault::Broken(Arc::from(cause.into()))
}
