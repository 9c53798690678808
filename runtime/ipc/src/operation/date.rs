//! The date of a local deployment as Greengrass writes it: `25-11-2026 05:02:53 UTC`.

use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 24 * 3600;

pub(super) fn text(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (day, month, year) = civil(seconds / DAY);
    let of_day = seconds % DAY;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{day:02}-{month:02}-{year:04} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Day, month and year of a day since 1970-01-01. Years are counted from March, so that a leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    (day, month, era * 400 + year + u64::from(month <= 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_written_as_greengrass_does() {
        let at = |seconds| text(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "01-01-1970 00:00:00 UTC");
        assert_eq!(at(951_827_696), "29-02-2000 12:34:56 UTC");
        assert_eq!(at(1_709_251_199), "29-02-2024 23:59:59 UTC");
        assert_eq!(at(4_107_542_400), "01-03-2100 00:00:00 UTC");
    }
}
