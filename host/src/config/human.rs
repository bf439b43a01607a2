//! Sizes and times as people write them: `64MiB`, `30s`, `7d`. A bare number is bytes or seconds.

use std::time::Duration;

/// Reads `512KiB`, `64MiB`, `4GiB` or a number of bytes.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Reads `50ms`, `30s`, `15m`, `12h`, `7d` or a number of seconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    let seconds = |factor: u64| number.checked_mul(factor).map(Duration::from_secs);
    match unit.trim() {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        "d" => seconds(24 * 3600),
        _ => None,
    }
}

/// A number of bytes as it would be written, exactly.
pub fn show_bytes(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fitting = units.iter().find(|(size, _)| bytes > 0 && bytes.is_multiple_of(*size));
    fitting.map_or_else(|| format!("{bytes}B"), |(size, unit)| format!("{}{unit}", bytes / size))
}

/// A time as it would be written, to the millisecond.
pub fn show_duration(time: Duration) -> String {
    if time.subsec_nanos() == 0 { format!("{}s", time.as_secs()) } else { format!("{}ms", time.as_millis()) }
}

macro_rules! readers {
    ($module:ident, $optional:ident, $type:ty, $parse:ident, $from:expr, $expected:literal) => {
        pub mod $module {
            use serde::{Deserialize, Deserializer, de::Error};
            #[derive(Deserialize)]
            #[serde(untagged, expecting = $expected)]
            pub(super) enum Raw {
                Number(u64),
                Text(String),
            }
            impl Raw {
                pub(super) fn read<E: Error>(self) -> Result<$type, E> {
                    match self {
                        Self::Number(n) => Ok($from(n)),
                        Self::Text(t) => {
                            super::$parse(&t).ok_or_else(|| E::custom(format!("{t:?} is not {}", $expected)))
                        }
                    }
                }
            }
            pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<$type, D::Error> {
                Raw::deserialize(d)?.read()
            }
        }
        pub mod $optional {
            use serde::{Deserialize, Deserializer};
            pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<$type>, D::Error> {
                Option::<super::$module::Raw>::deserialize(d)?.map(super::$module::Raw::read).transpose()
            }
        }
    };
}
readers!(bytes, option_bytes, u64, parse_bytes, |n| n, "a size like 512KiB, 64MiB or 4GiB");
readers!(
    duration,
    option_duration,
    std::time::Duration,
    parse_duration,
    std::time::Duration::from_secs,
    "a time like 50ms, 30s, 15m, 12h or 7d"
);
