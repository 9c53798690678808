//! `greengrass broker` as a program: its file, its signals, its clients.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod client;
mod files;
mod mosquitto;
mod program;
mod serving;
