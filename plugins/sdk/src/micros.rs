//! Moments, without a clock: a plugin knows only the times of its events.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment: microseconds since 1970-01-01 UTC. As JSON it is RFC 3339, written with milliseconds.
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
    ///
    /// ```
    /// # use relevo_plugin::Micros;
    /// assert_eq!(Micros(1_999_999).seconds(), 1);
    /// ```
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

impl std::str::FromStr for Micros {
    type Err = NoMoment;

    /// Reads RFC 3339, and what databases make of it: a space for the `T`, no zone for UTC, seconds or
    /// their fraction left out; what is finer than microseconds is cut off.
    ///
    /// ```
    /// use relevo_plugin::Micros;
    /// let at: Micros = "2026-11-25T01:02:03.456Z".parse()?;
    /// assert_eq!(at, Micros(1_795_568_523_456_000));
    /// assert_eq!("2026-11-24 22:02:03.456-03:00".parse(), Ok(at));
    /// # Ok::<(), relevo_plugin::NoMoment>(())
    /// ```
    fn from_str(text: &str) -> Result<Self, NoMoment> {
        read(text.as_bytes()).ok_or(NoMoment)
    }
}

/// A text is no moment since 1970.
///
/// ```
/// use relevo_plugin::{Micros, NoMoment};
/// assert_eq!("yesterday".parse::<Micros>(), Err(NoMoment));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMoment;

impl std::fmt::Display for NoMoment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no moment since 1970; allowed: RFC 3339, like 2026-11-25T01:02:03.456Z")
    }
}

impl std::error::Error for NoMoment {}

fn read(text: &[u8]) -> Option<Micros> {
    let (year, rest) = (number(text.get(..4)?)?, text.get(4..)?);
    let (month, rest) = after(rest, b"-")?;
    let (day, rest) = after(rest, b"-")?;
    let (hour, rest) = after(rest, b"Tt ")?;
    let (minute, rest) = after(rest, b":")?;
    let (second, rest) = after(rest, b":").unwrap_or((0, rest));
    let digits = rest.strip_prefix(b".").map_or(0, |rest| rest.iter().take_while(|b| b.is_ascii_digit()).count());
    let (fraction, zone) = if digits == 0 { (0, rest) } else { (micros(&rest[1..=digits])?, &rest[1 + digits..]) };
    let east = match zone {
        b"" | b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), zone @ ..] => {
            let (hours, zone) = (number(zone.get(..2)?)?, zone.get(2..)?);
            let (minutes, end) = if zone.is_empty() { (0, zone) } else { after(zone, b":")? };
            let seconds = (hours * 3600 + minutes * 60).cast_signed();
            (end.is_empty() && hours < 24 && minutes < 60).then_some(if *sign == b'-' { -seconds } else { seconds })?
        }
        _ => return None,
    };
    // 60: a leap second, which is the next minute's first.
    let exists = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    let days = exists.then(|| days(year, month, day))?.filter(|&days| date(days) == (year, month, day))?;
    let seconds = (days * 86_400 + hour * 3600 + minute * 60 + second).checked_add_signed(-east)?;
    Some(Micros(seconds * 1_000_000 + fraction))
}

/// Two digits behind one of `marks`, and what follows.
fn after<'a>(text: &'a [u8], marks: &[u8]) -> Option<(u64, &'a [u8])> {
    let (mark, rest) = text.split_first()?;
    let two = marks.contains(mark).then_some(rest)?.get(..2)?;
    Some((number(two)?, &rest[2..]))
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
}

/// A fraction of a second.
fn micros(digits: &[u8]) -> Option<u64> {
    let digits = &digits[..digits.len().min(6)];
    Some(number(digits)? * 10_u64.pow(6 - u32::try_from(digits.len()).ok()?))
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

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Micros;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a moment since 1970 like 2026-11-25T01:02:03.456Z")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Micros, E> {
                text.parse().map_err(|NoMoment| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
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

/// The day since 1970-01-01 of a Gregorian date, none before (the same source, `days_from_civil`).
const fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::Micros;

    #[test]
    fn what_is_written_can_be_read_again() {
        // Every day of 500 years, at a moment that moves through the day.
        for day in 0..180_000 {
            let at = Micros(day * 86_400_000_000 + day * 7_919_000 % 86_400_000_000);
            assert_eq!(at.to_string().parse(), Ok(at));
        }
    }

    #[test]
    fn a_moment_has_many_forms_and_what_is_none_is_refused() {
        let at = Micros(1_795_568_520_000_000);
        for text in [
            "2026-11-25T01:02:00Z",
            "2026-11-25 01:02:00",
            "2026-11-25T01:02",
            "2026-11-25t01:02:00.0000009z",
            "2026-11-25T02:32:00+01:30",
            "2026-11-24T22:02:00-03",
            "2026-11-25T01:01:60Z",
        ] {
            assert_eq!(text.parse(), Ok(at), "{text}");
        }
        assert_eq!("2026-11-25T01:02:00.5".parse(), Ok(Micros(at.0 + 500_000)));
        for text in [
            "",
            "now",
            "2026-11-25",
            "2026-11-25T",
            "2026-11-25T1:02:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-10T00:00:00Z",
            "2026-11-25T24:00:00Z",
            "2026-11-25T01:02:00.",
            "2026-11-25T01:02:00+1",
            "2026-11-25T01:02:00Zx",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "+026-11-25T01:02:00Z",
            "2026-11-25T01:02:00+99:00",
            "２026-11-25T01:02:00Z",
        ] {
            assert!(text.parse::<Micros>().is_err(), "{text}");
        }
    }

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
