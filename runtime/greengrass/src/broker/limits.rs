//! The numbers of the configuration: limits of front, engine and store.

use super::reader::Field;
use mqtt::{
    engine,
    front::Limits,
    store::{self, DropPolicy},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// More than any count in the file may be.
const MANY: usize = 10_000_000;

/// What survives a restart.
#[derive(Clone, Debug)]
pub struct Persistence {
    /// Where; made if it is not there.
    pub folder: PathBuf,
    /// Limits of the queues of persistent sessions.
    pub options: store::Options,
}

/// At least one.
pub fn seconds(field: &Field<'_>) -> Option<Duration> {
    (field.number(1_u32..=u32::MAX)).map(|seconds| Duration::from_secs(seconds.into()))
}

/// `limits`: what the front and the engine allow; what is not said has its default.
pub fn limits(field: Option<Field<'_>>) -> (Limits, engine::Options) {
    let (mut front, mut engine) = (Limits::default(), engine::Options::default());
    let Some(mut keys) = field.and_then(|field| field.map()) else {
        return (front, engine);
    };
    const BYTES: usize = usize::MAX / 2;
    let mut count = |key, most| keys.get(key).and_then(|field| field.number(1..=most));
    if let Some(connections) = count("connections", MANY) {
        front.connections = connections;
        // One address may always have its half, but is never why another gets nothing.
        front.connections_per_address = connections.div_ceil(2);
    }
    let mut set = |key, place: &mut usize, most| *place = count(key, most).unwrap_or(*place);
    set(
        "connectionsPerAddress",
        &mut front.connections_per_address,
        MANY,
    );
    set("handshakes", &mut front.handshakes, MANY);
    set("sessions", &mut engine.max_sessions, MANY);
    set("subscriptions", &mut engine.max_subscriptions, MANY);
    set("queuedMessages", &mut engine.max_queued_messages, MANY);
    set("queuedBytes", &mut engine.max_queued_bytes, BYTES);
    set(
        "totalQueuedBytes",
        &mut engine.max_total_queued_bytes,
        BYTES,
    );
    set("retainedMessages", &mut engine.max_retained_messages, MANY);
    set("retainedBytes", &mut engine.max_retained_bytes, BYTES);
    let mut span = |key, place: &mut Duration| {
        *place = keys.get(key).and_then(|f| seconds(&f)).unwrap_or(*place);
    };
    span("handshakeSeconds", &mut front.handshake_time);
    span("connectSeconds", &mut engine.connect_timeout);
    span("sessionSeconds", &mut engine.max_session_expiry);
    let mut short = |key, place: &mut u16| {
        *place = (keys.get(key).and_then(|f| f.number(1..=u16::MAX))).unwrap_or(*place);
    };
    short("receiveMaximum", &mut engine.receive_maximum);
    short("inflight", &mut engine.max_inflight);
    if let Some(field) = keys.get("keepAliveSeconds") {
        // 0: as long as the client wants.
        let seconds = field.number(0..=u16::MAX);
        engine.max_keep_alive = seconds.map_or(engine.max_keep_alive, |s| (s > 0).then_some(s));
    }
    if let Some(size) = keys
        .get("packetBytes")
        .and_then(|f| f.number(128..=268_435_455))
    {
        engine.max_packet_size = size;
        front.websocket_message = front.websocket_message.max(size as usize + 16);
    }
    keys.finish();
    (front, engine)
}

/// `persistence`.
pub fn persistence(field: &Field<'_>, folder: &Path) -> Option<Persistence> {
    let mut keys = field.map()?;
    let place = keys.need("folder", "where the broker may write");
    let place = place.and_then(|field| field.path(folder));
    let mut options = store::Options::default();
    let mut count = |key| keys.get(key).and_then(|field| field.number(1..=MANY));
    options.session_messages = count("sessionMessages").unwrap_or(options.session_messages);
    options.total_messages = count("totalMessages").unwrap_or(options.total_messages);
    let mut bytes = |key| {
        keys.get(key)
            .and_then(|field| field.number(1..=u64::MAX / 2))
    };
    options.session_bytes = bytes("sessionBytes").unwrap_or(options.session_bytes);
    options.total_bytes = bytes("totalBytes").unwrap_or(options.total_bytes);
    if let Some(field) = keys.get("drop") {
        let words = [
            ("newest", DropPolicy::Newest),
            ("oldest", DropPolicy::Oldest),
        ];
        options.drop = field.word(&words).unwrap_or(options.drop);
    }
    keys.finish();
    Some(Persistence {
        folder: place?,
        options,
    })
}
