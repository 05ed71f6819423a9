//! The mesh on the wire: join tokens, certificates, roots, status.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bowline_config::Acknowledged;
use bowline_identity::{Issued, Proof, Request};
use bowline_model::{
    Secret, ServiceName,
    mesh::{MeshDemands, Workload},
    units,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::access::exposed;

/// The most certificates of a chain that is taken.
pub const CHAIN_MAX: usize = 4;
/// The most bytes of one thing in DER that is taken.
pub const DER_BYTES_MAX: usize = 8192;

/// Something in DER; as text in base64.
#[derive(Clone, PartialEq, Eq)]
pub struct Der(pub Vec<u8>);

/// `POST /v1/mesh/join-tokens`: whom to let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewJoinToken {
    /// Whom: `service/NAME` or `gateway`.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "service/order"))]
    pub workload: Workload,
    /// How long the token is good, `"10s"` to `"1h"`; `15m` where absent.
    #[serde(default, with = "units::duration::option", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "15m"))]
    pub ttl: Option<Duration>,
    /// Whether one call uses it and forgets it, as `bowline call` does: the audit names it as that, and it is not among
    /// the changes of the system. It goes with a `ttl` of at most `1m`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_for_call: bool,
}

/// The answer to [`NewJoinToken`]: the only one that holds the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedJoinToken {
    /// Whom it lets in.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub workload: Workload,
    /// The token, good once. It cannot be asked for again.
    #[serde(with = "exposed")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub token: Secret,
    /// How long it is good.
    #[serde(with = "units::duration")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub ttl: Duration,
}

/// `POST /v1/mesh/certificates`: a request for a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CertificateRequest {
    /// Who asks: `service/NAME` or `gateway`.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "service/order"))]
    pub workload: Workload,
    /// A PKCS #10 request in DER, in base64. Nothing in it counts but the public key: P-256, P-384 or Ed25519.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = Byte))]
    pub csr: Der,
    /// What shows that it is who it says.
    pub proof: CertificateProof,
}

/// What shows that somebody is who it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum CertificateProof {
    /// A join token.
    Join {
        /// The token.
        #[serde(with = "exposed")]
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        token: Secret,
    },
    /// Possession of the key of a certificate that is still good.
    Renewal {
        /// That certificate, and what is between it and the root; each in DER, in base64.
        #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
        chain: Vec<Der>,
        /// In ASN.1, in base64, by the certificate's key over `bowline certificate renewal, version 1`, a
        /// NUL, `at_unix_ms` as 8 bytes with the highest first, and the request in DER.
        #[cfg_attr(feature = "openapi", schema(value_type = String, format = Byte))]
        signature: Der,
        /// When it was signed, in milliseconds since 1970; at most a minute from now.
        at_unix_ms: u64,
    },
}

/// The answer to [`CertificateRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IssuedCertificate {
    /// The certificate, and what is between it and the root; each in DER, in base64.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub chain: Vec<Der>,
    /// The roots of everybody in the system; each in DER, in base64.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub roots: Vec<Der>,
}

/// `GET /v1/mesh/roots`: whom to believe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MeshRoots {
    /// The system, which is the trust domain.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "shop"))]
    pub system: ServiceName,
    /// Its roots; each in DER, in base64.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub roots: Vec<Der>,
}

/// `GET /v1/mesh/status`: who acts by what, and whose certificates are good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MeshStatus {
    /// The system.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "shop"))]
    pub system: ServiceName,
    /// Each workload that has a snapshot or a certificate, sorted.
    pub workloads: Vec<MeshWorkload>,
}

/// One workload in [`MeshStatus`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MeshWorkload {
    /// Who.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "service/order"))]
    pub workload: Workload,
    /// The version of its snapshot; absent: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// When that version was published, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_unix_ms: Option<u64>,
    /// What that version demands of callers: `mode` (`strict`, `permissive`) and `authorization` (`enforce`,
    /// `dry-run`, `off`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub demands: Option<MeshDemands>,
    /// What each instance makes of its snapshot: `instance`, `service`, `version`, `outcome` (`applied`, or
    /// `refused` with `reason`), `runs`, `at_unix_ms`.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub instances: Vec<Acknowledged>,
    /// How many certificates are good: about one for each instance.
    pub certificates: usize,
    /// When the first of them expires, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_unix_ms: Option<u64>,
}

impl CertificateRequest {
    /// A request as it is sent; none for one that proves nothing, which is for the issuer's own process.
    pub fn of(request: Request) -> Option<Self> {
        let Request { workload, csr, proof } = request;
        let proof = match proof {
            Proof::Join(token) => CertificateProof::Join { token },
            Proof::Renewal { chain, signature, at_unix_ms } => {
                CertificateProof::Renewal { chain: ders(chain), signature: Der(signature), at_unix_ms }
            }
            Proof::InProcess => return None,
        };
        Some(Self { workload, csr: Der(csr), proof })
    }

    /// The request that was sent.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn into_request(self) -> Result<Request, &'static str> {
        let Self { workload, csr, proof } = self;
        let proof = match proof {
            CertificateProof::Join { token } => Proof::Join(token),
            CertificateProof::Renewal { chain, .. } if chain.len() > CHAIN_MAX => {
                return Err("proof.chain: it has at most 4 certificates");
            }
            CertificateProof::Renewal { chain, signature: Der(signature), at_unix_ms } => {
                let chain = chain.into_iter().map(|Der(bytes)| bytes).collect();
                Proof::Renewal { chain, signature, at_unix_ms }
            }
        };
        Ok(Request { workload, csr: csr.0, proof })
    }
}

impl From<Issued> for IssuedCertificate {
    fn from(issued: Issued) -> Self {
        let Issued { chain, roots } = issued;
        Self { chain: ders(chain), roots: ders(roots) }
    }
}

impl From<IssuedCertificate> for Issued {
    fn from(issued: IssuedCertificate) -> Self {
        let bytes = |ders: Vec<Der>| ders.into_iter().map(|Der(bytes)| bytes).collect();
        let IssuedCertificate { chain, roots } = issued;
        Self { chain: bytes(chain), roots: bytes(roots) }
    }
}

/// Things in DER.
pub fn ders(all: Vec<Vec<u8>>) -> Vec<Der> {
    all.into_iter().map(Der).collect()
}

impl fmt::Debug for Der {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Der({} bytes)", self.0.len())
    }
}

impl Serialize for Der {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Der {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(&text).map_err(|_| de::Error::custom("write DER in base64, padded"))?;
        if bytes.len() > DER_BYTES_MAX {
            return Err(de::Error::custom("it has at most 8192 bytes in DER"));
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_wire() {
        let workload: Workload = "service/order".parse().unwrap();
        let proof = Proof::Renewal { chain: vec![vec![1], vec![2]], signature: vec![3, 255], at_unix_ms: 7 };
        let request = Request { workload: workload.clone(), csr: vec![0; 100], proof };
        let wire = CertificateRequest::of(request).unwrap();
        let text = serde_json::to_string(&wire).unwrap();
        assert!(text.contains(r#""kind":"renewal""#) && text.contains(r#""signature":"A/8=""#), "{text}");
        let again: CertificateRequest = serde_json::from_str(&text).unwrap();
        assert_eq!(again, wire);
        let Proof::Renewal { chain, .. } = again.into_request().unwrap().proof else { panic!("{text}") };
        assert_eq!(chain, [[1], [2]]);

        let join = Request { workload: workload.clone(), csr: vec![], proof: Proof::Join(Secret::new("bwj_x")) };
        let join = CertificateRequest::of(join).unwrap();
        assert!(!format!("{join:?}").contains("bwj_x"));
        assert!(serde_json::to_string(&join).unwrap().contains("bwj_x"));
        assert!(CertificateRequest::of(Request { workload, csr: vec![], proof: Proof::InProcess }).is_none());
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let chain = ders(vec![vec![1]; CHAIN_MAX + 1]);
        let proof = CertificateProof::Renewal { chain, signature: Der(vec![]), at_unix_ms: 0 };
        let request = CertificateRequest { workload: Workload::Gateway, csr: Der(vec![]), proof };
        assert!(request.into_request().unwrap_err().contains("at most 4"));
        let long = serde_json::to_string(&Der(vec![0; DER_BYTES_MAX + 1])).unwrap();
        assert!(serde_json::from_str::<Der>(&long).unwrap_err().to_string().contains("8192"));
        assert!(serde_json::from_str::<Der>("\"%\"").unwrap_err().to_string().contains("base64"));
    }
}
