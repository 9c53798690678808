//! The loop that all modes share: many connections on one thread, woken by the kernel.

use super::{
    frame::Frame,
    link::{Came, Link, Target},
};
use anyhow::{Context, ensure};
use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use std::{io, os::fd::RawFd, time::Duration};

/// At once from one connection, so that none starves the others.
const READ_LIMIT: usize = 1 << 18;
/// The shared read buffer: more than a frame that is sent, and than what is read at once.
const SCRATCH: usize = 1 << 20;
const TIMER: Token = Token(usize::MAX);

/// What a mode does with what arrives.
pub trait Handler {
    /// A frame has come; what is appended to `out` goes back.
    fn frame(&mut self, link: usize, frame: Frame<'_>, out: &mut Vec<u8>) -> anyhow::Result<()>;

    /// The server has ended this connection, or the network has.
    fn ended(&mut self, link: usize, why: &io::Error) -> anyhow::Result<()>;
}

/// The connections, each known by its number.
pub struct Turns {
    poll: Poll,
    events: Events,
    links: Vec<Option<Link>>,
    scratch: Vec<u8>,
    /// Those that had more to read than the limit.
    unfinished: Vec<usize>,
    /// Those that a mode has closed to its ears: their bytes stay in the kernel.
    deaf: Vec<bool>,
}

impl Turns {
    /// No connections yet.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            links: Vec::new(),
            scratch: vec![0; SCRATCH],
            unfinished: Vec::new(),
            deaf: Vec::new(),
        })
    }

    /// Wakes the loop, too, whenever this descriptor is readable.
    pub fn watch(&self, descriptor: RawFd) -> io::Result<()> {
        self.poll
            .registry()
            .register(&mut SourceFd(&descriptor), TIMER, Interest::READABLE)
    }

    /// Begins a connection; its number is free again once it is closed or has ended.
    pub fn open(&mut self, to: &Target) -> anyhow::Result<usize> {
        let number = match self.links.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.links.push(None);
                self.deaf.push(false);
                self.links.len() - 1
            }
        };
        let mut link = Link::open(to)?;
        self.poll.registry().register(
            link.socket(),
            Token(number),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        self.links[number] = Some(link);
        self.deaf[number] = false;
        Ok(number)
    }

    /// Drops a connection without a word.
    pub fn close(&mut self, number: usize) {
        self.links[number] = None;
    }

    /// How many there are.
    pub fn alive(&self) -> usize {
        self.links.iter().flatten().count()
    }

    /// Where to append what is to be sent; [`Self::flush`] sends it. Nothing of a closed connection.
    pub fn out(&mut self, number: usize) -> Option<&mut Vec<u8>> {
        self.links[number].as_mut().map(Link::out)
    }

    /// Bytes that the kernel has not taken yet.
    pub fn waiting(&self, number: usize) -> usize {
        self.links[number].as_ref().map_or(0, Link::waiting)
    }

    /// Sends what can be sent now.
    pub fn flush(&mut self, number: usize, handler: &mut impl Handler) -> anyhow::Result<()> {
        let Some(link) = &mut self.links[number] else {
            return Ok(());
        };
        if let Err(error) = link.flush() {
            self.links[number] = None;
            handler.ended(number, &error)?;
        }
        Ok(())
    }

    /// Stops reading from a connection, or reads again.
    pub fn deafen(&mut self, number: usize, deaf: bool) {
        self.deaf[number] = deaf;
        if !deaf {
            self.unfinished.push(number);
        }
    }

    /// Waits for something to happen, at most `patience`, and handles all of it.
    pub fn turn(&mut self, patience: Duration, handler: &mut impl Handler) -> anyhow::Result<()> {
        let mut ready = std::mem::take(&mut self.unfinished);
        let patience = if ready.is_empty() {
            patience
        } else {
            Duration::ZERO
        };
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other.context("waiting for the network")?,
        }
        ready.extend(
            self.events
                .iter()
                .map(mio::event::Event::token)
                .filter(|token| *token != TIMER)
                .map(|token| token.0),
        );
        for number in ready {
            self.serve(number, handler)?;
        }
        Ok(())
    }

    fn serve(&mut self, number: usize, handler: &mut impl Handler) -> anyhow::Result<()> {
        self.flush(number, handler)?;
        if self.deaf[number] {
            return Ok(());
        }
        let mut total = 0;
        while let Some(link) = &mut self.links[number] {
            let kept = link.resume(&mut self.scratch);
            ensure!(kept < SCRATCH, "a frame of more than {SCRATCH} bytes");
            let space = READ_LIMIT.min(SCRATCH - kept);
            let came = match link.read(&mut self.scratch[kept..kept + space]) {
                Ok(Came::Bytes(count)) => count,
                Ok(Came::Nothing) => {
                    link.keep(&self.scratch[..kept]);
                    break;
                }
                Ok(Came::End) => {
                    self.links[number] = None;
                    return handler.ended(number, &io::ErrorKind::UnexpectedEof.into());
                }
                Err(error) => {
                    self.links[number] = None;
                    return handler.ended(number, &error);
                }
            };
            let mut rest = &self.scratch[..kept + came];
            while let Some((frame, used)) = Frame::first_of(rest)? {
                handler.frame(number, frame, link.out())?;
                rest = &rest[used..];
            }
            link.keep(rest);
            total += came;
            if total >= READ_LIMIT {
                self.unfinished.push(number);
                break;
            }
        }
        self.flush(number, handler)
    }
}
