//! Crash points: named places where a test can make the process die, to show that what is on disk then is enough.
//! They exist only with the feature `crash-points`; a product build has none of it.

/// Dies here, as if killed, when `GREENGRASS_CRASH_AT` is `<name>` or `<name>:<n>` and this is the n-th passage.
///
/// Without the feature `crash-points` this does nothing.
#[cfg(feature = "crash-points")]
pub fn crash_point(name: &str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    };
    static PLAN: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let plan = PLAN.get_or_init(|| {
        let text = std::env::var("GREENGRASS_CRASH_AT").ok()?;
        match text.rsplit_once(':') {
            Some((name, n)) if n.parse::<u32>().is_ok() => Some((name.to_owned(), n.parse().ok()?)),
            _ => Some((text, 1)),
        }
    });
    if let Some((at, n)) = plan
        && at == name
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *n
    {
        std::process::abort();
    }
}

/// Does nothing: this build has no crash points.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn crash_point(_name: &str) {}
