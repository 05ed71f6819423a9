//! Bodies of requests: read whole and decompressed, within the bound of one and the bound of all.

use std::{io::Read as _, pin::pin, sync::Arc};

use bowline_model::Code;
use bowline_transport::BoxError;
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Failure, Message};

/// How much is decompressed at a time, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// What all requests at hand may take together.
#[derive(Debug)]
pub(super) struct Budget(Arc<Semaphore>);

/// What one of them takes, until it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    budget: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Budget {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes_max)))
    }

    pub(super) fn hold(&self) -> Held {
        Held { budget: Arc::clone(&self.0), permit: None }
    }
}

impl Held {
    fn more(&mut self, bytes: usize) -> Result<(), Failure> {
        let no_room = |_| Failure::later("too much is being read already: send the request again later");
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.budget).try_acquire_many_owned(bytes).map_err(no_room)?;
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
        Ok(())
    }
}

/// Reads a body.
pub(super) async fn read<B>(body: B, bytes_max: usize, mut held: Held) -> Result<(Bytes, Held), Failure>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    let mut body = pin!(body);
    let (mut first, mut whole) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::new(Code::Cancelled, "the request broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + whole.len() + data.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        held.more(data.len())?;
        // What comes in one piece is not copied.
        if first.is_empty() && whole.is_empty() {
            first = data;
            continue;
        }
        whole.extend_from_slice(&std::mem::take(&mut first));
        whole.extend_from_slice(&data);
    }
    Ok((if whole.is_empty() { first } else { whole.freeze() }, held))
}

impl Message {
    /// What was sent, decompressed.
    pub(super) fn plain(self, bytes_max: usize) -> Result<(Bytes, Held), Failure> {
        let Self { bytes, is_gzip, mut held } = self;
        if !is_gzip {
            return if bytes.len() > bytes_max { Err(too_large(bytes_max)) } else { Ok((bytes, held)) };
        }
        let mut decoder = MultiGzDecoder::new(&bytes[..]);
        let mut plain = Vec::new();
        loop {
            held.more(CHUNK_BYTES)?;
            let mut chunk = decoder.by_ref().take(CHUNK_BYTES as u64);
            let count = chunk.read_to_end(&mut plain);
            let count = count.map_err(|_| Failure::new(Code::InvalidArgument, "the body is not gzip, as it says"))?;
            if plain.len() > bytes_max {
                return Err(too_large(bytes_max));
            }
            if count < CHUNK_BYTES {
                return Ok((plain.into(), held));
            }
        }
    }
}

fn too_large(bytes_max: usize) -> Failure {
    Failure::new(Code::PayloadTooLarge, format!("a request has at most {bytes_max} bytes: send fewer spans at once"))
}
