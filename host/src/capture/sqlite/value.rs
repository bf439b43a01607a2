//! Values as SQLite gives them, and as JSON and keys show them. Change rows and snapshots are both read
//! by this.

use std::fmt::Write as _;

use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, TypeInfo as _, ValueRef as _};

pub(crate) use super::json::write_text;
use super::json::{EXACT, write_digits, write_real};

pub(crate) use super::json::LARGEST;

/// A column's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Integer(i64),
    Real(f64),
    /// Need not be UTF-8.
    Text(&'a [u8]),
    Blob(&'a [u8]),
    /// Too large to enter.
    Large(Large),
}

/// What the triggers write in the place of a value too large to enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Large {
    pub bytes: u64,
    /// Whether the other one of old and new has the same value, where the triggers compared them.
    pub same: Option<bool>,
}

impl<'a> Value<'a> {
    /// The row's value at a place. `mark`: as in [`super::form::Form::mark`].
    pub(crate) fn read(row: &'a SqliteRow, place: usize, mark: &str) -> sqlx::Result<Self> {
        let raw = row.try_get_raw(place)?;
        if raw.is_null() {
            return Ok(Self::Null);
        }
        // A value's own type: the column's would say nothing of it.
        let kind = raw.type_info();
        let value = match kind.name() {
            "INTEGER" => Decode::<sqlx::Sqlite>::decode(raw).map(Self::Integer),
            "REAL" => Decode::<sqlx::Sqlite>::decode(raw).map(Self::Real),
            "TEXT" => Decode::<sqlx::Sqlite>::decode(raw).map(Self::Text),
            _ => Decode::<sqlx::Sqlite>::decode(raw)
                .map(|bytes| Large::read(bytes, mark).map_or(Self::Blob(bytes), Self::Large)),
        };
        value.map_err(sqlx::Error::Decode)
    }

    /// The bytes of a value that is too large to be shown.
    pub(crate) fn too_large(&self) -> Option<u64> {
        match self {
            Self::Text(bytes) if bytes.len() > LARGEST => Some(bytes.len() as u64),
            Self::Blob(bytes) if bytes.len() > LARGEST / 2 => Some(bytes.len() as u64),
            Self::Large(large) => Some(large.bytes),
            _ => None,
        }
    }

    /// Whether an update left this value as the other one.
    pub(crate) fn is_same(&self, before: &Self) -> bool {
        let said = |value: &Self| match value {
            Self::Large(large) => large.same,
            _ => None,
        };
        said(self).or(said(before)).unwrap_or(self == before)
    }

    /// Appends it as JSON: integers beyond 2^53, which JavaScript would round, and infinity as texts.
    pub(crate) fn write_json(&self, out: &mut String) {
        match self {
            Self::Integer(integer) if (-EXACT..=EXACT).contains(integer) => write(out, format_args!("{integer}")),
            Self::Integer(integer) => write(out, format_args!("\"{integer}\"")),
            Self::Real(real) if real.is_finite() => write_real(*real, out),
            Self::Null | Self::Large(_) => out.push_str("null"),
            Self::Text(bytes) => write_text(&String::from_utf8_lossy(bytes), out),
            Self::Real(_) | Self::Blob(_) => {
                out.push('"');
                self.write_key(out);
                out.push('"');
            }
        }
    }

    /// Appends it as a key alone shows it.
    pub(crate) fn write_key(&self, out: &mut String) {
        match self {
            Self::Null | Self::Large(_) => out.push_str("null"),
            Self::Integer(integer) => write(out, format_args!("{integer}")),
            Self::Real(real) if real.is_infinite() => out.push_str(if *real > 0.0 { "Infinity" } else { "-Infinity" }),
            // SQLite takes -0.0 for the same key.
            Self::Real(real) => write_real(if *real == 0.0 { 0.0 } else { *real }, out),
            Self::Text(bytes) => out.push_str(&String::from_utf8_lossy(bytes)),
            Self::Blob(bytes) => write_digits(bytes, out),
        }
    }
}

impl Large {
    /// Reads `MARK 600000`, and where the triggers compared: `MARK 600000=1`.
    fn read(bytes: &[u8], mark: &str) -> Option<Self> {
        let rest = std::str::from_utf8(bytes.strip_prefix(mark.as_bytes())?).ok()?;
        let (bytes, same) = match rest.split_once('=') {
            Some((bytes, same)) => (bytes, Some(same == "1")),
            None => (rest, None),
        };
        Some(Self { bytes: bytes.parse().ok()?, same })
    }
}

fn write(out: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let _ = out.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::{LARGEST, Large, Value};

    fn json(value: Value<'_>) -> String {
        let mut out = String::new();
        value.write_json(&mut out);
        out
    }

    #[test]
    fn a_value_becomes_json() {
        for (value, expected) in [
            (Value::Null, "null"),
            (Value::Integer(-9_007_199_254_740_991), "-9007199254740991"),
            (Value::Integer(9_007_199_254_740_992), "\"9007199254740992\""),
            (Value::Real(0.1), "0.1"),
            (Value::Real(0.1 + 0.2), "0.30000000000000004"),
            (Value::Real(f64::INFINITY), "\"Infinity\""),
            (Value::Real(f64::NEG_INFINITY), "\"-Infinity\""),
            (Value::Text(b"it's \"so\"\n\0"), r#""it's \"so\"\n\u0000""#),
            (Value::Text(b"f\xc3\xffo"), "\"f\u{fffd}\u{fffd}o\""),
            (Value::Blob(b""), "\"\""),
            (Value::Blob(b"\x00\xaf"), "\"00AF\""),
        ] {
            assert_eq!(json(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_key_is_text() {
        for (value, expected) in [
            (Value::Integer(i64::MAX), "9223372036854775807"),
            (Value::Real(-0.0), "0.0"),
            (Value::Real(f64::NEG_INFINITY), "-Infinity"),
            (Value::Text(b"a,(b"), "a,(b"),
            (Value::Blob(b"\xff"), "FF"),
        ] {
            let mut key = String::new();
            value.write_key(&mut key);
            assert_eq!(key, expected, "{value:?}");
        }
    }

    #[test]
    fn what_is_too_large_is_known_by_its_mark_or_its_bytes() {
        assert_eq!(Large::read(b"mark600000", "mark"), Some(Large { bytes: 600_000, same: None }));
        assert_eq!(Large::read(b"mark600000=1", "mark"), Some(Large { bytes: 600_000, same: Some(true) }));
        assert_eq!(Large::read(b"mark600000=0", "mark"), Some(Large { bytes: 600_000, same: Some(false) }));
        for other in [b"".as_slice(), b"mar", b"mark", b"marked", b"mark6\xff"] {
            assert_eq!(Large::read(other, "mark"), None, "{other:?}");
        }
        let bytes = vec![b'a'; LARGEST + 1];
        assert_eq!(Value::Text(&bytes[..LARGEST]).too_large(), None);
        assert_eq!(Value::Text(&bytes).too_large(), Some(524_289));
        assert_eq!(Value::Blob(&bytes[..LARGEST / 2]).too_large(), None);
        assert_eq!(Value::Blob(&bytes[..LARGEST / 2 + 1]).too_large(), Some(262_145));
    }
}
