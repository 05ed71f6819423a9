//! The simulator's sockets, on the host whose code is running.
//!
//! They have of tokio's methods those that our code uses. There are no Unix sockets: their types are here
//! so that the same code compiles, and opening one fails.

use std::{
    convert::Infallible,
    fmt, io,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::{ToSocketAddrs, net};

/// One of the listeners of a port, before the core that serves it adopts it.
pub type SharedListener = TcpListener;

/// Opens a listener that owns its port.
///
/// The simulator knows the unspecified address (reached by every host) and loopback.
///
/// # Errors
/// `AddrInUse` when anybody listens there.
///
/// # Panics
/// Outside a simulation.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    net::TcpListener::bind(addr).now_or_never().expect("the simulator binds without waiting").map(TcpListener)
}

/// Opens the one listener that a simulated host, which has one core, has on a port.
///
/// # Errors
/// As [`listen`].
///
/// # Panics
/// Outside a simulation.
pub fn listen_shared(addr: SocketAddr, _count: usize) -> io::Result<Vec<SharedListener>> {
    Ok(vec![listen(addr)?])
}

/// Makes a shared listener this core's.
#[expect(clippy::unnecessary_wraps, reason = "the real one can fail")]
pub fn adopt(listener: SharedListener) -> io::Result<TcpListener> {
    Ok(listener)
}

/// Opens no Unix listener.
///
/// # Errors
/// Always.
pub fn listen_unix(_path: &Path) -> io::Result<UnixListener> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A listener of the simulator, as tokio's.
pub struct TcpListener(net::TcpListener);

impl TcpListener {
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, addr) = self.0.accept().await?;
        Ok((TcpStream(Mutex::new(stream)), addr))
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TcpListener").field(&self.local_addr()).finish()
    }
}

/// A connection of the simulator, as tokio's.
///
/// The lock is never contended: it lets a shared reference look whether there is something to read.
#[derive(Debug)]
pub struct TcpStream(Mutex<net::TcpStream>);

impl TcpStream {
    pub async fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<Self> {
        Ok(Self(Mutex::new(net::TcpStream::connect(addr).await?)))
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.with(|stream| stream.local_addr())
    }

    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.with(|stream| stream.peer_addr())
    }

    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.with(|stream| stream.set_nodelay(nodelay))
    }

    /// Ready when there is something to read, or the end.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut byte = [0; 1];
        self.with(|stream| stream.poll_peek(cx, &mut ReadBuf::new(&mut byte))).map_ok(drop)
    }

    fn with<T>(&self, look: impl FnOnce(&mut net::TcpStream) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn pin(self: Pin<&mut Self>) -> Pin<&mut net::TcpStream> {
        Pin::new(self.get_mut().0.get_mut().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.pin().poll_read(cx, buf)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.pin().poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pin().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pin().poll_shutdown(cx)
    }
}

/// A Unix listener, which nobody can have.
#[derive(Debug)]
pub struct UnixListener(Infallible);

impl UnixListener {
    #[expect(clippy::unused_async, reason = "the real one waits")]
    pub async fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        match self.0 {}
    }
}

/// A Unix connection, which nobody can have.
#[derive(Debug)]
pub struct UnixStream(Infallible);

impl UnixStream {
    #[expect(clippy::unused_async, reason = "the real one waits")]
    pub async fn connect<P: AsRef<Path>>(_path: P) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn poll_read_ready(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}

impl AsyncRead for UnixStream {
    fn poll_read(self: Pin<&mut Self>, _cx: &mut Context<'_>, _buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}

impl AsyncWrite for UnixStream {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, _buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.0 {}
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0 {}
    }
}
