//! Renewal: a new key, a certificate for it, proof that it connects, then the switch. The old identity stays until then.
//!
//! `machine` decides, [`Renewal`] acts and keeps the state in a file before each act. After a power loss it goes on
//! where it was: every act may be done twice.
//!
//! ```text
//!           due             key made          certificate          it connects         switched         old removed
//!   Idle ───────► MakingKey ───────► Requesting ──────────► Proving ───────────► Switching ───────► Retiring ──► Idle
//!                                        │ refused              │ does not connect                              (new)
//!                                        └────────► Discarding ◄┘
//!                                                       └ new removed ► Idle (old)
//! ```

mod driver;
mod machine;
mod schedule;
mod stored;

pub use driver::{Driver, Keys, Outcome, PortError, Ports, Renewal, RenewalError};
pub use machine::{Action, Event, Identity, Refused, State};
pub use schedule::Schedule;
