//! The tables.
//!
//! `mqtt_queue` is keyed by (session, seq), so that a session's queue is read and trimmed in order. A small message for one
//! session stands in its row; a large or shared one stands once in `mqtt_message`, and goes when the index of references
//! shows no row that needs it.
//!
//! ```text
//! packet   0 queued; 1..=65535 sent under this identifier; 65536 + identifier released (PUBREC has come)
//! flags    bits 0-1 QoS, bit 2 retain (of the delivery); of subscriptions also bit 3 no local, bits 4-5 retain handling
//! expires, away_since, will_due   milliseconds since 1970
//! ```

use ::store::Schema;

/// The store's part of a database file.
pub const SCHEMA: Schema = Schema {
    name: "mqtt",
    migrations: &["
        CREATE TABLE mqtt_session (
            id INTEGER PRIMARY KEY,
            client_id TEXT NOT NULL,
            expiry INTEGER NOT NULL,
            away_since INTEGER,
            will BLOB,
            will_due INTEGER
        ) STRICT;
        CREATE TABLE mqtt_subscription (
            session INTEGER NOT NULL,
            filter TEXT NOT NULL,
            flags INTEGER NOT NULL,
            identifier INTEGER,
            PRIMARY KEY (session, filter)
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE mqtt_queue (
            session INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            packet INTEGER NOT NULL,
            flags INTEGER NOT NULL,
            size INTEGER NOT NULL,
            expires INTEGER,
            message INTEGER,
            body BLOB,
            identifiers BLOB,
            PRIMARY KEY (session, seq)
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX mqtt_queue_message ON mqtt_queue (message) WHERE message IS NOT NULL;
        CREATE INDEX mqtt_queue_expires ON mqtt_queue (expires) WHERE expires IS NOT NULL AND packet = 0;
        CREATE TABLE mqtt_message (
            id INTEGER PRIMARY KEY,
            body BLOB NOT NULL
        ) STRICT;
        CREATE TABLE mqtt_received (
            session INTEGER NOT NULL,
            packet INTEGER NOT NULL,
            PRIMARY KEY (session, packet)
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE mqtt_retained (
            topic TEXT PRIMARY KEY NOT NULL,
            flags INTEGER NOT NULL,
            expires INTEGER,
            body BLOB NOT NULL
        ) WITHOUT ROWID, STRICT;
    "],
};
