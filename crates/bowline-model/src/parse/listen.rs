//! Where services listen for what is not HTTP: `listen = ["mqtt:1883"]`.

use std::net::{Ipv4Addr, SocketAddr};

use super::{
    table::Table,
    value::{Value, in_ticks, once_by},
};
use crate::{name::ServiceName, system::Listener};

/// What a listener is written as.
const RULE: &str = "write NAME:PORT, or NAME:IP:PORT where others than this machine are to reach it: \"mqtt:1883\"";

/// The listeners of the services read so far, with whose they are.
#[derive(Debug, Default)]
pub(super) struct Taken<'a>(Vec<(SocketAddr, &'a str)>);

impl<'a> Taken<'a> {
    /// The listeners of the next service, none of which anybody else may have.
    pub(super) fn read(&mut self, table: &Table<'a>, service: &'a str, replicas: u32) -> Vec<Listener> {
        let mut listeners: Vec<Listener> = Vec::new();
        for value in table.list("listen") {
            let Some(listener) = value.parsed("where something listens", listener) else { continue };
            self.note(value, &listener, service);
            once_by(value, listener, &mut listeners, |one, other| one.name == other.name);
        }
        if let Some(value) = table.get("listen").filter(|_| !listeners.is_empty()) {
            check_alone(value, table, replicas);
        }
        listeners
    }

    fn note(&mut self, value: Value<'_>, listener: &Listener, service: &'a str) {
        if let Some((_, owner)) = self.0.iter().find(|(addr, _)| is_shared(*addr, listener.addr)) {
            let message = format!("port {} is {}'s already", listener.addr.port(), in_ticks(owner));
            value.fault(message, "choose another one: two cannot listen on it");
        }
        self.0.push((listener.addr, service));
    }
}

/// A port is one process's.
fn check_alone(value: Value<'_>, table: &Table<'_>, replicas: u32) {
    if replicas > 1 {
        value.fault_key("`listen` of a service with several instances", "leave `replicas` at 1: a port is one's");
    }
    if table.get("versions").is_some() {
        value.fault_key("`listen` of a service with `versions`", "remove one of them: a port is one release's");
    }
}

fn listener(text: &str) -> Result<Listener, &'static str> {
    let (name, place) = text.split_once(':').ok_or(RULE)?;
    let name = ServiceName::new(name).map_err(|invalid| invalid.rule)?;
    let on_loopback = place.parse().map(|port: u16| (Ipv4Addr::LOCALHOST, port).into());
    let addr: SocketAddr = on_loopback.or_else(|_| place.parse()).map_err(|_| RULE)?;
    if addr.port() == 0 {
        return Err("write the port that clients are told: 0 would be another one each time");
    }
    Ok(Listener { name, addr })
}

/// Whether only one of two can listen.
fn is_shared(one: SocketAddr, other: SocketAddr) -> bool {
    let is_every = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (is_every || one.ip() == other.ip())
}
