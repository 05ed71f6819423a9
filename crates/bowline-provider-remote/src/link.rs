//! How a process reaches its server: two connections, whatever it asks.

use std::time::Duration;

use bowline_model::Address;
use bowline_transport::HttpClient;

use crate::Bearer;

/// A way to a server. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Link {
    /// For questions that are answered when they are asked.
    pub(crate) asked: HttpClient,
    /// For answers that last: watches, subscriptions, what waits for the next message. Apart, so that no bug of theirs
    /// holds up a heartbeat.
    pub(crate) watched: HttpClient,
}

impl Link {
    /// Two HTTP/2 connections to that server, which are made when they are needed: one for what is asked, one for what
    /// is watched. Everything that is `over` the link shares them.
    pub fn new(address: impl Into<Address>) -> Self {
        let address = address.into();
        let (asked, watched) = (HttpClient::multiplexed(address.clone()), HttpClient::multiplexed(address));
        Self { asked, watched }
    }

    /// The same, asking with a token.
    #[must_use]
    pub fn with_bearer(self, bearer: Bearer) -> Self {
        let Self { asked, watched } = self;
        Self { asked: bearer.clone().on(asked), watched: bearer.on(watched) }
    }

    /// The same with another time limit for a whole answer; answers that last have one of their own.
    pub(crate) fn with_timeout(self, timeout: Duration) -> Self {
        Self { asked: self.asked.with_timeout(timeout), ..self }
    }
}

impl From<HttpClient> for Link {
    /// Everything by that client.
    fn from(client: HttpClient) -> Self {
        Self { asked: client.clone(), watched: client }
    }
}

impl From<&Self> for Link {
    fn from(link: &Self) -> Self {
        link.clone()
    }
}
