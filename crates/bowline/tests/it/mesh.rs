//! An application in the mesh: calls under mutual TLS, and who calls.

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, routing::get};
use bowline::{HandlerError, ServiceClient, client, extract::Caller};
use bowline_identity::{Admission, Error, Identity, Issued, Issuer, JoinToken, Request};
use bowline_model::{
    Code, ServiceName,
    mesh::{SpiffeId, Workload},
};
use bowline_runtime::{BoxFuture, drain, metric, net, task, time};
use bowline_transport::{Body, server};
use http::Response;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa,
    Issuer as Signer, KeyPair, KeyUsagePurpose, SanType,
};

use crate::{
    api::Api,
    support::{BOUND, Place, Running, ask, instance},
};

/// A certificate authority of a test, which believes everybody.
pub(crate) struct Authority {
    signer: Signer<'static, KeyPair>,
    root: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Arc<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().to_vec();
        Arc::new(Self { signer: Signer::new(params, key), root })
    }

    pub(crate) fn certify(&self, workload: &Workload, csr: &[u8]) -> Issued {
        let mut request = CertificateSigningRequestParams::from_der(&csr.to_vec().into()).unwrap();
        let id = SpiffeId::new(ServiceName::new("test").unwrap(), workload.clone());
        let params = &mut request.params;
        params.not_before = (time::system() - time::Duration::from_secs(10)).into();
        params.not_after = (time::system() + time::Duration::from_hours(1)).into();
        params.subject_alt_names = vec![SanType::URI(id.to_string().try_into().unwrap())];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = request.signed_by(&self.signer).unwrap().der().to_vec();
        Issued { chain: vec![leaf], roots: vec![self.root.clone()] }
    }

    fn token(&self) -> String {
        JoinToken::generate(&self.root).unwrap().text().expose().to_owned()
    }
}

struct InProcess(Arc<Authority>);

impl Issuer for InProcess {
    fn issue(&self, request: Request) -> BoxFuture<'_, Result<Issued, Error>> {
        Box::pin(async move { Ok(self.0.certify(&request.workload, &request.csr)) })
    }
}

/// The sidecar of `callee`: answers who called, as the certificate says.
struct Sidecar {
    addr: SocketAddr,
    _drainer: drain::Drainer,
    _renewing: task::Guarded<()>,
}

impl Sidecar {
    async fn start(authority: &Arc<Authority>) -> Self {
        let workload = Workload::Service(ServiceName::new("callee").unwrap());
        let id = SpiffeId::new(ServiceName::new("test").unwrap(), workload);
        let (admission, metrics) = (Admission::InProcess, metric::Registry::default());
        let settings = bowline_identity::Settings { id, admission, metrics };
        let (identity, renewing) = Identity::start(settings, Arc::new(InProcess(authority.clone()))).unwrap();
        identity.ready().await.unwrap();
        let listener = net::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = listener.local_addr().unwrap();
        let (drainer, drain) = drain::channel();
        let settings = server::Settings { tls: Some(identity.server_tls(false)), ..server::Settings::default() };
        task::spawn(server::serve(listener, settings, drain, |peer| {
            let caller = peer.certificate.as_deref().map(|it| bowline_identity::peer_id(it).unwrap().to_string());
            server::service_fn(move |_| {
                let answer = serde_json::to_vec(&caller).unwrap();
                async move { Ok::<_, std::convert::Infallible>(Response::new(Body::full(answer))) }
            })
        }));
        Self { addr, _drainer: drainer, _renewing: renewing }
    }
}

fn member(api: &Api, token: &str) -> Place {
    Place::new("caller").beside(api.addr).with("BOWLINE_SYSTEM", "test").with("BOWLINE_JOIN", token)
}

async fn who_am_i(client: &ServiceClient) -> Result<String, client::Error> {
    client.get("/whoami").json::<String>().await
}

#[tokio::test]
async fn calls_show_a_certificate_and_demand_one() {
    let (api, authority) = (Api::start().await, Authority::new());
    api.certify_by(&authority);
    let sidecar = Sidecar::start(&authority).await;
    api.register(instance("callee-1", sidecar.addr));
    let service = member(&api, &authority.token()).service();
    let caller = who_am_i(&service.client("callee")).await.unwrap();
    assert_eq!(caller, "spiffe://test/service/caller");
    // Whoever is there in the clear, or as somebody else, is not spoken to.
    api.register(instance("other-1", sidecar.addr));
    let error = who_am_i(&service.client("other")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error}");
}

#[tokio::test]
async fn without_a_certificate_it_serves_and_says_why_it_does_not_call() {
    let (api, authority) = (Api::start().await, Authority::new());
    let sidecar = Sidecar::start(&authority).await;
    api.register(instance("callee-1", sidecar.addr));
    let service = member(&api, &authority.token()).service();
    let client = service.client("callee");
    let running = Running::start(service, Router::new().route("/hello", get(|| async { "hello" }))).await;
    assert_eq!(running.get("/hello").await.text(), "hello");
    let why = running.get("/readyz").await.problem(503, "unavailable");
    assert_eq!(why, "it has no certificate of the mesh yet");
    client.set_timeout(time::Duration::from_millis(200)).unwrap();
    let error = who_am_i(&client).await.unwrap_err();
    assert_eq!(error.to_string(), format!("call to callee failed: {why}"));
    assert_eq!((error.code(), error.retryable()), (Code::Unavailable, true));
    // A call whose answer is a stream is counted as any other.
    let error = client.get("/whoami").stream().await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    let line = r#"bowline_requests_total{reporter="client",service="callee",route="",code="503"} 2"#;
    let metrics = running.get("/metrics").await.text().to_owned();
    assert!(metrics.contains(line), "{metrics}");
    // The server comes to its senses.
    api.certify_by(&authority);
    let is_ready = || async { running.get("/readyz").await.status == 200 };
    crate::support::until(is_ready).await;
    client.set_timeout(BOUND).unwrap();
    assert_eq!(who_am_i(&client).await.unwrap(), "spiffe://test/service/caller");
    running.stop().await;
}

async fn caller(caller: Option<Caller>) -> Result<String, HandlerError> {
    Ok(caller.map_or_else(|| "nobody".to_owned(), |caller| caller.to_string()))
}

async fn known(caller: Caller) -> String {
    caller.service().map_or_else(String::new, ToString::to_string)
}

#[tokio::test]
async fn a_handler_is_told_who_calls_by_its_sidecar_and_by_nobody_else() {
    let (api, authority) = (Api::start().await, Authority::new());
    let app = || Router::new().route("/caller", get(caller)).route("/known", get(known));
    let meshed = Running::start(member(&api, &authority.token()).service(), app()).await;
    let says = |value: &'static str| [("x-bowline-caller", value)];
    let order = says("service/order");
    assert_eq!(ask(meshed.addr, "GET", "/caller", &order, "").await.text(), "service/order");
    assert_eq!(ask(meshed.addr, "GET", "/known", &order, "").await.text(), "order");
    let span = api.span("GET /caller").await;
    assert_eq!(span.attribute("bowline.caller").map(ToString::to_string).as_deref(), Some("service/order"));
    assert_eq!(ask(meshed.addr, "GET", "/caller", &[], "").await.text(), "nobody");
    ask(meshed.addr, "GET", "/known", &[], "").await.traced_problem(401, "unauthenticated");
    ask(meshed.addr, "GET", "/known", &says("order"), "").await.traced_problem(400, "invalid_argument");
    let twice = [order, says("gateway")].concat();
    ask(meshed.addr, "GET", "/caller", &twice, "").await.traced_problem(400, "invalid_argument");
    let alone = Running::alone(app()).await;
    assert_eq!(ask(alone.addr, "GET", "/caller", &order, "").await.text(), "nobody");
}
