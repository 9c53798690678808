//! The front from outside: real sockets and handshakes on loopback, with certificates made for each test.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod alpn;
mod caps;
mod certificates;
mod configuration;
mod rotation;
mod stopping;
mod support;
mod websocket;
