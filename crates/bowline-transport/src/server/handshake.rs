//! What comes before HTTP on an accepted connection: the TLS handshake.

use std::{io, sync::Arc, time::Duration};

use bowline_runtime::time;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use crate::{
    body::BoxError,
    buffer,
    socket::Socket,
    stream::{Stream, Tls},
    tls::{self, ServerTls},
};

/// The first byte of every handshake: the type of its record (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 0x16;

/// What a client that was refused may still send, and for how long, before it is hung up on.
const LINGER: (usize, Duration) = (64 * 1024, Duration::from_secs(1));

/// A connection over which HTTP is spoken.
pub(super) struct Taken {
    pub(super) stream: Stream,
    /// What was read of it already.
    pub(super) prefix: BytesMut,
    /// The client's certificate, verified.
    pub(super) certificate: Option<Arc<[u8]>>,
}

/// A handshake that failed.
pub(super) struct Failed {
    pub(super) error: BoxError,
    socket: Socket,
}

/// Takes a connection, without a time limit; `None` when it ends before its first byte.
pub(super) async fn take(mut socket: Socket, tls: &ServerTls) -> Option<Result<Taken, Failed>> {
    let mut first = [0];
    if !matches!(socket.read(&mut first).await, Ok(1)) {
        return None;
    }
    if tls.takes_plain && first[0] != HANDSHAKE {
        let mut prefix = buffer::take();
        prefix.extend_from_slice(&first);
        return Some(Ok(Taken { stream: Stream::Plain(socket), prefix, certificate: None }));
    }
    let mut fed = Ok(1);
    let accept = TlsAcceptor::from(Arc::clone(&tls.config)).accept_with(socket, |session| {
        // One byte is no record: there is nothing yet to process.
        fed = session.read_tls(&mut &first[..]);
    });
    debug_assert!(matches!(fed, Ok(1)), "a fresh session has room");
    Some(match accept.into_fallible().await {
        Ok(stream) => {
            let tls = Tls::new(stream, tls.until.as_ref());
            let certificate = tls.peer_certificate().map(Arc::from);
            Ok(Taken { stream: Stream::Tls(tls), prefix: BytesMut::new(), certificate })
        }
        Err((error, socket)) => Err(Failed { error: tls::cause(error), socket }),
    })
}

impl Failed {
    /// Hangs up so that the client learns why: what it has sent meanwhile is read, since a socket that is
    /// closed with bytes unread takes back what it said.
    pub(super) async fn hang_up(mut self) {
        let linger = async {
            self.socket.shutdown().await?;
            let mut left = LINGER.0;
            let mut buffer = buffer::take();
            while left > 0 {
                buffer.clear();
                match self.socket.read_buf(&mut buffer).await? {
                    0 => break,
                    count => left = left.saturating_sub(count),
                }
            }
            buffer::give(buffer);
            io::Result::Ok(())
        };
        // Whatever comes of it, it ends here.
        drop(time::timeout(LINGER.1, linger).await);
    }
}
