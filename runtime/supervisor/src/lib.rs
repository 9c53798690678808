//! Component lifecycle: state machine, launcher role, systemd and process back ends.

pub mod launcher;
