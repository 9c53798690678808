//! What a back end does for [`Local`](super::local::Local): only what differs between systemd and own processes. Everything it is given
//! has been checked.

use super::{LaunchError, Started, Unit, UnitId, UnitStatus, users::Account};
use async_trait::async_trait;
use model::{ComponentName, SystemLimits};
use std::time::Duration;

/// Starts and ends processes. The methods keep the promises of [`Launcher`](super::Launcher)'s of the same name.
#[async_trait]
pub(super) trait Backend: Send + Sync {
    async fn start(&self, unit: Unit, account: Account) -> Result<Started, LaunchError>;
    async fn stop(&self, id: &UnitId, grace: Duration) -> Result<(), LaunchError>;
    async fn freeze(&self, component: &ComponentName) -> Result<(), LaunchError>;
    async fn thaw(&self, component: &ComponentName) -> Result<(), LaunchError>;
    async fn inspect(&self) -> Result<Vec<UnitStatus>, LaunchError>;
    async fn owner(&self, pid: u32) -> Result<Option<ComponentName>, LaunchError>;
    async fn limits(
        &self,
        component: &ComponentName,
        limits: &SystemLimits,
    ) -> Result<(), LaunchError>;
    async fn reboot(&self) -> Result<(), LaunchError>;
    /// The launcher ends. Units that cannot outlive it are stopped.
    async fn close(&self, grace: Duration);
}
