//! The few D-Bus calls made to systemd and logind, as their interfaces define them (org.freedesktop.systemd1(5),
//! org.freedesktop.login1(5)).

use zbus::{Fd, OwnedObjectPath, Result, Variant, proxy};

/// A property of a new unit.
pub(super) type Property<'a> = (&'a str, Variant<'a>);
/// Name, description, load state, active state, sub-state, followed unit, path, and its job's id, type and path.
pub(super) type Listed = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

#[proxy(
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1",
    interface = "org.freedesktop.systemd1.Manager"
)]
pub(super) trait Manager {
    fn subscribe(&self) -> Result<()>;
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[Property<'_>],
        auxiliary: &[(&str, Vec<Property<'_>>)],
    ) -> Result<OwnedObjectPath>;
    fn start_unit(&self, name: &str, mode: &str) -> Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> Result<OwnedObjectPath>;
    fn kill_unit(&self, name: &str, whom: &str, signal: i32) -> Result<()>;
    fn reset_failed_unit(&self, name: &str) -> Result<()>;
    fn freeze_unit(&self, name: &str) -> Result<()>;
    fn thaw_unit(&self, name: &str) -> Result<()>;
    fn set_unit_properties(
        &self,
        name: &str,
        runtime: bool,
        properties: &[Property<'_>],
    ) -> Result<()>;
    fn list_units_by_patterns(&self, states: &[&str], patterns: &[&str]) -> Result<Vec<Listed>>;
    fn get_unit(&self, name: &str) -> Result<OwnedObjectPath>;
    fn get_unit_processes(&self, name: &str) -> Result<Vec<(String, u32, String)>>;
    #[zbus(name = "GetUnitByPID")]
    fn get_unit_by_pid(&self, pid: u32) -> Result<OwnedObjectPath>;
    /// Since systemd 253. Path, name and invocation id.
    #[zbus(name = "GetUnitByPIDFD")]
    fn get_unit_by_pidfd(&self, pidfd: Fd<'_>) -> Result<(OwnedObjectPath, String, Vec<u8>)>;
    #[zbus(signal)]
    fn job_removed(
        &self,
        id: u32,
        job: OwnedObjectPath,
        unit: String,
        result: String,
    ) -> Result<()>;
}

#[proxy(
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1",
    interface = "org.freedesktop.login1.Manager"
)]
pub(super) trait Login {
    fn reboot(&self, interactive: bool) -> Result<()>;
}
