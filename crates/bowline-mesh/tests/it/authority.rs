//! The authority: whom it believes, what it keeps, and what survives a restart.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc};

use bowline_identity::{Key, Proof, Request, Roots, peer_id, sign_renewal};
use bowline_mesh::ca::{self, Authority, CERTIFICATES_MAX, JOIN_TTL, JOIN_TTL_RANGE, JOINS_MAX};
use bowline_model::{Code, Secret};
use bowline_runtime::time;
use bowline_store::{RANGE_MAX, Store, Txn};

use crate::authorities::{Fixture, HOUR, MINUTE, ca_settings, id, open_store, request, workload};

/// A request of `next`, signed by the key of the current certificate.
fn renewal(of: &str, key: &Key, chain: &[Vec<u8>], next: &Key, at_unix_ms: u64) -> Request {
    let csr = next.csr().unwrap();
    let signature = sign_renewal(key, &csr, at_unix_ms).unwrap();
    let proof = Proof::Renewal { chain: chain.to_vec(), signature, at_unix_ms };
    Request { workload: workload(of), csr, proof }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, ca::Error>, expected: Code, what: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.code(), expected, "{error}");
    assert!(error.to_string().contains(what), "{error}");
}

#[tokio::test]
async fn a_join_token_lets_one_workload_in_once() {
    let fixture = Fixture::start().await;
    let authority = &fixture.authority;
    let token = fixture.join_token("service/order").await;
    let key = Key::generate().unwrap();

    let other = authority.issue(request("service/payment", &key, Proof::Join(token.clone()))).await;
    refused(other, Code::Unauthenticated, "made for another workload");
    let issued = authority.issue(request("service/order", &key, Proof::Join(token.clone()))).await.unwrap();
    assert_eq!(peer_id(&issued.chain[0]).unwrap(), id("service/order"));
    Roots::new(issued.roots.clone()).unwrap().verify(&issued.chain, time::system()).unwrap();

    // Whoever did not get the answer may ask again, with the same key; nobody else may.
    authority.issue(request("service/order", &key, Proof::Join(token.clone()))).await.unwrap();
    let thief = Key::generate().unwrap();
    let stolen = authority.issue(request("service/order", &thief, Proof::Join(token.clone()))).await;
    refused(stolen, Code::Unauthenticated, "used already");

    for bad in ["", "bwj_", &token.expose()[..100], &format!("{}/../x", token.expose()), "bwl_ab_cd"] {
        let answer = authority.issue(request("service/order", &thief, Proof::Join(Secret::new(bad)))).await;
        refused(answer, Code::Unauthenticated, "no join token");
    }
    let unknown = Fixture::start().await.join_token("service/order").await;
    let answer = authority.issue(request("service/order", &thief, Proof::Join(unknown))).await;
    refused(answer, Code::Unauthenticated, "unknown here");
    refused(authority.issue(request("service/order", &key, Proof::InProcess)).await, Code::PermissionDenied, "proof");
}

#[tokio::test]
async fn a_join_token_expires() {
    let fixture = Fixture::start().await;
    tokio::time::pause();
    let token = fixture.join_token("service/order").await;
    time::sleep(JOIN_TTL + MINUTE).await;
    tokio::time::resume();
    let key = Key::generate().unwrap();
    let late = fixture.authority.issue(request("service/order", &key, Proof::Join(token))).await;
    refused(late, Code::Unauthenticated, "expired");
}

#[tokio::test]
async fn join_tokens_are_bounded() {
    let fixture = Fixture::start().await;
    let order = workload("service/order");
    for ttl in [JOIN_TTL_RANGE.0 / 2, JOIN_TTL_RANGE.1 + MINUTE] {
        refused(fixture.authority.new_join(&order, ttl).await, Code::Unprocessable, "10s to 1h");
    }
    refused(fixture.authority.new_join(&workload("bowline"), MINUTE).await, Code::Unprocessable, "this process");
    // As many as there may be, written at once.
    let expires = time::unix_millis_now() + 60_000;
    for part in 0..10 {
        let put = |txn: Txn, at: usize| {
            let value = format!(r#"{{"expires_unix_ms":{expires}}}"#);
            txn.put(format!("mesh/joins/service/order/{part:04}{at:060}"), value)
        };
        fixture.store.commit((0..JOINS_MAX / 10).fold(Txn::default(), put)).await.unwrap();
    }
    refused(fixture.authority.new_join(&order, MINUTE).await, Code::FailedPrecondition, "1000 join tokens");
    // They make room when they expire.
    tokio::time::pause();
    time::sleep(2 * MINUTE).await;
    tokio::time::resume();
    fixture.authority.new_join(&order, MINUTE).await.unwrap();
    let kept = fixture.store.range("mesh/joins/", None, RANGE_MAX).await.unwrap().entries.len();
    assert_eq!(kept, JOINS_MAX - 100 + 1, "some at a time");
}

#[tokio::test]
async fn a_renewal_proves_who_asks() {
    let fixture = Fixture::start().await;
    let authority = &fixture.authority;
    let (key, issued) = fixture.joined("service/order").await;
    let (chain, next, now) = (&issued.chain, Key::generate().unwrap(), time::unix_millis_now());

    let good = renewal("service/order", &key, chain, &next, now);
    let renewed = authority.issue(good.clone()).await.unwrap();
    assert_eq!(peer_id(&renewed.chain[0]).unwrap(), id("service/order"));
    assert_ne!(renewed.chain, issued.chain);

    // Whoever overheard it has another key, and gets nothing for it.
    let not_signed = "not by the key of the current certificate";
    let thief = Key::generate().unwrap();
    let replayed = Request { csr: thief.csr().unwrap(), ..good.clone() };
    refused(authority.issue(replayed).await, Code::Unauthenticated, not_signed);
    // Whoever knows the certificate alone cannot sign.
    let forged = renewal("service/order", &thief, chain, &thief, now);
    refused(authority.issue(forged).await, Code::Unauthenticated, not_signed);
    let other = Request { workload: workload("service/payment"), ..good.clone() };
    let detail = "cannot renew that of `spiffe://shop/service/payment`";
    refused(authority.issue(other).await, Code::Unauthenticated, detail);
    for at in [now - 66_000, now + 66_000] {
        let late = renewal("service/order", &key, chain, &next, at);
        refused(authority.issue(late).await, Code::Unauthenticated, "set the clocks right");
    }
    let Proof::Renewal { chain: shown, signature, at_unix_ms } = good.proof else { panic!("it is a renewal") };
    let moved = Proof::Renewal { chain: shown, signature, at_unix_ms: at_unix_ms + 1 };
    let moved = Request { workload: workload("service/order"), csr: good.csr, proof: moved };
    refused(authority.issue(moved).await, Code::Unauthenticated, not_signed);
    let nothing = Proof::Renewal { chain: vec![], signature: vec![], at_unix_ms: now };
    refused(authority.issue(request("service/order", &next, nothing)).await, Code::Unauthenticated, "there is none");
}

#[tokio::test]
async fn a_service_that_the_system_does_not_have_is_nobody() {
    let fixture = Fixture::start().await;
    let bank = workload("service/bank");
    refused(fixture.authority.new_join(&bank, MINUTE).await, Code::Unprocessable, "shop has no service `bank`");

    // It was there, and was taken out: neither its tokens nor its certificates are of use any more.
    let with = |services: &[&str]| {
        let services = services.iter().map(|name| name.parse().unwrap()).collect();
        ca::Settings { services, ..ca_settings(fixture.key_file(), HOUR) }
    };
    let before = Authority::open(fixture.store.clone(), with(&["bank", "order"])).await.unwrap();
    let (key, next) = (Key::generate().unwrap(), Key::generate().unwrap());
    let token = before.new_join(&bank, MINUTE).await.unwrap();
    let issued = before.issue(request("service/bank", &key, Proof::Join(token.clone()))).await.unwrap();
    let renewed = || renewal("service/bank", &key, &issued.chain, &next, time::unix_millis_now());
    before.issue(renewed()).await.unwrap();

    let after = Authority::open(fixture.store.clone(), with(&["order"])).await.unwrap();
    refused(after.issue(renewed()).await, Code::PermissionDenied, "no service `bank`");
    let again = after.issue(request("service/bank", &key, Proof::Join(token))).await;
    refused(again, Code::PermissionDenied, "no service `bank`");
    // Whoever proves nothing is not told who there is.
    let nobody = renewal("service/bank", &next, &issued.chain, &next, time::unix_millis_now());
    refused(after.issue(nobody).await, Code::Unauthenticated, "not by the key");
}

#[tokio::test]
async fn certificates_of_another_authority_renew_nothing() {
    let (fixture, foreign) = (Fixture::start().await, Fixture::start().await);
    let (key, issued) = foreign.joined("service/order").await;
    let next = Key::generate().unwrap();
    let renewal = renewal("service/order", &key, &issued.chain, &next, time::unix_millis_now());
    let answer = fixture.authority.issue(renewal).await;
    refused(answer, Code::Unauthenticated, "authority that is not this system's");
}

#[tokio::test]
async fn an_expired_certificate_renews_nothing() {
    let fixture = Fixture::start_with(MINUTE).await;
    let (key, issued) = fixture.joined("service/order").await;
    tokio::time::pause();
    time::sleep(2 * MINUTE).await;
    tokio::time::resume();
    let next = Key::generate().unwrap();
    let renewal = renewal("service/order", &key, &issued.chain, &next, time::unix_millis_now());
    refused(fixture.authority.issue(renewal).await, Code::Unauthenticated, "it expired");
}

#[tokio::test]
async fn of_a_request_nothing_counts_but_the_key() {
    let fixture = Fixture::start().await;
    let key = Key::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["payment".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.subject_alt_names.push(rcgen::SanType::URI("spiffe://shop/bowline".try_into().unwrap()));
    let csr = params.serialize_request(&key).unwrap().der().to_vec();
    let mut asked = request("service/order", &key, Proof::Join(fixture.join_token("service/order").await));
    asked.csr = csr;
    let issued = fixture.authority.issue(asked).await.unwrap();
    assert_eq!(peer_id(&issued.chain[0]).unwrap(), id("service/order"));
    let (_, certificate) = x509_parser::parse_x509_certificate(&issued.chain[0]).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(format!("{names:?}").contains("order.mesh"), "{names:?}");
    let life = certificate.validity().not_after.timestamp() - certificate.validity().not_before.timestamp();
    assert!((3600..=3611).contains(&life), "{life}");
}

#[tokio::test]
async fn requests_that_are_none_use_up_no_token() {
    let fixture = Fixture::start().await;
    let token = fixture.join_token("service/order").await;
    let key = Key::generate().unwrap();
    let good = key.csr().unwrap();
    let mut bent = good.clone();
    *bent.last_mut().unwrap() ^= 1;
    let rsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
    let unfit = rcgen::CertificateParams::default().serialize_request(&rsa).unwrap().der().to_vec();
    let longer = [good.as_slice(), b"x"].concat();
    for (csr, what) in [
        (vec![], "no PKCS #10"),
        (vec![0; 5000], "4096 bytes"),
        (longer, "followed by something"),
        (bent, "not signed by the key"),
        (unfit, "neither over P-256"),
    ] {
        let mut asked = request("service/order", &key, Proof::Join(token.clone()));
        asked.csr = csr;
        refused(fixture.authority.issue(asked).await, Code::InvalidArgument, what);
    }
    fixture.authority.issue(request("service/order", &key, Proof::Join(token))).await.unwrap();
}

#[tokio::test]
async fn what_was_issued_is_told_until_it_is_replaced_or_expires() {
    let fixture = Fixture::start_with(MINUTE).await;
    let (key, issued) = fixture.joined("service/order").await;
    fixture.joined("gateway").await;
    let all = fixture.authority.certificates().await.unwrap();
    assert_eq!(all.keys().map(ToString::to_string).collect::<Vec<_>>(), ["service/order", "gateway"]);
    let first = all[&workload("service/order")][0].clone();
    assert!(first.join.is_some() && first.expires_unix_ms > time::unix_millis_now());

    let next = Key::generate().unwrap();
    let renewal = renewal("service/order", &key, &issued.chain, &next, time::unix_millis_now());
    fixture.authority.issue(renewal).await.unwrap();
    let all = fixture.authority.certificates().await.unwrap();
    let [second] = all[&workload("service/order")].as_slice() else { panic!("{all:?}") };
    assert!(second.join.is_none() && second.serial != first.serial);

    tokio::time::pause();
    time::sleep(2 * MINUTE).await;
    tokio::time::resume();
    assert!(fixture.authority.certificates().await.unwrap().is_empty());
    fixture.joined("service/order").await;
    let kept = fixture.store.range("mesh/certificates/service/order/", None, RANGE_MAX).await.unwrap();
    assert_eq!(kept.entries.len(), 1, "what expired is gone");
}

#[tokio::test]
async fn records_are_bounded() {
    let fixture = Fixture::start().await;
    let expires = time::unix_millis_now() + 10_000;
    for part in 0..10 {
        let put = |txn: Txn, at: usize| {
            let value = format!(r#"{{"serial":"{at}","issued_unix_ms":1,"expires_unix_ms":{expires}}}"#);
            txn.put(format!("mesh/certificates/gateway/{expires:016x}-{part}-{at}"), value)
        };
        fixture.store.commit((0..CERTIFICATES_MAX / 10).fold(Txn::default(), put)).await.unwrap();
    }
    fixture.joined("gateway").await;
    let all = fixture.authority.certificates().await.unwrap();
    assert_eq!(all[&workload("gateway")].len(), CERTIFICATES_MAX);
    assert!(all[&workload("gateway")].last().unwrap().join.is_some(), "the new one is kept");
}

#[tokio::test]
async fn a_restart_keeps_the_root() {
    let fixture = Fixture::start().await;
    let (key, issued) = fixture.joined("service/order").await;
    let again = Fixture::open(&fixture.store, fixture.key_file(), HOUR).await.unwrap();
    assert_eq!(again.roots(), fixture.authority.roots());
    let next = Key::generate().unwrap();
    let renewal = renewal("service/order", &key, &issued.chain, &next, time::unix_millis_now());
    again.issue(renewal).await.unwrap();
}

#[tokio::test]
async fn two_that_start_at_once_agree() {
    let dir = bowline_testkit::temp_dir();
    let store: Arc<dyn Store> = Arc::new(open_store(&dir).await);
    let open = || Authority::open(store.clone(), ca_settings(dir.path().join("ca.key"), HOUR));
    let (one, other, third) = tokio::join!(open(), open(), open());
    let roots = one.unwrap().roots();
    assert_eq!(roots, other.unwrap().roots());
    assert_eq!(roots, third.unwrap().roots());
}

#[tokio::test]
async fn without_its_key_the_authority_is_of_no_use() {
    let fixture = Fixture::start().await;
    let key_file = fixture.key_file();
    assert_eq!(fs::metadata(&key_file).unwrap().permissions().mode() & 0o777, 0o600);
    let open = || Fixture::open(&fixture.store, key_file.clone(), HOUR);
    let told = |result: Result<Arc<Authority>, ca::Error>, what: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
        assert!(error.to_string().contains(what) && error.to_string().contains("ca.key"), "{error}");
    };
    let text = fs::read_to_string(&key_file).unwrap();

    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o644)).unwrap();
    told(open().await, "chmod 600");
    fs::remove_file(&key_file).unwrap();
    told(open().await, "backup");
    assert!(!key_file.exists(), "none is made in its place");
    bowline_runtime::fs::replace_private(&key_file, b"half").unwrap();
    told(open().await, "64 hexadecimal digits");
    bowline_runtime::fs::replace_private(&key_file, format!("{}\n", "0".repeat(64)).as_bytes()).unwrap();
    told(open().await, "not the one");
    bowline_runtime::fs::replace_private(&key_file, text.as_bytes()).unwrap();
    assert_eq!(open().await.unwrap().roots(), fixture.authority.roots());
}

#[tokio::test]
async fn a_damaged_root_is_told() {
    let fixture = Fixture::start().await;
    let kept = fixture.store.get("mesh/ca").await.unwrap().unwrap();
    let mut value: serde_json::Value = serde_json::from_slice(&kept.value).unwrap();
    let sealed = value["sealed_key"].as_array_mut().unwrap();
    sealed[20] = serde_json::json!(sealed[20].as_u64().unwrap() ^ 1);
    for bad in [serde_json::to_vec(&value).unwrap(), b"{}".to_vec()] {
        fixture.store.commit(Txn::default().put("mesh/ca", bad)).await.unwrap();
        let error = Fixture::open(&fixture.store, fixture.key_file(), HOUR).await.unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}

#[tokio::test]
async fn whoever_reads_the_store_learns_no_key() {
    let fixture = Fixture::start().await;
    let token = fixture.join_token("service/order").await;
    fixture.joined("service/payment").await;
    let seal_key = fs::read_to_string(fixture.key_file()).unwrap();
    let mut values = String::new();
    for entry in fixture.store.range("", None, RANGE_MAX).await.unwrap().entries {
        values.push_str(&entry.key);
        values.push_str(std::str::from_utf8(&entry.value).unwrap());
    }
    assert!(!values.contains(token.expose()) && !values.contains(&token.expose()[4..68]));
    assert!(!values.contains(seal_key.trim_end()));
    // A key in PKCS #8 begins with its version and the name of its algorithm.
    let ec_public_key = [0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let kept: serde_json::Value =
        serde_json::from_slice(&fixture.store.get("mesh/ca").await.unwrap().unwrap().value).unwrap();
    let sealed: Vec<u8> = serde_json::from_value(kept["sealed_key"].clone()).unwrap();
    assert!(sealed.len() > 100 && !sealed.windows(ec_public_key.len()).any(|window| window == ec_public_key));
}
