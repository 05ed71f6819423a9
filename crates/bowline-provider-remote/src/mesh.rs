//! The mesh over a server: certificates, join tokens, roots, status.

use std::{sync::Arc, time::Duration};

use bowline_identity::{Error, Issued, Issuer, Request};
use bowline_model::{Address, Code};
use bowline_runtime::BoxFuture;
use bowline_transport::{ClientError, HttpClient};

use crate::{Client, Link, wire};

/// How long an answer with a certificate may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The issuer port over a server.
#[derive(Debug, Clone)]
pub struct RemoteIssuer(HttpClient);

impl RemoteIssuer {
    /// The authority of the server at that address, with 5 s for each answer.
    pub fn new(api: impl Into<Address>) -> Self {
        Self::over(HttpClient::new(api))
    }

    /// The authority of the server at the end of that link.
    pub fn over(link: impl Into<Link>) -> Self {
        Self(link.into().asked.with_timeout(TIMEOUT))
    }
}

impl Issuer for RemoteIssuer {
    fn issue(&self, request: Request) -> BoxFuture<'_, Result<Issued, Error>> {
        Box::pin(async move {
            let request = wire::CertificateRequest::of(request).ok_or_else(|| Error::Refused {
                code: Code::PermissionDenied,
                detail: "a certificate of a server takes a proof of who asks".to_owned(),
            })?;
            let answer = self.0.post_json::<wire::IssuedCertificate>("/v1/mesh/certificates", &request).await;
            answer.map(Issued::from).map_err(error_of)
        })
    }
}

impl Client {
    /// Makes a join token, which is told this once.
    pub async fn create_join_token(&self, new: &wire::NewJoinToken) -> Result<wire::CreatedJoinToken, ClientError> {
        self.0.post_json("/v1/mesh/join-tokens", new).await
    }

    /// Whom the system's workloads believe.
    pub async fn mesh_roots(&self) -> Result<wire::MeshRoots, ClientError> {
        self.0.get_json("/v1/mesh/roots").await
    }

    /// Who acts by which snapshot, and whose certificates are good.
    pub async fn mesh_status(&self) -> Result<wire::MeshStatus, ClientError> {
        self.0.get_json("/v1/mesh/status").await
    }
}

/// What the server says is a refusal; whether asking again helps is in its code.
fn error_of(error: ClientError) -> Error {
    match error {
        ClientError::Answer { problem, .. } => Error::Refused { code: problem.code, detail: problem.detail },
        error => Error::Unavailable(Arc::new(error)),
    }
}
