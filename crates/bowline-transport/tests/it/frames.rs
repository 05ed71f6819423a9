//! A server of raw HTTP/2 frames that does as it is told.

use std::{future::Future, net::SocketAddr};

use bowline_model::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::peer::{Peer, TcpStream};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// `GET http://a/` as a block of headers; and of `/wait`.
pub(crate) const GET: &[u8] = &[0x82, 0x84, 0x86, 0x01, 1, b'a'];
pub(crate) const GET_WAIT: [u8; 12] = [0x82, 0x86, 0x01, 1, b'a', 0x04, 5, b'/', b'w', b'a', b'i', b't'];

/// One connection, after its preface.
pub(crate) struct Frames(TcpStream);

/// A peer that runs a script on each connection; it gets the number of the connection, from 1.
pub(crate) fn serving<F: Future<Output = ()> + 'static>(script: impl Fn(usize, Frames) -> F + Clone + 'static) -> Peer {
    let mut peer = Peer::new(move |number, stream| {
        let script = script.clone();
        async move {
            if let Some(frames) = Frames::accept(stream).await {
                script(number, frames).await;
            }
        }
    });
    peer.endpoint.protocol = Protocol::Http2;
    peer
}

impl Frames {
    pub(crate) async fn accept(mut stream: TcpStream) -> Option<Self> {
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface).await.ok()?;
        assert_eq!(preface, PREFACE);
        let mut frames = Self(stream);
        frames.write(SETTINGS, 0, 0, &[]).await;
        Some(frames)
    }

    /// The client's end of a connection to a server.
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        let mut frames = Self(stream);
        frames.write(SETTINGS, 0, 0, &[]).await;
        frames
    }

    /// The head of the next frame, and what is in it; `None` when the connection ends.
    async fn read(&mut self) -> Option<([u8; 9], Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((head, payload))
    }

    /// The kind of the next frame; `None` when the connection ends.
    pub(crate) async fn frame(&mut self) -> Option<u8> {
        let (head, _) = self.read().await?;
        Some(head[3])
    }

    /// Passes over frames up to one of that kind; `None` when the connection ends before.
    pub(crate) async fn until(&mut self, kind: u8) -> Option<()> {
        while self.frame().await? != kind {}
        Some(())
    }

    /// What is in the next frame of that kind; `None` when the connection ends before.
    pub(crate) async fn payload(&mut self, kind: u8) -> Option<Vec<u8>> {
        loop {
            let (head, payload) = self.read().await?;
            if head[3] == kind {
                return Some(payload);
            }
        }
    }

    /// The stream of the next request; its body is passed over. `None` when the connection ends.
    pub(crate) async fn request(&mut self) -> Option<u32> {
        loop {
            let (head, _) = self.read().await?;
            if head[3] == HEADERS {
                return Some(u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
            }
        }
    }

    pub(crate) async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.write_raw(&frame).await;
    }

    /// Writes whole frames.
    pub(crate) async fn write_raw(&mut self, frames: &[u8]) {
        // A client that left need not be told.
        self.0.write_all(frames).await.ok();
    }

    /// Answers 200 without a body.
    pub(crate) async fn answer(&mut self, stream: u32) {
        const END_STREAM_AND_HEADERS: u8 = 5;
        const STATUS_200: u8 = 0x88;
        self.write(HEADERS, END_STREAM_AND_HEADERS, stream, &[STATUS_200]).await;
    }
}
