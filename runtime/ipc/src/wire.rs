//! Reading frames from a socket, and writing single ones.

use crate::frame::{self, Decoder, Frame, FrameError, Message};
use bytes::BytesMut;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What an idle connection keeps for reading.
const READ_BUFFER: usize = 8 * 1024;
/// Room is made for a large frame in steps of at most this, as its bytes really come.
const GROWTH: usize = 1024 * 1024;

/// Why nothing more can be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Waits for the head of the next frame and tells how long it is; `None` when the other end has closed. Cancel-safe.
pub async fn length(
    source: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    decoder: Decoder,
) -> Result<Option<usize>, ReadError> {
    loop {
        if let Some(length) = decoder.length(buffer)? {
            return Ok(Some(length));
        }
        if !fill(source, buffer, 0).await? {
            return Ok(None);
        }
    }
}

/// The next frame; `None` when the other end has closed. Bytes of the following frames stay in the buffer. Cancel-safe.
pub async fn read(
    source: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    decoder: Decoder,
) -> Result<Option<Frame>, ReadError> {
    loop {
        if let Some(frame) = decoder.decode(buffer)? {
            return Ok(Some(frame));
        }
        let wanted = decoder.length(buffer)?.unwrap_or(0);
        if !fill(source, buffer, wanted).await? {
            return Ok(None);
        }
    }
}

/// Reads what is there, with room for a frame of `wanted` bytes; `false` at the end.
async fn fill(
    source: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    wanted: usize,
) -> io::Result<bool> {
    if buffer.is_empty() && buffer.capacity() > 8 * READ_BUFFER {
        // A large frame has passed: give its room back.
        *buffer = BytesMut::new();
    }
    if buffer.capacity() - buffer.len() < READ_BUFFER / 4 {
        let missing = wanted.saturating_sub(buffer.len());
        buffer.reserve(missing.clamp(READ_BUFFER, GROWTH));
    }
    Ok(source.read_buf(buffer).await? > 0)
}

/// Writes one frame.
pub async fn write(target: &mut (impl AsyncWrite + Unpin), message: &Message) -> io::Result<()> {
    let mut bytes = BytesMut::with_capacity(message.length());
    frame::encode(message, &mut bytes);
    target.write_all(&bytes).await
}
