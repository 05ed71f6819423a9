//! Free ports for instances.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use bowline_runtime::net;

/// How often the system is asked for a port that no other instance was given.
const ATTEMPTS_MAX: u32 = 64;

/// The ports that instances have now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ports(Arc<Mutex<BTreeSet<u16>>>);

/// A port of one instance; given back when dropped.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    ports: Ports,
}

impl Ports {
    /// A loopback port where nobody listens.
    ///
    /// It is found by listening there for a moment. Between that and the instance's own listening
    /// anybody else may take it; an instance that fails of that is started again with another.
    pub(crate) fn take(&self) -> io::Result<Port> {
        for _ in 0..ATTEMPTS_MAX {
            let number = net::listen((Ipv4Addr::LOCALHOST, 0).into())?.local_addr()?.port();
            if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number) {
                return Ok(Port { number, ports: self.clone() });
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }
}

impl Port {
    /// Its number.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// Where the instance listens.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.ports.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}
