//! Who may connect to Mosquitto, by its dynamic security plugin.
//!
//! A device has a client and a role of its own, as version 2.0 of the plugin knows no patterns. The plugin hashes passwords
//! itself, so it is given the token. This service is the client `service` with the role `admin`, as
//! `mosquitto_ctrl dynsec init FILE service PASSWORD` makes it.

use bowline::runtime::time;
use bytes::Bytes;
use iot_mqtt::topic::{self, Said};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    device::{Credential, Due, Message, Token},
    link::{ANSWERED_WITHIN, Connection, Lost},
    publish,
};

/// Where it is told.
const QUESTIONS: &str = "$CONTROL/dynamic-security/v1";

/// Where it answers.
pub(crate) const ANSWERS: &str = "$CONTROL/dynamic-security/v1/response";

/// What it says of something that is as it is to be already.
const DONE_BEFORE: [&str; 2] = ["Client not found", "ACL with this topic already exists"];

/// The plugin over a connection.
#[derive(Debug)]
pub(crate) struct Plugin<'a> {
    connection: &'a Connection,
    answers: mpsc::Receiver<Bytes>,
    /// What was asked last.
    number: u64,
}

#[derive(Debug, Deserialize)]
struct Answer {
    responses: Vec<Response>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    correlation_data: Option<String>,
    error: Option<String>,
}

impl<'a> Plugin<'a> {
    pub(crate) fn new(connection: &'a Connection, answers: mpsc::Receiver<Bytes>) -> Self {
        Self { connection, answers, number: 0 }
    }

    /// Lets services tell devices something. They may hear all as it is. The first time Mosquitto ends the connections of
    /// all that have the role, also this one.
    pub(crate) async fn let_services_in(&mut self) -> Result<(), Lost> {
        let rule = json!({
            "command": "addRoleACL", "rolename": "admin", "acltype": "publishClientSend", "topic": "devices/#",
            "priority": 0, "allow": true,
        });
        self.carry_out(vec![rule]).await
    }

    /// Tells it what is its own of that.
    pub(crate) async fn tell(&mut self, due: &Due) -> Result<(), Lost> {
        match due {
            Due::Account { credential: Credential { token: Some(token), .. }, device, .. } => {
                self.carry_out(admission(device, token)).await
            }
            Due::Removal { device } => {
                let role = json!({"command": "deleteRole", "rolename": device});
                self.carry_out(vec![role, json!({"command": "deleteClient", "username": device})]).await
            }
            // A token that is not there any more it has been given, or the device needs a new one, which was said.
            Due::Account { .. } | Due::Desired { .. } | Due::Command { .. } => Ok(()),
        }
    }

    /// Carries out commands, the last of which says whether all went well: it needs what the others make.
    async fn carry_out(&mut self, mut commands: Vec<Value>) -> Result<(), Lost> {
        self.number += 1;
        let number = self.number.to_string();
        for command in &mut commands {
            command["correlationData"] = json!(number);
        }
        let payload = serde_json::to_vec(&json!({"commands": commands}))?;
        let question = Message { topic: QUESTIONS.to_owned(), payload, is_retained: false };
        publish::publish_all(self.connection, vec![question]).await?;
        let last = time::timeout(ANSWERED_WITHIN, self.answer(&number)).await.map_err(|_| Lost::Silent)??;
        match last.error {
            Some(error) if !DONE_BEFORE.contains(&error.as_str()) => Err(Lost::Refused(error)),
            _ => Ok(()),
        }
    }

    /// The last of the answers to that question.
    async fn answer(&mut self, number: &str) -> Result<Response, Lost> {
        loop {
            let payload = self.answers.recv().await.ok_or(Lost::Over)?;
            let answer: Answer = serde_json::from_slice(&payload)?;
            // What was asked over a connection before does not count.
            let last = answer.responses.into_iter().last();
            if let Some(last) = last.filter(|last| last.correlation_data.as_deref() == Some(number)) {
                return Ok(last);
            }
        }
    }
}

/// What lets a device in, and ends the connection it has with an older token.
fn admission(device: &str, token: &Token) -> Vec<Value> {
    let rule = |kind: &str, topic: String| json!({"acltype": kind, "topic": topic, "priority": 0, "allow": true});
    let said = Said::ALL.map(|said| rule("publishClientSend", said.topic(device)));
    let told = [topic::desired(device), topic::commands(device)].map(|topic| rule("subscribeLiteral", topic));
    let rules: Vec<Value> = said.into_iter().chain(told).collect();
    vec![
        json!({"command": "createRole", "rolename": device, "acls": rules}),
        json!({"command": "createClient", "username": device, "clientid": device, "roles": [{"rolename": device}]}),
        json!({"command": "setClientPassword", "username": device, "password": token.0}),
    ]
}
