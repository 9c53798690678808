//! Keeping secrets of this process out of core dumps.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use std::io;

/// Forbids core dumps of this process for good: PINs, sealed secrets and keys from files are in its memory. It also
/// stops other processes of the same user from reading that memory.
///
/// For programs to call when they start. (A size limit alone does not stop a core pattern that is a pipe.)
pub fn forbid_core_dumps() -> io::Result<()> {
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
