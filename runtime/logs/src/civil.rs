//! UTC calendar time without a date library: the proleptic Gregorian calendar, days counted from 1970-01-01
//! in 400-year eras that begin on 1 March (so that a leap day is the last of its year).

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A moment in UTC, to the millisecond. Displays as `2026-01-02T03:04:05.678Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Utc {
    /// Four digits in practice.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59: Unix time has no leap seconds.
    pub second: u8,
    /// 0 to 999.
    pub millisecond: u16,
}

const DAY_MS: i64 = 86_400_000;

impl Utc {
    /// The calendar time of a number of milliseconds since 1970 (negative: before).
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // every cast follows a remainder in range
    pub fn from_epoch_ms(ms: i64) -> Self {
        let (days, of_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
        let shifted = days + 719_468; // days from 0000-03-01
        let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as u8,
            day: (day_of_year - (153 * march_month + 2) / 5 + 1) as u8,
            hour: (of_day / 3_600_000) as u8,
            minute: (of_day / 60_000 % 60) as u8,
            second: (of_day / 1000 % 60) as u8,
            millisecond: (of_day % 1000) as u16,
        }
    }

    /// Milliseconds since 1970.
    pub fn epoch_ms(self) -> i64 {
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = self.year - i64::from(month <= 2);
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + of_era - 719_468;
        days * DAY_MS
            + i64::from(self.hour) * 3_600_000
            + i64::from(self.minute) * 60_000
            + i64::from(self.second) * 1000
            + i64::from(self.millisecond)
    }

    /// Reads `2026-01-02`, `2026-01-02T03:04`, `2026-01-02T03:04:05`, with an optional fraction, and `Z`, `+01:00`,
    /// `+0100` or nothing (UTC) behind. A space may stand for the `T`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = Cursor(text.trim());
        let year = rest.number(4)?;
        rest.skip('-')?;
        let month = rest.number(2)?;
        rest.skip('-')?;
        let day = rest.number(2)?;
        let (mut hour, mut minute, mut second, mut millisecond, mut offset) = (0, 0, 0, 0, 0);
        if rest
            .skip('T')
            .or_else(|| rest.skip('t'))
            .or_else(|| rest.skip(' '))
            .is_some()
        {
            hour = rest.number(2)?;
            rest.skip(':')?;
            minute = rest.number(2)?;
            if rest.skip(':').is_some() {
                second = rest.number(2)?;
                if rest.skip('.').or_else(|| rest.skip(',')).is_some() {
                    millisecond = rest.fraction_ms()?;
                }
            }
            offset = rest.offset_minutes()?;
        }
        if !rest.0.is_empty()
            || !(1..=12).contains(&month)
            || hour > 23
            || minute > 59
            || second > 59
        {
            return None;
        }
        let plain = Self {
            year,
            month: u8::try_from(month).ok()?,
            day: u8::try_from(day).ok()?,
            hour: u8::try_from(hour).ok()?,
            minute: u8::try_from(minute).ok()?,
            second: u8::try_from(second).ok()?,
            millisecond: u16::try_from(millisecond).ok()?,
        };
        // A day that the month does not have comes back as another one.
        if Self::from_epoch_ms(plain.epoch_ms()) != plain {
            return None;
        }
        Some(Self::from_epoch_ms(plain.epoch_ms() - offset * 60_000))
    }
}

impl From<SystemTime> for Utc {
    fn from(time: SystemTime) -> Self {
        let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX / 2);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self::from_epoch_ms(ms(after)),
            Err(before) => Self::from_epoch_ms(-ms(before.duration())),
        }
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
            millisecond,
        } = self;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z"
        )
    }
}

/// What is left to read of a text.
struct Cursor<'a>(&'a str);

impl Cursor<'_> {
    fn skip(&mut self, c: char) -> Option<()> {
        self.0 = self.0.strip_prefix(c)?;
        Some(())
    }

    fn number(&mut self, digits: usize) -> Option<i64> {
        let head = self
            .0
            .get(..digits)
            .filter(|h| h.bytes().all(|b| b.is_ascii_digit()))?;
        self.0 = &self.0[digits..];
        head.parse().ok()
    }

    fn fraction_ms(&mut self) -> Option<i64> {
        let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (head, rest) = self.0.split_at(digits);
        self.0 = rest;
        (digits > 0)
            .then(|| format!("{head:0<3}")[..3].parse().ok())
            .flatten()
    }

    fn offset_minutes(&mut self) -> Option<i64> {
        if self.0.is_empty() || self.skip('Z').or_else(|| self.skip('z')).is_some() {
            return Some(0);
        }
        let sign = if self.skip('+').is_some() {
            1
        } else {
            self.skip('-').map(|()| -1)?
        };
        let hours = self.number(2)?;
        let _ = self.skip(':');
        let minutes = if self.0.is_empty() {
            0
        } else {
            self.number(2)?
        };
        (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_moments_read_and_print() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_767_323_045_678, "2026-01-02T03:04:05.678Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Utc::from_epoch_ms(ms).to_string(), text);
            assert_eq!(Utc::parse(text).unwrap().epoch_ms(), ms);
        }
    }

    #[test]
    fn short_forms_and_offsets_are_read() {
        let ms = |text| Utc::parse(text).map(Utc::epoch_ms);
        assert_eq!(ms("2026-01-02"), ms("2026-01-02T00:00:00Z"));
        assert_eq!(ms("2026-01-02 03:04"), ms("2026-01-02T03:04:00.000Z"));
        assert_eq!(
            ms("2026-01-02T03:04:05.5+02:00"),
            ms("2026-01-02T01:04:05.500Z")
        );
        assert_eq!(ms("2026-01-02T03:04:05-0130"), ms("2026-01-02T04:34:05Z"));
        for bad in [
            "",
            "2026",
            "2026-02-30",
            "2026-13-01",
            "2026-01-02T25:00",
            "2026-01-02T03:04:05.Z",
            "2026-01-02x",
            "é026-01-02",
        ] {
            assert_eq!(ms(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_moment_survives_printing_and_reading(ms in -62_135_596_800_000_i64..253_402_300_799_999) {
            let utc = Utc::from_epoch_ms(ms);
            prop_assert_eq!(utc.epoch_ms(), ms);
            prop_assert_eq!(Utc::parse(&utc.to_string()), Some(utc));
        }
    }
}
