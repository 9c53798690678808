//! How a role ended, and the exit code that says so. The codes are those of Greengrass's own loader.

use std::process::ExitCode;

/// How a role ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It was asked to.
    Stopped,
    /// A deployment wants the runtime started anew.
    Restart,
    /// A deployment wants the device started anew.
    Reboot,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Stopped => Self::SUCCESS,
            Exit::Restart => Self::from(100),
            Exit::Reboot => Self::from(101),
        }
    }
}
