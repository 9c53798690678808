//! A stranger's bytes inside WebSocket frames, or in their place: the front's stream and the engine end the connection.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt::{
    engine::{Engine, Options, Peer},
    front::WebSocket,
    policy::AllowAll,
};
use std::{cell::RefCell, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    runtime::{Builder, Runtime},
    time::timeout,
};

const CONNECT: &[u8] = b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\x05\x11\0\0\0\x09\0\x01c";

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(Builder::new_current_thread().enable_all().build().unwrap());
}

// The first byte: bit 0 for raw bytes in place of frames, bit 1 for text frames, the rest is the size of the pieces.
fuzz_target!(|bytes: &[u8]| {
    RUNTIME.with_borrow_mut(|runtime| {
        runtime.block_on(async {
            timeout(Duration::from_secs(5), one(bytes)).await.expect("a connection that does not end");
        });
    });
});

async fn one(bytes: &[u8]) {
    let Some((&control, bytes)) = bytes.split_first() else { return };
    let options = Options { max_packet_size: 1 << 16, max_total_queued_bytes: 1 << 20, ..Options::default() };
    let engine = Engine::start(options, Arc::new(AllowAll), None).await.unwrap();
    let (stranger, other) = duplex(1 << 12);
    let serving = tokio::spawn({
        let engine = engine.clone();
        async move { engine.connection(WebSocket::upgraded(other, 1 << 16).await, Peer::default()).await }
    });
    let (mut read, mut write) = tokio::io::split(stranger);
    let reading = tokio::spawn(async move { read.read_to_end(&mut Vec::new()).await });
    let _ = write.write_all(&frame(2, CONNECT)).await;
    for piece in bytes.chunks(usize::from(control >> 2) + 1) {
        let piece = if control & 1 == 1 { piece.to_vec() } else { frame(2 - (control >> 1 & 1), piece) };
        if write.write_all(&piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let _ = write.shutdown().await;
    let _ = reading.await.unwrap();
    serving.await.expect("the stranger's task panicked");
    assert_eq!(engine.metrics().connections, 0);
    engine.stop(Duration::ZERO).await;
}

/// A whole frame, masked with zeroes; `bytes` are fewer than 126.
fn frame(opcode: u8, bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode, 0x80 | u8::try_from(bytes.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(bytes);
    frame
}
