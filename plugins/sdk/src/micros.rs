//! Moments, without a clock: a plugin knows only the times of its events.

use serde::{Serialize, Serializer};

/// A moment: microseconds since 1970-01-01 UTC. As JSON it is RFC 3339 with milliseconds.
///
/// ```
/// use relevo_plugin::Micros;
/// let at = Micros(1_795_568_523_456_789);
/// assert_eq!(at.to_string(), "2026-11-25T01:02:03.456Z");
/// assert_eq!(serde_json::to_string(&at)?, "\"2026-11-25T01:02:03.456Z\"");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(pub u64);

impl Micros {
    /// Whole seconds since 1970.
    pub const fn seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Whole minutes since 1970: a bucket for windows.
    ///
    /// ```
    /// # use relevo_plugin::Micros;
    /// assert_eq!(Micros(120_000_000).minutes(), 2);
    /// ```
    pub const fn minutes(self) -> u64 {
        self.0 / 60_000_000
    }
}

impl std::fmt::Display for Micros {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, second) = (self.seconds() / 86_400, self.seconds() % 86_400);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let milli = self.0 / 1000 % 1000;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The Gregorian date of a day since 1970-01-01, counted in eras of 400 years that begin in March
/// (Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
const fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::Micros;

    #[test]
    fn dates_are_right_around_leap_days_and_centuries() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Micros(seconds * 1_000_000).to_string(), text);
        }
    }

    #[test]
    fn no_moment_overflows() {
        assert!(Micros(u64::MAX).to_string().ends_with('Z'));
    }
}
