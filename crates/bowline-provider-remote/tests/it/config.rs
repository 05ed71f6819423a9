//! What is asked about a document of a server of another release.

use bowline_config::{Author, ConfigManager as _, Document, Draft, Format};
use bowline_model::{Code, ConfigKey};
use bowline_provider_remote::RemoteConfig;
use bowline_testkit::{Answer, HttpServer};

#[tokio::test]
async fn a_server_that_cannot_check_publishes_nothing() {
    let server = HttpServer::start(|_| Answer::Status(404, String::new()));
    let document = Document { format: Format::Toml, text: "a = 1".to_owned() };
    let draft = Draft::new(document, Author::anonymous());
    let error = RemoteConfig::new(server.addr()).check_config(&ConfigKey::new("shop/order").unwrap(), draft).await;
    let error = error.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.to_string().contains("too old to check"), "{error}");
    let asked = server.requests().into_iter().map(|it| (it.method.clone(), it.path.clone())).collect::<Vec<_>>();
    assert_eq!(asked, [("POST".into(), "/v1/config/shop/order/check".into())]);
}
