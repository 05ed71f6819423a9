//! Whose process is at the other end of a connection within this machine.
//!
//! A port of loopback is everybody's on the machine, and a sidecar's has the identity of its workload behind it.
//! Linux says in `/proc/net/tcp` and `tcp6` whose each socket is.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
    net::{IpAddr, SocketAddr},
};

use bowline_transport::server::Peer;

/// Where the sockets are listed; the second has those that speak IPv4 from a socket of IPv6.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// The most that is read of each: some 100,000 sockets.
const TABLE_BYTES_MAX: u64 = 16 << 20;

/// Whether the other end is a process of the user that this one runs as. Where that cannot be found out it is not.
pub(super) fn is_ours(peer: &Peer) -> bool {
    let Peer { remote: Some(remote), local: Some(local), .. } = peer else { return false };
    let ours = rustix::process::geteuid().as_raw();
    match find(*remote, *local) {
        Ok(Some(owner)) => owner == ours,
        Ok(None) => {
            tracing::warn!(%remote, "local connection refused: the system does not list its other end");
            false
        }
        Err(error) => {
            tracing::warn!(error = %error, "local connection refused: whose it is cannot be read from /proc/net/tcp");
            false
        }
    }
}

/// The user whose socket has these ends, its own first.
fn find(own: SocketAddr, other: SocketAddr) -> io::Result<Option<u32>> {
    for path in TABLES {
        let table = match File::open(path) {
            Ok(table) => BufReader::new(table.take(TABLE_BYTES_MAX)),
            // A machine without IPv6 has no table of it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && path == TABLES[1] => continue,
            Err(error) => return Err(error),
        };
        for line in table.lines() {
            if let Some(owner) = owner(&line?, own, other) {
                return Ok(Some(owner));
            }
        }
    }
    Ok(None)
}

/// The user of a line, if it is of that socket: `0: 0100007F:1F90 0100007F:C350 01 … UID …`.
fn owner(line: &str, own: SocketAddr, other: SocketAddr) -> Option<u32> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let ends = (address(fields.next()?)?, address(fields.next()?)?);
    if ends != (canonical(own), canonical(other)) {
        return None;
    }
    // State, queues, timer and retransmits stand between.
    fields.nth(4)?.parse().ok()
}

/// An address as the kernel writes it: words of 32 bits in the machine's own order, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| {
        let digits = ip.get(at * 8..(at + 1) * 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let ip: IpAddr = match ip.len() {
        8 => word(0)?.into(),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at)?);
            }
            bytes.into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), u16::from_str_radix(port, 16).ok()?))
}

/// The same for an address of IPv4 that is written as one of IPv6.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_line_names_both_ends_and_the_owner() {
        let line = "  12: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 123 1 0 20 4 30 10 -1";
        let (own, other) = (addr("127.0.0.1:50000"), addr("127.0.0.1:8080"));
        assert_eq!(owner(line, own, other), Some(1000));
        assert_eq!(owner(line, other, own), None, "the other end's");
        let mapped = line
            .replace("0100007F:C350", "0000000000000000FFFF00000100007F:C350")
            .replace("0100007F:1F90", "0000000000000000FFFF00000100007F:1F90");
        assert_eq!(owner(&mapped, own, other), Some(1000));
        assert_eq!(address("00000000000000000000000001000000:0050"), Some(addr("[::1]:80")));
        for bad in
            ["", "  sl  local_address rem_address", "0: x:y z:0 01", "1: 0100007F:C350 0100007F:1F90 01 0:0 0:0 0"]
        {
            assert_eq!(owner(bad, own, other), None, "{bad}");
        }
    }

    #[test]
    fn a_connection_of_our_own_is_ours_and_one_that_is_not_there_is_nobodys() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (remote, local) = (client.local_addr().ok(), client.peer_addr().ok());
        assert!(is_ours(&Peer { remote, local, certificate: None }));
        let nobody = Some(addr("127.0.0.1:1"));
        assert!(!is_ours(&Peer { remote: nobody, local, certificate: None }));
        assert!(!is_ours(&Peer::default()), "a Unix socket has no ends");
    }
}
