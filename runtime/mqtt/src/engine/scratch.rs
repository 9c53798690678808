//! Buffers that belong to a thread, not to a connection: an idle connection holds none.

use bytes::BytesMut;
use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, ReadBuf};

/// Read at once: two TLS records.
const READ: usize = 32 << 10;
/// Write buffers kept by a thread, and the largest worth keeping.
const SPARE: usize = 4;
const LARGEST_SPARE: usize = 128 << 10;

thread_local! {
    static INPUT: RefCell<Box<[u8]>> = RefCell::default();
    static OUTPUT: Cell<Vec<BytesMut>> = const { Cell::new(Vec::new()) };
}

/// Reads what is there and appends it to `input`, which gets just the room it needs. `Ok(0)` is the end of the stream.
pub(crate) fn poll_read<S>(
    stream: &mut S,
    cx: &mut Context<'_>,
    input: &mut BytesMut,
) -> Poll<io::Result<usize>>
where
    S: AsyncRead + Unpin,
{
    INPUT.with(|scratch| {
        let mut taken;
        let mut own;
        // A stream that polls another connection within its own poll would find the buffer taken.
        let scratch: &mut [u8] = match scratch.try_borrow_mut() {
            Ok(borrowed) => {
                taken = borrowed;
                if taken.is_empty() {
                    *taken = vec![0; READ].into_boxed_slice();
                }
                &mut taken
            }
            Err(_) => {
                own = [0; 1024];
                &mut own
            }
        };
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        let read = buffer.filled();
        if input.is_empty() {
            *input = BytesMut::from(read);
        } else {
            let spare = input.capacity() - input.len();
            if spare < read.len() {
                // A large packet comes in many reads: doubling keeps the copying linear.
                input.reserve(read.len().max(input.len()));
            }
            input.extend_from_slice(read);
        }
        Poll::Ready(Ok(read.len()))
    })
}

/// An empty write buffer.
pub(crate) fn take() -> BytesMut {
    let mut spare = OUTPUT.take();
    let buffer = spare.pop().unwrap_or_default();
    OUTPUT.set(spare);
    buffer
}

/// Gives a write buffer back.
pub(crate) fn give(mut buffer: BytesMut) {
    let mut spare = OUTPUT.take();
    if spare.len() < SPARE && (1..=LARGEST_SPARE).contains(&buffer.capacity()) {
        buffer.clear();
        spare.push(buffer);
    }
    OUTPUT.set(spare);
}
