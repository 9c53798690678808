//! A whole connection of a stranger's bytes to the engine, beside an honest client: the engine closes the one and serves
//! the other.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mqtt::{
    engine::{Engine, Options, Peer},
    policy::AllowAll,
};
use std::{cell::RefCell, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    runtime::{Builder, Runtime},
    time::timeout,
};

const CONNECT_311: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c";
const CONNECT_5: &[u8] = b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\x05\x11\0\0\0\x09\0\x01c";

/// Connects, subscribes to t, publishes to t, leaves.
const HONEST: &[u8] = b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04good\x82\x06\0\x01\0\x01t\0\x30\x09\0\x01thonest\xc0\0";

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(Builder::new_current_thread().enable_all().build().unwrap());
}

// The first byte says after which CONNECT the rest comes (or none), and in pieces of which size.
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
    let (mut honest, other) = duplex(1 << 12);
    let serving = tokio::spawn(engine.connection(other, Peer::default()));
    honest.write_all(HONEST).await.unwrap();
    until(&mut honest, b"honest").await;

    let (stranger, other) = duplex(1 << 12);
    let strange = tokio::spawn(engine.connection(other, Peer::default()));
    let (mut read, mut write) = tokio::io::split(stranger);
    let reading = tokio::spawn(async move { read.read_to_end(&mut Vec::new()).await });
    let start = match control & 3 {
        1 => CONNECT_311,
        2 | 3 => CONNECT_5,
        _ => &[],
    };
    let _ = write.write_all(start).await;
    for piece in bytes.chunks(usize::from(control >> 2) * 16 + 1) {
        if write.write_all(piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let _ = write.shutdown().await;
    let _ = reading.await.unwrap();
    strange.await.expect("the stranger's task panicked");

    honest.write_all(b"\x30\x09\0\x01thonest").await.expect("the honest client is still served");
    until(&mut honest, b"honest").await;
    honest.write_all(b"\xe0\0").await.unwrap();
    serving.await.expect("the honest client's task panicked");
    assert_eq!(engine.metrics().connections, 0);
    engine.stop(Duration::ZERO).await;
}

/// Reads until these bytes have come.
async fn until(stream: &mut DuplexStream, wanted: &[u8]) {
    let mut seen = Vec::new();
    while !seen.windows(wanted.len()).any(|window| window == wanted) {
        assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0, "the honest client was cut");
    }
}
