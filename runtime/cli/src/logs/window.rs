//! `--time-window BEGIN,END`: points in time (UTC) or offsets from now; a side left empty is now.

use crate::Failure;
use logs::Utc;

/// A span of time, milliseconds since 1970, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// The first moment.
    pub begin: i64,
    /// The last moment.
    pub end: i64,
}

impl Window {
    /// Reads `BEGIN,END`.
    pub fn parse(text: &str, now: i64) -> Result<Self, Failure> {
        let wrong = |what: &str| {
            Failure::Usage(format!(
                "--time-window {text}: {what}. Write BEGIN,END with times such as 2026-01-31T12:00:00, 2026-01-31 or \
                 12:00:00 (UTC), or offsets such as -2h15min"
            ))
        };
        let (begin, end) = text
            .split_once(',')
            .ok_or_else(|| wrong("there is no comma"))?;
        let side = |side: &str| {
            moment(side.trim(), now).ok_or_else(|| wrong(&format!("{side:?} is no time")))
        };
        let window = Self {
            begin: side(begin)?,
            end: side(end)?,
        };
        if window.begin > window.end {
            return Err(wrong("it ends before it begins"));
        }
        Ok(window)
    }

    /// Whether a moment is inside.
    pub fn holds(&self, time: i64) -> bool {
        (self.begin..=self.end).contains(&time)
    }
}

fn moment(text: &str, now: i64) -> Option<i64> {
    if text.is_empty() {
        return Some(now);
    }
    if let Some(rest) = text.strip_prefix('-') {
        return now.checked_sub(duration(rest)?);
    }
    if let Some(rest) = text.strip_prefix('+') {
        return now.checked_add(duration(rest)?);
    }
    let today = &Utc::from_epoch_ms(now).to_string()[..10];
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let spelled = if digits && text.len() == 8 {
        format!("{}-{}-{}", &text[..4], &text[4..6], &text[6..])
    } else if text.as_bytes().get(2) == Some(&b':') {
        format!("{today}T{text}")
    } else {
        text.to_owned()
    };
    // The classic CLI also takes milliseconds without a point: 12:00:00250.
    Utc::parse(&spelled)
        .or_else(|| Utc::parse(&with_point(&spelled)?))
        .map(Utc::epoch_ms)
}

fn with_point(text: &str) -> Option<String> {
    let at = text
        .len()
        .checked_sub(3)
        .filter(|at| text.is_char_boundary(*at))?;
    Some(format!("{}.{}", &text[..at], &text[at..]))
}

/// `2h15min`, `1day`, `90s` in milliseconds.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest[..digits].parse().ok()?;
        let letters = rest[digits..]
            .bytes()
            .take_while(u8::is_ascii_alphabetic)
            .count();
        let unit = match &rest[digits..digits + letters] {
            "d" | "day" | "days" => 86_400_000,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
            "s" | "sec" | "secs" | "second" | "seconds" => 1000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[digits + letters..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(text: &str) -> Option<(String, String)> {
        let now = Utc::parse("2026-01-02T12:00:00").unwrap().epoch_ms();
        let show = |ms| Utc::from_epoch_ms(ms).to_string();
        Window::parse(text, now)
            .ok()
            .map(|w| (show(w.begin), show(w.end)))
    }

    #[test]
    fn times_and_offsets_of_the_classic_cli_are_understood() {
        for (text, begin, end) in [
            (
                "2026-01-01,2026-01-01T05:00:00",
                "2026-01-01T00:00:00.000Z",
                "2026-01-01T05:00:00.000Z",
            ),
            (
                "20260101,20260102",
                "2026-01-01T00:00:00.000Z",
                "2026-01-02T00:00:00.000Z",
            ),
            (
                "11:00,",
                "2026-01-02T11:00:00.000Z",
                "2026-01-02T12:00:00.000Z",
            ),
            (
                ",+5min",
                "2026-01-02T12:00:00.000Z",
                "2026-01-02T12:05:00.000Z",
            ),
            (
                "-2h15min,-1hr",
                "2026-01-02T09:45:00.000Z",
                "2026-01-02T11:00:00.000Z",
            ),
            (
                "-1day2hours,-30sec",
                "2026-01-01T10:00:00.000Z",
                "2026-01-02T11:59:30.000Z",
            ),
            (
                "2026-01-01T15:30:45.250,",
                "2026-01-01T15:30:45.250Z",
                "2026-01-02T12:00:00.000Z",
            ),
            (
                "2026-01-01T15:30:45250,",
                "2026-01-01T15:30:45.250Z",
                "2026-01-02T12:00:00.000Z",
            ),
            (
                "2026-01-01T15:30:45Z,",
                "2026-01-01T15:30:45.000Z",
                "2026-01-02T12:00:00.000Z",
            ),
        ] {
            assert_eq!(
                window(text),
                Some((begin.to_owned(), end.to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in [
            "",
            "2026-01-01",
            "yesterday,",
            "-5parsecs,",
            "-,",
            "2026-01-02,2026-01-01",
            "-h,",
            "ä,",
        ] {
            assert_eq!(window(text), None, "{text}");
        }
    }
}
