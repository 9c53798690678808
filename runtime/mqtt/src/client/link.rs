//! One connection: buffers, framing, keep-alive. Everything that ends with the connection.

use super::{
    Cause, Connected, Options, Reason,
    net::Stream,
    wire::{self, Alias, Encoder, PublishFrame, Received, WireError},
};
use crate::{
    Message,
    packet::{PacketId, Version},
};
use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;
use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, timeout},
};

/// One read; on the stack, so that an idle connection holds no buffer.
const CHUNK: usize = 8 * 1024;
/// A write buffer larger than this is given back once it is empty.
const KEPT: usize = 8 * 1024;

/// An open connection.
pub struct Link {
    stream: Box<dyn Stream>,
    input: BytesMut,
    /// To be written.
    pub out: BytesMut,
    pub encoder: Encoder,
    pub granted: Arc<Connected>,
    pub since: Instant,
    version: Version,
    largest: u32,
    aliases: Aliases,
    ping: Duration,
    last_sent: Instant,
    last_received: Instant,
    pinged: Option<Instant>,
    paused: bool,
    broken: Option<io::Error>,
}

impl Link {
    /// CONNECT and CONNACK.
    pub async fn open(
        stream: Box<dyn Stream>,
        options: &Options,
        clean: bool,
    ) -> Result<Self, Cause> {
        let now = Instant::now();
        let mut link = Self {
            stream,
            input: BytesMut::new(),
            out: BytesMut::new(),
            encoder: Encoder::new(options.version),
            granted: Arc::new(wire::ConnAck::default().granted(options)),
            since: now,
            version: options.version,
            largest: options.maximum_packet_size.max(1),
            aliases: Aliases::default(),
            ping: options.timeouts.ping,
            last_sent: now,
            last_received: now,
            pinged: None,
            paused: false,
            broken: None,
        };
        link.encoder.connect(options, clean, &mut link.out);
        let limit = options.timeouts.connack;
        let answer = timeout(limit, link.first()).await;
        let ack = answer.unwrap_or(Err(Cause::ConnAckTimeout(limit)))?;
        let reason = ack.reason.unwrap_or(Reason::UNSPECIFIED);
        if reason != Reason::SUCCESS {
            return Err(Cause::Refused {
                reason,
                text: ack.reason_string,
                server_reference: ack.server_reference,
            });
        }
        let mut granted = ack.granted(options);
        // A server that was told to forget the session cannot have kept it.
        granted.session_present &= !clean;
        link.aliases.most = granted.topic_alias_maximum.min(options.topic_aliases);
        link.granted = Arc::new(granted);
        link.since = Instant::now();
        Ok(link)
    }

    async fn first(&mut self) -> Result<wire::ConnAck, Cause> {
        loop {
            match self.next()? {
                Some(Received::ConnAck(ack)) => return Ok(*ack),
                Some(_) => {
                    return Err(WireError::protocol("something else before CONNACK").into());
                }
                None => self.drive(true).await?,
            }
        }
    }

    /// Writes what there is and reads what comes; resolves when either got on. Cancelling loses nothing.
    pub async fn drive(&mut self, read: bool) -> Result<(), Cause> {
        if read && self.paused {
            // Answers to a PINGREQ may have been waiting all along.
            self.pinged = self.pinged.map(|_| Instant::now());
        }
        self.paused = !read;
        poll_fn(|context| {
            let mut progress = false;
            if self.broken.is_none() {
                match self.poll_write(context) {
                    Ok(wrote) => progress |= wrote,
                    Err(error) => self.broken = Some(error),
                }
            }
            if read || self.broken.is_some() {
                match self.poll_read(context) {
                    Poll::Ready(Ok(0)) => {
                        let cause = self.broken.take().map_or(Cause::Closed, Cause::Io);
                        return Poll::Ready(Err(cause));
                    }
                    Poll::Ready(Ok(_)) => progress = true,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Cause::Io(error))),
                    Poll::Pending => {}
                }
            }
            match self.broken.take() {
                // What the server had said before it closed has been read by now.
                Some(error) if !progress => Poll::Ready(Err(Cause::Io(error))),
                broken => {
                    self.broken = broken;
                    if progress {
                        Poll::Ready(Ok(()))
                    } else {
                        Poll::Pending
                    }
                }
            }
        })
        .await
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let mut wrote = false;
        while !self.out.is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, &self.out) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.out.advance(count);
                    wrote = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        if wrote {
            self.last_sent = Instant::now();
            // TLS and TCP hold nothing back; other streams may.
            if let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_flush(context) {
                return Err(error);
            }
        }
        if self.out.is_empty() && self.out.capacity() > KEPT {
            self.out = BytesMut::new();
        }
        Ok(wrote)
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut chunk = [0; CHUNK];
        let mut buffer = ReadBuf::new(&mut chunk);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) => {
                let bytes = buffer.filled();
                self.input.extend_from_slice(bytes);
                self.last_received = Instant::now();
                if !bytes.is_empty() {
                    self.pinged = None;
                }
                Poll::Ready(Ok(bytes.len()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The next whole packet that was read.
    pub fn next(&mut self) -> Result<Option<Received>, WireError> {
        let Some((header, whole)) = wire::frame_length(&self.input, self.largest)? else {
            return Ok(None);
        };
        if self.input.len() < whole {
            self.input.reserve(whole - self.input.len());
            return Ok(None);
        }
        // A copy of its own: a small message that is kept does not keep a large buffer.
        let frame = Bytes::copy_from_slice(&self.input[..whole]);
        self.input.advance(whole);
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        wire::decode(self.version, &frame, header).map(Some)
    }

    /// Encodes a message. `Err`: its size, larger than the server takes; nothing was added.
    pub fn publish(
        &mut self,
        message: &Message,
        id: Option<PacketId>,
        dup: bool,
    ) -> Result<(), usize> {
        let before = self.out.len();
        let alias = self.aliases.get(&message.topic);
        let frame = PublishFrame { id, dup, alias };
        let now = SystemTime::now();
        self.encoder.publish(message, frame, now, &mut self.out);
        let size = self.out.len() - before;
        if size > usize::try_from(self.granted.maximum_packet_size).unwrap_or(usize::MAX) {
            self.out.truncate(before);
            self.aliases.forget(&message.topic);
            return Err(size);
        }
        Ok(())
    }

    /// Takes back what was encoded after `length`; the message's alias, which the server then does not know, too.
    pub fn take_back(&mut self, length: usize, message: &Message) {
        self.out.truncate(length);
        self.aliases.forget(&message.topic);
    }

    /// When [`Link::tick`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        let keep_alive = self.granted.keep_alive;
        if keep_alive.is_zero() {
            return None;
        }
        match self.pinged {
            // Nothing is read, so nothing can have been answered; the server still wants to hear from us.
            _ if self.paused => Some(self.last_sent + keep_alive),
            Some(pinged) => Some(pinged + self.ping),
            None => Some(self.last_sent.min(self.last_received) + keep_alive),
        }
    }

    /// Sends PINGREQ, or finds that the last one was not answered.
    pub fn tick(&mut self, now: Instant) -> Result<(), Cause> {
        if self.due().is_none_or(|due| due > now) {
            return Ok(());
        }
        if self.pinged.is_some() && !self.paused {
            return Err(Cause::PingTimeout(self.ping));
        }
        Encoder::pingreq(&mut self.out);
        self.pinged = Some(now);
        // Even if it cannot be written yet, one is enough.
        self.last_sent = now;
        Ok(())
    }

    /// DISCONNECT, and the end of TLS and TCP; what cannot be sent within the limit is not.
    pub async fn close(mut self, reason: Reason, limit: Duration) {
        // 3.1.1 has no reasons: a fault is shown by closing without DISCONNECT.
        if self.version == Version::V5 || reason == Reason::SUCCESS {
            self.encoder.disconnect(reason, &mut self.out);
        }
        let closing = async {
            self.stream.write_all(&self.out).await?;
            self.stream.shutdown().await
        };
        // It ends either way.
        let _ = timeout(limit, closing).await;
    }
}

/// Topic aliases given to the server: the most recently used topics have one.
#[derive(Debug, Default)]
struct Aliases {
    most: u16,
    topics: Vec<(Option<ByteString>, u32)>,
    uses: u32,
}

impl Aliases {
    fn get(&mut self, topic: &ByteString) -> Option<Alias> {
        if self.most == 0 {
            return None;
        }
        self.uses = self.uses.wrapping_add(1);
        let found = self
            .topics
            .iter()
            .position(|(t, _)| t.as_ref() == Some(topic));
        let known = found.is_some();
        let at = found.unwrap_or_else(|| {
            if self.topics.len() < self.most.into() {
                self.topics.push((None, 0));
                return self.topics.len() - 1;
            }
            let uses = self.uses;
            let ages = self.topics.iter().enumerate();
            let oldest = ages.max_by_key(|(_, (_, used))| uses.wrapping_sub(*used));
            oldest.map_or(0, |(at, _)| at)
        });
        self.topics[at] = (Some(topic.clone()), self.uses);
        let number = u16::try_from(at + 1).ok()?;
        Some(Alias { number, known })
    }

    fn forget(&mut self, topic: &ByteString) {
        for (known, _) in &mut self.topics {
            if known.as_ref() == Some(topic) {
                *known = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_topic_loses_its_alias() {
        let mut aliases = Aliases {
            most: 2,
            ..Aliases::default()
        };
        let mut get = |topic: &'static str| {
            let alias = aliases.get(&ByteString::from_static(topic)).unwrap();
            (alias.number, alias.known)
        };
        assert_eq!(get("a"), (1, false));
        assert_eq!(get("b"), (2, false));
        assert_eq!(get("a"), (1, true));
        assert_eq!(get("c"), (2, false));
        assert_eq!(get("a"), (1, true));
        assert_eq!(get("b"), (2, false));
    }
}
