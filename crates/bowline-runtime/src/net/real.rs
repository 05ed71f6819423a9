//! The system's sockets.

use std::{io, net::SocketAddr, path::Path};

pub use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// One of the listeners of a port, before the core that serves it adopts it.
pub type SharedListener = std::net::TcpListener;

/// Connections that wait to be accepted, at most.
const BACKLOG: i32 = 1024;

/// Opens a listener that owns its port.
///
/// # Errors
/// `AddrInUse` when anybody listens there.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(addr)?;
    socket.set_reuse_address(true)?;
    bind(&socket, addr)?;
    TcpListener::from_std(socket.into())
}

/// Opens `count` listeners on one port, which the kernel balances between (`SO_REUSEPORT`).
///
/// A first bind without the option finds out whether the port is taken; port 0 is resolved once.
///
/// # Errors
/// `AddrInUse` when anybody listens there, ourselves included.
pub fn listen_shared(addr: SocketAddr, count: usize) -> io::Result<Vec<SharedListener>> {
    let probe = socket(addr)?;
    probe.set_reuse_address(true)?;
    bind(&probe, addr)?;
    let addr = probe.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    drop(probe);
    (0..count.max(1))
        .map(|_| {
            let socket = socket(addr)?;
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
            bind(&socket, addr)?;
            Ok(socket.into())
        })
        .collect()
}

/// Makes a shared listener this core's.
///
/// # Panics
/// Outside a runtime.
pub fn adopt(listener: SharedListener) -> io::Result<TcpListener> {
    TcpListener::from_std(listener)
}

fn socket(addr: SocketAddr) -> io::Result<socket2::Socket> {
    let socket =
        socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM.nonblocking().cloexec(), None)?;
    Ok(socket)
}

fn bind(socket: &socket2::Socket, addr: SocketAddr) -> io::Result<()> {
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)
}

/// Opens a Unix listener; a socket file left by a dead process is replaced.
///
/// # Errors
/// `AddrInUse` when somebody answers there.
pub fn listen_unix(path: &Path) -> io::Result<UnixListener> {
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
        Err(_) => {}
    }
    UnixListener::bind(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    #[tokio::test]
    async fn a_taken_port_is_found_out_in_spite_of_reuse_port() {
        let shared = listen_shared(local(), 2).unwrap();
        let addr = shared[0].local_addr().unwrap();
        assert_eq!(addr, shared[1].local_addr().unwrap());
        assert_eq!(listen_shared(addr, 2).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(listen(addr).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        let dir = std::env::temp_dir().join(format!("bowline-net-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a.sock");
        let first = listen_unix(&path).unwrap();
        assert_eq!(listen_unix(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        listen_unix(&path).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
