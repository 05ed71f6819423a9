//! Questions in PromQL.

use bowline_transport::{
    Body, ClientError,
    problem::{Problem, code_of_status},
};
use bytes::Bytes;
use http::{Request, Response};
use serde::de::DeserializeOwned;

use crate::{
    Client,
    client::path,
    wire::{QueryValue, prometheus::Envelope},
};

/// Over which time PromQL is evaluated: texts as Prometheus' API takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryTime {
    /// At one time; now where absent.
    At(Option<String>),
    /// At each step from a start to an end.
    Range {
        /// The first time.
        start: String,
        /// The last time.
        end: String,
        /// Seconds or a duration.
        step: String,
    },
}

impl Client {
    /// The value of a PromQL expression.
    ///
    /// # Errors
    /// [`ClientError::Answer`] where the expression is broken: its text says where.
    ///
    /// # Cancel safety
    /// The server stops evaluating soon.
    pub async fn query(&self, expression: &str, time: &QueryTime) -> Result<QueryValue, ClientError> {
        let query = ("query", expression.to_owned());
        match time {
            QueryTime::At(at) => {
                let pairs = [Some(query), at.clone().map(|at| ("time", at))];
                self.prometheus(&path("/api/v1/query", pairs.into_iter().flatten())).await
            }
            QueryTime::Range { start, end, step } => {
                let times = [("start", start), ("end", end), ("step", step)];
                let pairs = times.map(|(name, value)| (name, value.clone()));
                self.prometheus(&path("/api/v1/query_range", std::iter::once(query).chain(pairs))).await
            }
        }
    }

    /// What a path of Prometheus' API answers.
    pub(crate) async fn prometheus<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = Request::get(path).body(Body::empty());
        let request = request.map_err(|source| ClientError::Request { address: self.0.address().clone(), source })?;
        let answer = self.0.request(request).await?;
        match serde_json::from_slice(answer.body()) {
            Ok(Envelope::Success { data }) => Ok(data),
            Ok(Envelope::Error { error }) => Err(self.refused(&answer, error)),
            // Who is not let in is told by the API around it.
            Err(source) => match Problem::parse(answer.status(), answer.headers(), answer.body()) {
                Some(problem) => {
                    Err(ClientError::Answer { address: self.0.address().clone(), problem: Box::new(problem) })
                }
                None => Err(ClientError::Decode { address: self.0.address().clone(), source }),
            },
        }
    }

    fn refused(&self, answer: &Response<Bytes>, error: String) -> ClientError {
        let problem = Box::new(Problem::new(code_of_status(answer.status()), error));
        ClientError::Answer { address: self.0.address().clone(), problem }
    }
}
