//! Identities over a real authority: handshakes, rotation, rest.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use bowline_identity::{Admission, Error, Identity, peer_id};
use bowline_model::{Code, Secret};
use bowline_runtime::{metric::Registry, time};
use bowline_transport::Until;

use crate::authorities::{Elsewhere, Fixture, MINUTE, Told, id, settings, shake, start, unavailable};

fn join(token: &Secret, folder: Option<&Path>) -> Admission {
    Admission::Join { token: token.clone(), folder: folder.map(Path::to_owned) }
}

/// Waits, in virtual time, for something to become true.
async fn until(what: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if what() {
            return;
        }
        time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it did not happen");
}

#[tokio::test]
async fn both_sides_know_each_other() {
    let fixture = Fixture::start().await;
    let (order, _order) = fixture.identity("service/order").await;
    let (payment, _payment) = fixture.identity("service/payment").await;
    let shaken = shake(&order, &payment, "payment").await;
    assert_eq!(peer_id(&shaken.client.unwrap()).unwrap(), id("service/payment"));
    assert_eq!(peer_id(&shaken.server.unwrap()).unwrap(), id("service/order"));
    assert!(format!("{order:?}").contains("spiffe://shop/service/order"));
}

#[tokio::test]
async fn another_service_is_refused() {
    let fixture = Fixture::start().await;
    let (order, _order) = fixture.identity("service/order").await;
    let (user, _user) = fixture.identity("service/user").await;
    let told = shake(&order, &user, "payment").await.client.unwrap_err();
    assert!(told.contains("payment") && told.contains("spiffe://shop/service/user"), "{told}");
    let (gateway, _gateway) = fixture.identity("gateway").await;
    let told = shake(&order, &gateway, "gateway").await.client.unwrap_err();
    assert!(told.contains("spiffe://shop/gateway"), "a gateway is no service: {told}");
}

#[tokio::test]
async fn a_foreign_authority_is_refused_by_both_sides() {
    let (fixture, foreign) = (Fixture::start().await, Fixture::start().await);
    let (order, _order) = fixture.identity("service/order").await;
    let (payment, _payment) = foreign.identity("service/payment").await;
    let told = shake(&order, &payment, "payment").await.client.unwrap_err();
    assert!(told.contains("UnknownIssuer"), "{told}");
    // The client of another system is refused by the server, where it does not refuse itself first.
    let (stranger, _stranger) = foreign.identity("service/order").await;
    let (ours, _ours) = fixture.identity("service/payment").await;
    assert!(shake(&stranger, &ours, "payment").await.server.is_err());
}

#[tokio::test]
async fn an_expired_certificate_is_refused_and_counted() {
    let fixture = Fixture::start_with(MINUTE).await;
    let metrics = Registry::default();
    let mut told = settings("service/order", Admission::InProcess);
    told.metrics = metrics.clone();
    let (order, _order) = Identity::start(told, fixture.authority.issuer()).unwrap();
    order.ready().await.unwrap();
    // Its rotation ends with its guard.
    let (payment, guard) = fixture.identity("service/payment").await;
    drop(guard);
    tokio::time::pause();
    let first = order.expires_at();
    let second = Duration::from_secs(1);
    until(|| payment.expires_at().unwrap() + second < time::system() && order.expires_at() > first).await;
    tokio::time::resume();
    let refused = shake(&order, &payment, "payment").await;
    let told = refused.client.unwrap_err();
    assert!(told.contains("expired"), "{told}");
    let page = metrics.render();
    let refused = r#"bowline_certificates_refused_total{workload="service/order",peer="server",reason="expired"} 1"#;
    assert!(page.contains(refused), "{page}");
}

#[tokio::test]
async fn certificates_rotate_while_configurations_stay() {
    let fixture = Fixture::start_with(MINUTE).await;
    let issuer = Told::new(Arc::new(Elsewhere(fixture.authority.clone())));
    let token = fixture.join_token("service/order").await;
    let (order, _order) = start("service/order", join(&token, None), issuer.clone()).await;
    let (payment, _payment) = fixture.identity("service/payment").await;
    let (client, first) = (order.client_tls().config, order.chain().unwrap());
    tokio::time::pause();
    for _ in 0..10 {
        let before = order.expires_at();
        until(|| order.expires_at() > before).await;
        assert!(order.expires_at().unwrap() > time::system() + MINUTE / 2, "well before it expires");
    }
    tokio::time::resume();
    assert!(Arc::ptr_eq(&client, &order.client_tls().config));
    let shown = shake(&order, &payment, "payment").await.server.unwrap();
    assert_eq!(shown, order.chain().unwrap()[0]);
    assert_ne!(shown, first[0]);
    let proofs = issuer.proofs.lock().unwrap().clone();
    assert_eq!(proofs[..2], ["join", "renewal"]);
    assert!(proofs[1..].iter().all(|proof| *proof == "renewal"), "{proofs:?}");
}

#[tokio::test]
async fn no_connection_outlives_what_is_shown_over_it() {
    let (hour, minute) = (Fixture::start().await, Fixture::start_with(MINUTE).await);
    let (long, _long) = hour.identity("service/order").await;
    let (short, _short) = minute.identity("service/payment").await;
    let shown = |identity: &Identity| identity.chain().unwrap().remove(0);
    // Until when a connection is used, as it is made now, and when the earlier of both certificates expires.
    let check = |until: Option<Until>, peer: &Identity, earlier: Duration| {
        let left = until.unwrap()(&shown(peer)).unwrap().duration_since(time::now()) + earlier;
        let expected = short.expires_at().unwrap().duration_since(time::system()).unwrap();
        assert!(left.abs_diff(expected) < Duration::from_secs(1), "{left:?} {expected:?}");
    };
    let retirement = Duration::from_secs(5);
    check(long.client_tls().until, &short, retirement);
    check(short.client_tls().until, &long, retirement);
    check(long.server_tls(false).until, &short, Duration::ZERO);
    assert!(short.server_tls(false).until.unwrap()(b"no certificate").is_none());
}

#[tokio::test]
async fn a_server_that_is_away_is_asked_again() {
    let fixture = Fixture::start_with(MINUTE).await;
    let issuer = Told::new(Arc::new(Elsewhere(fixture.authority.clone())));
    issuer.fail(Some(unavailable()));
    let token = fixture.join_token("service/order").await;
    let (order, _order) = Identity::start(settings("service/order", join(&token, None)), issuer.clone()).unwrap();
    tokio::time::pause();
    until(|| issuer.asked() >= 3).await;
    assert!(order.expires_at().is_none());
    issuer.fail(None);
    order.ready().await.unwrap();

    // Away for a while in which the certificate is good.
    let (asked, first) = (issuer.asked(), order.expires_at());
    issuer.fail(Some(unavailable()));
    until(|| issuer.asked() >= asked + 3).await;
    assert!(order.expires_at().unwrap() > time::system());
    issuer.fail(None);
    until(|| order.expires_at() > first).await;
}

#[tokio::test]
async fn a_lost_answer_does_not_use_up_the_token() {
    let fixture = Fixture::start().await;
    let issuer = Told::new(Arc::new(Elsewhere(fixture.authority.clone())));
    issuer.loses_answers.store(true, std::sync::atomic::Ordering::Relaxed);
    let token = fixture.join_token("service/order").await;
    let (order, _order) = Identity::start(settings("service/order", join(&token, None)), issuer.clone()).unwrap();
    bowline_testkit::eventually(MINUTE, || issuer.asked() >= 1).await;
    issuer.loses_answers.store(false, std::sync::atomic::Ordering::Relaxed);
    order.ready().await.unwrap();
}

#[tokio::test]
async fn whoever_is_not_let_in_is_told_why() {
    let fixture = Fixture::start().await;
    let issuer: Arc<Elsewhere> = Arc::new(Elsewhere(fixture.authority.clone()));
    let token = fixture.join_token("service/order").await;
    let (_first, _guard) = start("service/order", join(&token, None), issuer.clone()).await;
    let (second, _guard) = Identity::start(settings("service/order", join(&token, None)), issuer.clone()).unwrap();
    let error = second.ready().await.unwrap_err();
    assert!(error.to_string().contains("used already"), "{error}");
    assert_eq!(error.code(), Code::Unauthenticated);

    // The token of one authority, and the answer of another: whoever is between them.
    let (foreign, token) = (Fixture::start().await, fixture.join_token("service/order").await);
    let liar = foreign.authority.issuer();
    let (third, _guard) = Identity::start(settings("service/order", join(&token, None)), Told::lying(liar)).unwrap();
    let error = third.ready().await.unwrap_err();
    assert!(error.to_string().contains("another authority"), "{error}");

    let bad = Identity::start(settings("service/order", join(&Secret::new("bwj_x"), None)), issuer).unwrap_err();
    assert!(matches!(bad, Error::Invalid { .. }), "{bad}");
}

#[tokio::test]
async fn an_identity_at_rest_needs_no_server() {
    let fixture = Fixture::start().await;
    let folder = fixture.dir.path().join("sidecar");
    let token = fixture.join_token("service/order").await;
    let issuer = Arc::new(Elsewhere(fixture.authority.clone()));
    let (first, guard) = start("service/order", join(&token, Some(&folder)), issuer.clone()).await;
    drop(guard);
    let file = folder.join("identity");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let content = fs::read(&file).unwrap();
    assert!(content.starts_with(b"bowline-identity 1 "));

    let away = Told::new(issuer.clone());
    away.fail(Some(unavailable()));
    let again = |admission| Identity::start(settings("service/order", admission), away.clone());
    let (second, _second) = again(join(&token, Some(&folder))).unwrap();
    assert_eq!(second.chain(), first.chain(), "at once");
    assert_eq!(away.asked(), 0);
    let (payment, _payment) = fixture.identity("service/payment").await;
    shake(&second, &payment, "payment").await.client.unwrap();

    let told = |result: Result<(Identity, _), Error>, what: &str| {
        let error = result.map(|(identity, _): (Identity, bowline_runtime::task::Guarded<()>)| identity).unwrap_err();
        assert!(matches!(error, Error::Kept { .. }), "{error}");
        assert!(error.to_string().contains(what) && error.to_string().contains("identity"), "{error}");
        assert!(!error.to_string().contains(token.expose()));
    };
    let other = fixture.join_token("service/order").await;
    told(again(join(&other, Some(&folder))), "another join token");
    told(Identity::start(settings("service/payment", join(&token, Some(&folder))), away.clone()), "not of");
    for at in [content.len() - 1, content.len() / 2, 40] {
        let mut bent = content.clone();
        bent[at] ^= 1;
        fs::write(&file, bent).unwrap();
        told(again(join(&token, Some(&folder))), "damaged");
    }
    for short in [&content[..0], &content[..10], &content[..50]] {
        fs::write(&file, short).unwrap();
        told(again(join(&token, Some(&folder))), "damaged");
    }
    fs::write(&file, [b"bowline-identity 2 ", &content[19..]].concat()).unwrap();
    told(again(join(&token, Some(&folder))), "format");
}

#[tokio::test]
async fn an_expired_identity_at_rest_has_to_join_anew() {
    let fixture = Fixture::start_with(MINUTE).await;
    let folder = fixture.dir.path().join("sidecar");
    let token = fixture.join_token("service/order").await;
    let issuer = Arc::new(Elsewhere(fixture.authority.clone()));
    let (_first, guard) = start("service/order", join(&token, Some(&folder)), issuer.clone()).await;
    drop(guard);
    tokio::time::pause();
    time::sleep(2 * MINUTE).await;
    tokio::time::resume();
    let (again, _guard) = Identity::start(settings("service/order", join(&token, Some(&folder))), issuer).unwrap();
    let error = again.ready().await.unwrap_err();
    assert!(error.to_string().contains("make a new one"), "{error}");
}
