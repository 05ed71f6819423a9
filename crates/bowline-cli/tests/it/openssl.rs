//! The program `openssl`, as whoever stands before the mesh has it: keys, requests, authorities of one's own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::Method;
use serde_json::json;
use tokio::process::Command;

use crate::harness::{Running, ask};

/// A certificate and its key, in files of PEM.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Runs it in a folder, without anything on its standard input.
pub(crate) async fn openssl(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("openssl");
    command.current_dir(dir).args(args).stdin(Stdio::null()).kill_on_drop(true);
    command.output().await.unwrap_or_else(|error| panic!("openssl, which this test needs: {error}"))
}

/// The same where it has to do well; its standard output.
async fn good(dir: &Path, args: &[&str]) -> Vec<u8> {
    let output = openssl(dir, args).await;
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A certificate of an authority of one's own, with the names that a workload's has.
pub(crate) async fn foreign(dir: &Path, authority: &str, service: &str) -> Pair {
    let new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let subject = format!("/CN={authority}");
    let root = ["req", "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-days", "3", "-subj", &subject];
    good(dir, &[&root[..], &new].concat()).await;
    good(dir, &[&["req", "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=leaf"][..], &new].concat()).await;
    let extensions = format!(
        "basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n\
         subjectAltName=URI:spiffe://shop/service/{service},DNS:{service}.mesh\n"
    );
    std::fs::write(dir.join("leaf.cnf"), extensions).unwrap();
    let sign = ["x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    good(dir, &[&sign[..], &["-days", "1", "-extfile", "leaf.cnf", "-out", "leaf.pem"]].concat()).await;
    Pair { certificate: dir.join("leaf.pem"), key: dir.join("leaf.key") }
}

/// A certificate of the system's own authority, which a join token and a request buy.
pub(crate) async fn joined(running: &Running, dir: &Path, service: &str) -> Pair {
    let (key, request) = (format!("{service}.key"), format!("{service}.csr"));
    let new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=whatever"];
    let named = ["req", "-keyout", &key, "-outform", "DER", "-out", &request];
    good(dir, &[&named[..], &new].concat()).await;
    let token = running.command(&["mesh", "join", service]).await;
    let csr = BASE64_STANDARD.encode(std::fs::read(dir.join(request)).unwrap());
    let proof = json!({"kind": "join", "token": token.trim()});
    let body = json!({"workload": format!("service/{service}"), "csr": csr, "proof": proof}).to_string();
    let headers = [("content-type", "application/json")];
    let api = running.api();
    let answer = ask(api, Method::POST, "localhost", "/v1/mesh/certificates", &headers, body.as_bytes()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let certificate = dir.join(format!("{service}.pem"));
    std::fs::write(&certificate, pem(answer.json()["chain"][0].as_str().unwrap())).unwrap();
    Pair { certificate, key: dir.join(key) }
}

fn pem(base64: &str) -> String {
    let lines: Vec<&str> = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// Who the authority of a system says that it is: the last of its name.
pub(crate) async fn name_of_authority(running: &Running, dir: &Path) -> String {
    let roots = running.api_json("/v1/mesh/roots").await;
    std::fs::write(dir.join("root.pem"), pem(roots["roots"][0].as_str().unwrap())).unwrap();
    let subject = good(dir, &["x509", "-in", "root.pem", "-noout", "-subject", "-nameopt", "RFC2253"]).await;
    let subject = String::from_utf8(subject).unwrap();
    subject.trim().split_once("CN=").unwrap_or_else(|| panic!("{subject}")).1.to_owned()
}

/// The names that whoever listens there shows in its certificate.
pub(crate) async fn names_shown(dir: &Path, addr: SocketAddr) -> String {
    let shown = openssl(dir, &["s_client", "-connect", &addr.to_string(), "-tls1_3", "-showcerts"]).await;
    let told = String::from_utf8_lossy(&shown.stdout).into_owned();
    let begin = told.find("-----BEGIN CERTIFICATE-----").unwrap_or_else(|| panic!("{told} {shown:?}"));
    std::fs::write(dir.join("shown.pem"), &told[begin..]).unwrap();
    let names = good(dir, &["x509", "-in", "shown.pem", "-noout", "-ext", "subjectAltName"]).await;
    String::from_utf8(names).unwrap()
}
