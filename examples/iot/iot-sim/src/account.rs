//! The devices of a run: provisioned through the gateway, and what will be wrong with them.

use anyhow::Context as _;
use bowline_runtime::task::JoinSet;
use example_load::{Connection, Host, rewrite};
use http::StatusCode;
use iot_detect::{evaluation::Fault, generator::Device, series::time};
use serde::Deserialize;
use serde_json::json;

use crate::{Settings, shares};

/// A device as the broker knows it.
#[derive(Clone)]
pub(crate) struct Account {
    /// Its number in the run.
    pub(crate) number: u32,
    pub(crate) id: String,
    pub(crate) token: String,
}

/// The devices of a run.
#[derive(Debug, Clone)]
pub struct Fleet {
    pub(crate) accounts: Vec<Account>,
}

/// What the system answers to whoever provisions a device.
#[derive(Deserialize)]
struct Provisioned {
    token: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Fleet {
    /// Provisions the devices. One that is there already is given a new token.
    ///
    /// # Errors
    /// When the system refuses one, or does not answer.
    pub async fn provision(settings: &Settings) -> anyhow::Result<Self> {
        let Settings { host, seed, devices, .. } = settings;
        let numbers: Vec<u32> = (0..*devices).collect();
        let (mut accounts, mut provisioning) = (Vec::new(), JoinSet::new());
        let (tell, mut told) = tokio::sync::mpsc::channel(numbers.len().max(1));
        for share in shares(&numbers) {
            let (host, share, seed, tell) = (host.clone(), share.to_vec(), *seed, tell.clone());
            provisioning.spawn(async move {
                let mut connection = host.connect();
                for number in share {
                    let account = Account::provision(&host, &mut connection, seed, number).await?;
                    tell.send(account).await.context("nobody listens")?;
                }
                anyhow::Ok(())
            });
        }
        drop(tell);
        while let Some(account) = told.recv().await {
            accounts.push(account);
            rewrite("provisioned", accounts.len(), numbers.len());
        }
        while let Some(share) = provisioning.join_next().await {
            share.context("provisioning panicked")??;
        }
        accounts.sort_by_key(|account| account.number);
        Ok(Self { accounts })
    }

    /// What will be wrong with them, in the shape that `iot-detect` reads: for each the file that would have its series.
    pub fn labels(&self, settings: &Settings) -> String {
        let windows = |faults: Vec<Fault>| -> Vec<[String; 2]> {
            faults.iter().map(|fault| [time(fault.from_ms), time(fault.to_ms)]).collect()
        };
        let labels: serde_json::Map<_, _> = self
            .accounts
            .iter()
            .map(|account| (format!("{}.csv", account.id), json!(windows(account.device(settings).faults()))))
            .collect();
        format!("{:#}\n", serde_json::Value::from(labels))
    }
}

impl Account {
    async fn provision(host: &Host, connection: &mut Connection, seed: u32, number: u32) -> anyhow::Result<Self> {
        let id = format!("d-{seed}-{number:04}");
        let name = format!("simulated device {number} of seed {seed}");
        let request = host.post("/devices", &json!({"id": id, "name": name}));
        let answer = match connection.ask(&request).await? {
            (status, body) if status.is_success() => body,
            // It is there from another run, or from a request whose answer was lost.
            (StatusCode::CONFLICT, _) => {
                connection.insist(&host.post(&format!("/devices/{id}/token"), &json!({}))).await?
            }
            (status, body) => {
                anyhow::bail!("{id} cannot be provisioned: {status}: {}", String::from_utf8_lossy(&body))
            }
        };
        // Without the cause's text, which may quote the answer.
        let Ok(Provisioned { token }) = serde_json::from_slice(&answer) else {
            anyhow::bail!("the answer to the provisioning of {id} cannot be read")
        };
        Ok(Self { number, id, token })
    }

    /// What it reads.
    pub(crate) fn device(&self, settings: &Settings) -> Device {
        Device::new(u64::from(settings.seed), self.number, settings.plan)
    }
}

#[cfg(test)]
mod tests {
    use bowline_testkit::{Answer, HttpServer};

    use super::*;

    fn settings(server: &HttpServer) -> Settings {
        let settings = Settings::new(server.addr(), server.addr(), "operator").unwrap();
        Settings { seed: 7, devices: 3, ..settings }
    }

    #[tokio::test]
    async fn devices_that_are_there_get_a_new_token_and_too_many_are_asked_again() {
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let server = HttpServer::start(move |request| {
            assert_eq!(request.headers["x-api-key"], "operator");
            let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
            let (status, token) = match &*request.path {
                "/devices" if asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 => (429, "none"),
                "/devices" if body["id"] == "d-7-0001" => (409, "none"),
                "/devices" => (201, "first"),
                "/devices/d-7-0001/token" => (200, "second"),
                _ => (404, "none"),
            };
            Answer::Status(status, json!({ "token": token }).to_string())
        });
        let fleet = Fleet::provision(&settings(&server)).await.unwrap();
        let found: Vec<_> = fleet.accounts.iter().map(|account| (&*account.id, &*account.token)).collect();
        assert_eq!(found, [("d-7-0000", "first"), ("d-7-0001", "second"), ("d-7-0002", "first")]);
        assert!(!format!("{fleet:?}").contains("second"));
    }

    #[tokio::test]
    async fn who_may_not_provision_is_told_so() {
        let server = HttpServer::start(|_| Answer::Status(403, "not yours".to_owned()));
        let error = Fleet::provision(&settings(&server)).await.unwrap_err();
        assert!(error.to_string().contains("cannot be provisioned: 403 Forbidden: not yours"), "{error:#}");
    }

    #[tokio::test]
    async fn labels_are_read_by_the_detector() {
        let server = HttpServer::start(|_| Answer::Status(201, r#"{"token":"t"}"#.to_owned()));
        let settings = settings(&server);
        let fleet = Fleet::provision(&settings).await.unwrap();
        let labels = fleet.labels(&settings);
        for account in &fleet.accounts {
            let read = iot_detect::labels::read(&labels, &format!("folder/{}.csv", account.id)).unwrap();
            let faults = account.device(&settings).faults();
            assert_eq!(faults.len(), 1, "the first comes after four days");
            let seconds = |at_ms: i64| at_ms / 1000;
            assert_eq!(seconds(read[0].from_ms), seconds(faults[0].from_ms));
            assert_eq!(seconds(read[0].to_ms), seconds(faults[0].to_ms));
        }
    }
}
