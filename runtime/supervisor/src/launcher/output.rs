//! What components write. Pipes are read line by line and handed to a [`LineSink`] on a thread of its own, so that a sink that blocks
//! (a full disk, a slow flash) delays neither the launcher nor, for more than a moment, the component.
//!
//! ```text
//! component -> pipe -> Pump (task) -> at most 512 KiB of lines -> thread -> LineSink
//! ```

use super::StepKind;
use model::ComponentName;
use std::{collections::VecDeque, io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};

/// Takes the lines of all components, one at a time, on a thread that may block.
pub trait LineSink: Send + Sync {
    /// One line, without its end. Any bytes; a line longer than 8 KiB comes in pieces.
    fn line(&self, line: &Line<'_>);
}

impl<F: Fn(&Line<'_>) + Send + Sync> LineSink for F {
    fn line(&self, line: &Line<'_>) {
        self(line);
    }
}

/// A sink for those who want none of it.
pub fn discard(_line: &Line<'_>) {}

/// A line and where it came from.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Who wrote it.
    pub component: &'a ComponentName,
    /// In which step.
    pub step: StepKind,
    /// To which of its outputs.
    pub stream: Stream,
    /// What, without the line's end.
    pub bytes: &'a [u8],
}

/// An output of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
    /// Neither: a note of the launcher itself, such as how many lines were lost.
    Note,
}

/// Longest piece of a line.
const MAX_LINE: usize = 8 << 10;
/// Bytes that wait for the sink, of all components together.
const MAX_WAITING: usize = 512 << 10;
/// What a line costs besides its bytes.
const LINE_COST: usize = 64;
/// How long a component waits for a sink that is behind before its lines are dropped.
const PATIENCE: Duration = Duration::from_secs(2);
/// Lines kept for error reports, and bytes of each.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: usize = 512;

struct Waiting {
    component: ComponentName,
    step: StepKind,
    stream: Stream,
    bytes: Vec<u8>,
    /// Its share of what may wait. Notes have none: each pump makes few.
    _room: Option<OwnedSemaphorePermit>,
}

/// The way to the sink's thread, which ends when the last of these is dropped.
#[derive(Clone)]
pub(super) struct Output {
    queue: mpsc::UnboundedSender<Waiting>, // bounded by `room`
    room: Arc<Semaphore>,
}

impl Output {
    pub(super) fn new(sink: Arc<dyn LineSink>) -> io::Result<Self> {
        let (queue, mut lines) = mpsc::unbounded_channel::<Waiting>();
        std::thread::Builder::new()
            .name("component-log".into())
            .spawn(move || {
                while let Some(waiting) = lines.blocking_recv() {
                    let Waiting {
                        component,
                        step,
                        stream,
                        bytes,
                        ..
                    } = &waiting;
                    sink.line(&Line {
                        component,
                        step: *step,
                        stream: *stream,
                        bytes,
                    });
                }
            })?;
        Ok(Self {
            queue,
            room: Arc::new(Semaphore::new(MAX_WAITING)),
        })
    }

    /// Reads a pipe to its end and returns the last lines.
    pub(super) async fn pump(&self, pipe: impl AsyncRead + Unpin, source: Source, tail: Tail) {
        Pump {
            output: self,
            source,
            tail,
            line: Vec::new(),
            dropped: 0,
        }
        .run(pipe)
        .await;
    }
}

/// What a pipe is the output of.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) component: ComponentName,
    pub(super) step: StepKind,
    pub(super) stream: Stream,
}

/// The last lines of a pipe, readable while it is still pumped.
#[derive(Clone, Default)]
pub(super) struct Tail(Arc<std::sync::Mutex<VecDeque<String>>>);

impl Tail {
    fn push(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(&line[..line.len().min(TAIL_BYTES)]).into_owned();
        let mut lines = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(text);
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}

struct Pump<'a> {
    output: &'a Output,
    source: Source,
    tail: Tail,
    line: Vec<u8>,
    dropped: u64,
}

impl Pump<'_> {
    async fn run(mut self, mut pipe: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; MAX_LINE];
        loop {
            match pipe.read(&mut buffer).await {
                Ok(0) => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
                Ok(count) => self.take(&buffer[..count]).await,
            }
        }
        if !self.line.is_empty() {
            self.emit().await;
        }
        self.note_dropped();
    }

    async fn take(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            self.append(&bytes[..end]).await;
            self.emit().await;
            bytes = &bytes[end + 1..];
        }
        self.append(bytes).await;
    }

    async fn append(&mut self, mut bytes: &[u8]) {
        while self.line.len() + bytes.len() > MAX_LINE {
            let (now, later) = bytes.split_at(MAX_LINE - self.line.len());
            self.line.extend_from_slice(now);
            self.emit().await;
            bytes = later;
        }
        self.line.extend_from_slice(bytes);
    }

    async fn emit(&mut self) {
        let mut bytes = std::mem::take(&mut self.line);
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        if self.source.stream == Stream::Stderr {
            self.tail.push(&bytes);
        }
        match self.room(bytes.len() + LINE_COST).await {
            Some(room) => {
                self.note_dropped();
                self.send(self.source.stream, bytes, Some(room));
            }
            None => self.dropped += 1,
        }
    }

    /// Waits for the sink, but once it has proved too slow only looks whether it has caught up.
    async fn room(&self, cost: usize) -> Option<OwnedSemaphorePermit> {
        let room = self.output.room.clone();
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        if self.dropped == 0 {
            timeout(PATIENCE, room.acquire_many_owned(cost))
                .await
                .ok()?
                .ok()
        } else {
            // Half of it must be free again, lest every other line be lost.
            let caught_up = room.available_permits() > MAX_WAITING / 2;
            caught_up
                .then(|| room.try_acquire_many_owned(cost).ok())
                .flatten()
        }
    }

    fn note_dropped(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            let note = format!("{dropped} lines were lost here: the log could not keep up");
            self.send(Stream::Note, note.into_bytes(), None);
        }
    }

    fn send(&self, stream: Stream, bytes: Vec<u8>, room: Option<OwnedSemaphorePermit>) {
        let Source {
            component, step, ..
        } = self.source.clone();
        // Fails only when the thread is gone, with the process.
        let _ = self.output.queue.send(Waiting {
            component,
            step,
            stream,
            bytes,
            _room: room,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Condvar, Mutex};

    type Seen = Arc<Mutex<Vec<(Stream, Vec<u8>)>>>;

    fn source(stream: Stream) -> Source {
        Source {
            component: "a.B".parse().unwrap(),
            step: StepKind::Run,
            stream,
        }
    }

    async fn pumped(input: &[u8], stream: Stream) -> (Vec<(Stream, Vec<u8>)>, Vec<String>) {
        let seen = Seen::default();
        let into = seen.clone();
        let output = Output::new(Arc::new(move |line: &Line<'_>| {
            into.lock()
                .unwrap()
                .push((line.stream, line.bytes.to_vec()));
        }))
        .unwrap();
        let tail = Tail::default();
        output.pump(input, source(stream), tail.clone()).await;
        let room = output.room.clone();
        let _all = room
            .acquire_many(u32::try_from(MAX_WAITING).unwrap())
            .await
            .unwrap(); // everything has been written
        (seen.lock().unwrap().clone(), tail.lines())
    }

    #[tokio::test]
    async fn lines_come_whole_and_binary_junk_does_no_harm() {
        let (seen, _) = pumped(b"one\r\n\ntwo\xff\0\nno end", Stream::Stdout).await;
        let lines: Vec<&[u8]> = seen.iter().map(|(_, bytes)| &bytes[..]).collect();
        assert_eq!(lines, [&b"one"[..], b"", b"two\xff\0", b"no end"]);
    }

    #[tokio::test]
    async fn a_huge_line_comes_in_pieces_and_nothing_is_lost() {
        let input: Vec<u8> = (0..MAX_LINE * 3 + 17)
            .map(|i| b'a' + u8::try_from(i % 26).unwrap())
            .collect();
        let (seen, tail) = pumped(&input, Stream::Stderr).await;
        assert!(seen.iter().all(|(_, bytes)| bytes.len() <= MAX_LINE));
        assert_eq!(
            seen.iter()
                .flat_map(|(_, bytes)| bytes.clone())
                .collect::<Vec<_>>(),
            input
        );
        assert!(tail.iter().all(|line| line.len() <= TAIL_BYTES));
    }

    #[tokio::test]
    async fn the_tail_keeps_the_last_twenty_lines_of_stderr_only() {
        let input: String = (0..100).map(|i| format!("line {i}\n")).collect();
        let (_, tail) = pumped(input.as_bytes(), Stream::Stderr).await;
        assert_eq!(tail.first().unwrap(), "line 80");
        assert_eq!(tail.last().unwrap(), "line 99");
        assert_eq!(
            pumped(input.as_bytes(), Stream::Stdout).await.1,
            Vec::<String>::new()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_hangs_costs_lines_with_a_note_but_never_blocks_the_component() {
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let seen = Seen::default();
        let (into, wait) = (seen.clone(), gate.clone());
        let output = Output::new(Arc::new(move |line: &Line<'_>| {
            let mut open = wait.0.lock().unwrap();
            while !*open {
                open = wait.1.wait(open).unwrap();
            }
            into.lock()
                .unwrap()
                .push((line.stream, line.bytes.to_vec()));
        }))
        .unwrap();
        let line = [b'x'; 1023];
        let flood: Vec<u8> = std::iter::repeat_n([&line[..], b"\n"].concat(), 2000)
            .flatten()
            .collect();
        // The paused clock lets the pump's patience end at once; without dropping, this would never return.
        output
            .pump(&flood[..], source(Stream::Stdout), Tail::default())
            .await;
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        tokio::time::resume();
        let all = output
            .room
            .acquire_many(u32::try_from(MAX_WAITING).unwrap())
            .await
            .unwrap();
        drop(all);
        output
            .pump(&b"after\n"[..], source(Stream::Stdout), Tail::default())
            .await;
        let _ = timeout(Duration::from_secs(5), async {
            while seen.lock().unwrap().last().unwrap().1 != b"after" {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let seen = seen.lock().unwrap();
        let kept = seen
            .iter()
            .filter(|(stream, bytes)| *stream == Stream::Stdout && bytes.len() == 1023)
            .count();
        let noted: usize = seen
            .iter()
            .filter(|(stream, _)| *stream == Stream::Note)
            .map(|(_, note)| {
                String::from_utf8_lossy(note)
                    .split(' ')
                    .next()
                    .unwrap()
                    .parse::<usize>()
                    .unwrap()
            })
            .sum();
        assert!(kept < 600, "{kept}");
        assert_eq!(kept + noted, 2000);
    }
}
