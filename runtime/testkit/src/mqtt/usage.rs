//! What processes use: processor time of this one and of the broker, and the broker's memory.

use anyhow::Context;
use rustix::{
    param::clock_ticks_per_second,
    time::{ClockId, clock_gettime},
};
use std::{fs, time::Duration};

/// The processor time that this process has used.
pub fn own() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanoseconds)
}

/// The processor time that another process has used, all its threads together; counted in ticks, so of use over a second or more.
pub fn of(process: u32) -> anyhow::Result<Duration> {
    let file = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&file).with_context(|| file.clone())?;
    let ticks = ticks(&stat).with_context(|| format!("{file}: no times"))?;
    Ok(Duration::from_secs_f64(
        ticks as f64 / clock_ticks_per_second() as f64,
    ))
}

/// User and system time: the 14th and 15th field, counted from the end of the name, which may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut times = rest.split(' ').skip(11).map(str::parse);
    let (user, system): (u64, u64) = (times.next()?.ok()?, times.next()?.ok()?);
    Some(user + system)
}

/// The memory of another process in bytes, pages that it shares counted in part.
pub fn memory(process: u32) -> anyhow::Result<u64> {
    let file = format!("/proc/{process}/smaps_rollup");
    let text = fs::read_to_string(&file).with_context(|| file.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let size = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let size: u64 = size
        .with_context(|| format!("{file}: no size"))?
        .parse()
        .with_context(|| file.clone())?;
    Ok(size * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_name_with_spaces_and_brackets() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 100 0 0 0 31 11 0 0 20 0 1 0 5 0 0";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        let me = std::process::id();
        assert!(memory(me).unwrap() > 100_000);
        assert!(of(me).is_ok() && own() > Duration::ZERO);
    }
}
