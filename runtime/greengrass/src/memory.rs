//! A small heap. glibc gives each thread an arena of its own, so that many threads allocate without waiting for each other; a role
//! has a handful that mostly wait, and pays half a megabyte for it. glibc reads the limit when a program starts, so the program starts
//! itself once more with it: same process id, a few milliseconds. Other C libraries know nothing of it and lose nothing.

use std::{ffi::OsString, os::unix::process::CommandExt, process::Command};

const LIMIT: &str = "MALLOC_ARENA_MAX";

/// Starts this program anew with one arena, unless somebody has said how many there should be. Components do not inherit it: they
/// get an environment of their own.
pub fn one_arena(arguments: &[OsString]) {
    if std::env::var_os(LIMIT).is_some() {
        return;
    }
    // By its real name, which is what people see in a list of processes.
    let (Ok(program), Some((name, rest))) = (std::env::current_exe(), arguments.split_first())
    else {
        return;
    };
    // Returns only when it could not be done, for example because the file was replaced meanwhile: then it goes on as it is.
    let _ = Command::new(program)
        .arg0(name)
        .args(rest)
        .env(LIMIT, "1")
        .exec();
}
