//! Transient systemd units.
use super::{Event, LaunchError, Options, backend::Backend};
use tokio::sync::broadcast;
pub(super) struct Systemd;
impl Systemd {
    pub(super) async fn open(
        _options: Options,
        _events: broadcast::Sender<Event>,
    ) -> Result<super::process::Processes, LaunchError> {
        Err(LaunchError::Unsupported("systemd".into()))
    }
}
#[allow(unused_imports)]
use Backend as _;
