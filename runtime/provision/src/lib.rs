//! First boot: from a claim certificate that a batch of devices shares to a thing, a key and a certificate of its own.
//!
//! [`machine`] decides, [`Provisioning`] acts through [`Ports`] and keeps the state in a file before each act, so that
//! a power cut at any step costs at most a certificate that is never activated, and never a second thing.
//!
//! The settings of the classic nucleus's `aws.greengrass.FleetProvisioningByClaim` and of nucleus lite's
//! `aws.greengrass.fleet_provisioning` are both understood: [`Settings`].

mod backoff;
pub mod machine;
mod parameters;
mod ports;
mod settings;
pub mod sources;
mod stored;
mod task;
pub mod wire;

pub use backoff::Backoff;
pub use parameters::{ParameterError, Source, resolve};
pub use ports::{Identity, PortError, Ports, Reply};
pub use settings::{KeyFrom, PORT, Settings, SettingsError};
pub use stored::{Failed, Record, read};
pub use task::{ProvisionError, Provisioning};
