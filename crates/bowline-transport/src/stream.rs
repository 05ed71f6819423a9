//! A byte stream to or from somebody: a socket, in the clear or under TLS.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bowline_runtime::time::Instant;
use tokio::io::{AsyncBufRead as _, AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{
    TlsStream,
    rustls::{self, AlertDescription},
};

use crate::{socket::Socket, tls::Until};

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(Socket),
    Tls(Box<Tls>),
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub(crate) struct Tls {
    stream: TlsStream<Socket>,
    /// Whether the peer has sent any data: then it has taken our certificate.
    is_taken: bool,
    /// Until when it is used for requests that are new.
    until: Option<Instant>,
}

impl Stream {
    /// Ready when there is something to read, or the end, or a failure. In the clear without a system call;
    /// under TLS what arrived is decrypted, and what is none of ours (a session ticket) is done with.
    pub(crate) fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_read_ready(cx),
            Self::Tls(tls) => tls.poll_fill(cx).map_ok(drop),
        }
    }

    /// Whether something came in while nobody asked: the end, or bytes that belong to no request.
    pub(crate) fn is_stale(&mut self) -> bool {
        self.poll_read_ready(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Until when it is used for requests that are new; none: as long as it stands.
    pub(crate) fn until(&self) -> Option<Instant> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.until,
        }
    }

    /// Whether what is written may wait in here until it is flushed.
    pub(crate) fn is_buffering(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl Tls {
    pub(crate) fn new(stream: impl Into<TlsStream<Socket>>, until: Option<&Until>) -> Box<Self> {
        let mut tls = Box::new(Self { stream: stream.into(), is_taken: false, until: None });
        tls.until = tls.peer_certificate().zip(until).and_then(|(certificate, until)| until(certificate));
        tls
    }

    /// The certificate that the peer has shown, in DER.
    pub(crate) fn peer_certificate(&self) -> Option<&[u8]> {
        self.stream.get_ref().1.peer_certificates()?.first().map(AsRef::as_ref)
    }

    /// What was decrypted and not yet read; empty at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let is_taken = self.is_taken;
        match ready!(Pin::new(&mut self.stream).poll_fill_buf(cx)) {
            Ok(data) => {
                self.is_taken |= !data.is_empty();
                Poll::Ready(Ok(data))
            }
            Err(error) if !is_taken && is_refusal(&error) => Poll::Ready(Err(io::Error::new(
                REFUSED,
                error.into_inner().unwrap_or_else(|| REFUSED.to_string().into()),
            ))),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Whether decrypted data waits, or the end was told.
    fn is_filled(&self) -> bool {
        !self.stream.get_ref().1.wants_read()
    }
}

/// The kind of error with which reading fails where the peer did not take our certificate.
///
/// By TLS 1.3 we learn of it only after the handshake, as we already send: the kind outlives what
/// HTTP/2 makes of errors. No read of a socket fails with it.
const REFUSED: io::ErrorKind = io::ErrorKind::PermissionDenied;

/// Whether the peer did not take our certificate, so that it has not read what we sent.
pub(crate) fn is_refused(error: &io::Error) -> bool {
    error.kind() == REFUSED
}

fn is_refusal(error: &io::Error) -> bool {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked, CertificateUnknown,
        DecryptError, HandshakeFailure, UnknownCA, UnsupportedCertificate,
    };
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    let Some(rustls::Error::AlertReceived(alert)) = cause else { return false };
    matches!(
        alert,
        AccessDenied
            | BadCertificate
            | CertificateExpired
            | CertificateRequired
            | CertificateRevoked
            | CertificateUnknown
            | DecryptError
            | HandshakeFailure
            | UnknownCA
            | UnsupportedCertificate
    )
}

impl AsyncRead for Tls {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let data = ready!(this.poll_fill(cx))?;
            let count = data.len().min(buf.remaining());
            buf.put_slice(&data[..count]);
            Pin::new(&mut this.stream).consume(count);
            // Only what is decrypted already is added: it can neither fail nor wait.
            if count == 0 || buf.remaining() == 0 || !this.is_filled() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_shutdown(cx),
        }
    }
}
