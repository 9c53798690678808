//! The names of log files: `<component>.log` is written to, `<component>_YYYY_MM_DD_HH_N.log` are the rotated ones.
//!
//! A component whose name would collide with the runtime's own log, or that ends like a rotated file, gets a `~` behind its
//! name: no component name may hold that character, so nothing else can be called that.

use crate::Utc;
use model::ComponentName;
use std::{io, path::Path, sync::Arc};

/// The runtime's own log: `greengrass.log`.
pub const RUNTIME: &str = "greengrass";

/// The part of a file's name before `.log`.
pub fn stem(component: &ComponentName) -> Arc<str> {
    let name = component.as_str();
    if name.eq_ignore_ascii_case(RUNTIME) || split_rotated(name).is_some() {
        format!("{name}~").into()
    } else {
        name.into()
    }
}

/// When a file was rotated, to the hour, and its place within that hour. Ordered by age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Stamp {
    /// `YYYYMMDDHH` as a number.
    hour: u32,
    /// Counts from 0 in each hour.
    index: u32,
}

impl Stamp {
    /// The stamp for a file rotated now, after all that exist: also when the clock has gone back, as it does on devices without a battery.
    pub fn next(now: Utc, newest: Option<Self>) -> Self {
        let date = u32::try_from(now.year.clamp(0, 9999)).unwrap_or(0) * 100 + u32::from(now.month);
        let hour = (date % 1_000_000 * 100 + u32::from(now.day)) * 100 + u32::from(now.hour);
        match newest {
            Some(newest) if newest.hour >= hour => Self {
                hour: newest.hour,
                index: newest.index.saturating_add(1),
            },
            _ => Self { hour, index: 0 },
        }
    }

    /// The rotated file's name.
    pub fn file_name(self, stem: &str) -> String {
        let Self { hour: h, index } = self;
        format!(
            "{stem}_{:04}_{:02}_{:02}_{:02}_{index}.log",
            h / 1_000_000,
            h / 10_000 % 100,
            h / 100 % 100,
            h % 100
        )
    }
}

/// Splits `stem_2026_01_02_03_4` into stem and stamp.
fn split_rotated(name: &str) -> Option<(&str, Stamp)> {
    let mut parts = name.rsplitn(6, '_');
    let mut number = |digits: std::ops::RangeInclusive<usize>| {
        let part = parts.next()?;
        (digits.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse::<u32>().ok())
            .flatten()
    };
    let index = number(1..=9)?;
    let (hour, day, month, year) = (
        number(2..=2)?,
        number(2..=2)?,
        number(2..=2)?,
        number(4..=4)?,
    );
    let stem = parts.next().filter(|stem| !stem.is_empty())?;
    // The year 4294 is the end of what fits.
    let hour = year
        .checked_mul(1_000_000)?
        .checked_add(month * 10_000 + day * 100 + hour)?;
    Some((stem, Stamp { hour, index }))
}

/// Splits a file name into the stem and, for a rotated file, its stamp; `None` when it is no log file.
pub fn split(file_name: &str) -> Option<(&str, Option<Stamp>)> {
    let name = file_name
        .strip_suffix(".log")
        .filter(|name| !name.is_empty())?;
    Some(split_rotated(name).map_or((name, None), |(stem, stamp)| (stem, Some(stamp))))
}

/// The rotated files of a stem, oldest first, with their sizes.
pub fn rotated(folder: &Path, stem: &str) -> io::Result<Vec<(Stamp, u64)>> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let file = file?;
        if let Some((of, Some(stamp))) = file.file_name().to_str().and_then(split)
            && of == stem
        {
            found.push((stamp, file.metadata().map_or(0, |m| m.len())));
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Utc {
        Utc::parse(text).unwrap()
    }

    #[test]
    fn rotated_names_are_greengrass_s_and_sort_by_age() {
        let first = Stamp::next(at("2026-01-02T03:04"), None);
        let second = Stamp::next(at("2026-01-02T03:59"), Some(first));
        let third = Stamp::next(at("2026-01-02T04:00"), Some(second));
        let after_the_clock_went_back = Stamp::next(at("1970-01-01T00:00"), Some(third));
        let names: Vec<_> = [first, second, third, after_the_clock_went_back]
            .iter()
            .map(|s| s.file_name("com.A"))
            .collect();
        assert_eq!(
            names,
            [
                "com.A_2026_01_02_03_0.log",
                "com.A_2026_01_02_03_1.log",
                "com.A_2026_01_02_04_0.log",
                "com.A_2026_01_02_04_1.log"
            ]
        );
        assert!(first < second && second < third && third < after_the_clock_went_back);
        assert_eq!(split(&names[1]), Some(("com.A", Some(second))));
    }

    #[test]
    fn no_component_can_write_into_another_log() {
        let stem = |name| stem(&ComponentName::new(name).unwrap()).to_string();
        assert_eq!(stem("com.example.A"), "com.example.A");
        assert_eq!(stem("greengrass"), "greengrass~");
        assert_eq!(stem("Greengrass"), "Greengrass~");
        assert_eq!(stem("com.A_2026_01_02_03_0"), "com.A_2026_01_02_03_0~");
        assert_eq!(
            split("com.A_2026_01_02_03_0~.log"),
            Some(("com.A_2026_01_02_03_0~", None))
        );
        assert_eq!(split("com.A_B_2026_01_02_03_0.log").unwrap().0, "com.A_B");
    }

    #[test]
    fn other_files_are_not_log_files() {
        assert_eq!(split("notes.txt"), None);
        assert_eq!(split(".log"), None);
        assert_eq!(
            split("_2026_01_02_03_0.log"),
            Some(("_2026_01_02_03_0", None))
        );
    }
}
