//! Reads what the triggers write: SQL literals, as `quote()` makes them, and turns them into JSON.
//!
//! Literals and not JSON, because some versions of SQLite refuse their own JSON functions in a trigger
//! (with `trusted_schema = off`), or lose a real's last digits in them.
//!
//! - a row: `"name":literal,"name":literal`, where a name is a JSON string;
//! - a key: one literal, or `(literal,literal)`;
//! - a literal: `NULL`, `12`, `1.5`, `'it''s'`, `X'00ff'`; and of our own: `TX'6100'`, a text with a
//!   NUL in it, which `quote()` would cut off there; `?600000` a value too large to enter, with its
//!   bytes; `?600000=1` where it was updated and is the same as before; `@7` a null key's rowid.

use std::borrow::Cow;
use std::fmt::Write as _;

/// A column's value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    Json(Cow<'a, str>),
    /// Too large to enter: its size, and for an update whether it is the same as before.
    Large {
        bytes: u64,
        same: Option<bool>,
    },
}

/// A row's columns in the table's order; none if the text is no row.
pub(crate) fn row(text: &str) -> Option<Vec<(Cow<'_, str>, Value<'_>)>> {
    let mut reader = Reader { rest: text };
    let mut columns = Vec::new();
    while !reader.rest.is_empty() {
        if !columns.is_empty() {
            reader.take(",")?;
        }
        let name = reader.name()?;
        reader.take(":")?;
        columns.push((name, reader.literal()?.value()));
    }
    Some(columns)
}

/// A key as events show it: text, or a JSON array.
pub(crate) fn key(text: &str) -> Option<String> {
    let mut reader = Reader { rest: text };
    let key = if reader.take("(").is_some() {
        let mut key = "[".to_owned();
        loop {
            match reader.literal()?.value() {
                Value::Json(json) => key.push_str(&json),
                Value::Large { .. } => return None,
            }
            if reader.take(")").is_some() {
                break;
            }
            reader.take(",")?;
            key.push(',');
        }
        key.push(']');
        key
    } else {
        match reader.literal()? {
            Literal::Null => "null".into(),
            Literal::Number(number) | Literal::Blob(number) => number.into(),
            Literal::Text(text) => text.into_owned(),
            Literal::Rowid(rowid) => format!("rowid:{rowid}"),
            Literal::Large { .. } => return None,
        }
    };
    reader.rest.is_empty().then_some(key)
}

enum Literal<'a> {
    Null,
    Number(&'a str),
    Text(Cow<'a, str>),
    /// Its hexadecimal digits.
    Blob(&'a str),
    Large {
        bytes: u64,
        same: Option<bool>,
    },
    Rowid(&'a str),
}

impl<'a> Literal<'a> {
    fn value(self) -> Value<'a> {
        Value::Json(match self {
            Self::Null => "null".into(),
            Self::Number(number) => json_number(number),
            Self::Text(text) => json_text(&text).into(),
            Self::Blob(digits) => format!("\"{digits}\"").into(),
            Self::Rowid(rowid) => rowid.into(),
            Self::Large { bytes, same } => return Value::Large { bytes, same },
        })
    }
}

/// Integers beyond 2^53, which JavaScript would round, and infinity become texts.
fn json_number(number: &str) -> Cow<'_, str> {
    const EXACT: i64 = (1 << 53) - 1;
    if let Ok(integer) = number.parse::<i64>() {
        return if (-EXACT..=EXACT).contains(&integer) { number.into() } else { format!("\"{number}\"").into() };
    }
    match number.parse::<f64>() {
        // The shortest text that means the same.
        Ok(real) if real.is_finite() => serde_json::to_string(&real).unwrap_or_else(|_| "null".into()).into(),
        // By version, SQLite writes infinity as `Inf` or `9.0e+999`; Rust reads both.
        Ok(real) if real > 0.0 => "\"Infinity\"".into(),
        Ok(real) if real < 0.0 => "\"-Infinity\"".into(),
        _ => "null".into(),
    }
}

/// A text as JSON.
pub(crate) fn json_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[from..at]);
        if escape.is_empty() {
            // Writing to a String can't fail.
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.push_str(escape);
        }
        from = at + 1;
    }
    out.push_str(&text[from..]);
    out.push('"');
    out
}

/// What is left to be read.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn take(&mut self, what: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(what)?;
        Some(())
    }

    fn until(&mut self, end: impl Fn(char) -> bool) -> &'a str {
        let (head, rest) = self.rest.split_at(self.rest.find(end).unwrap_or(self.rest.len()));
        self.rest = rest;
        head
    }

    fn name(&mut self) -> Option<Cow<'a, str>> {
        let mut names = serde_json::Deserializer::from_str(self.rest).into_iter::<Name<'a>>();
        let Name(name) = names.next()?.ok()?;
        let end = names.byte_offset();
        self.rest = self.rest.get(end..)?;
        Some(name)
    }

    fn literal(&mut self) -> Option<Literal<'a>> {
        Some(match self.rest.as_bytes().first()? {
            b'\'' => Literal::Text(self.quoted()?),
            b'X' => {
                self.take("X'")?;
                let digits = self.until(|c| c == '\'');
                self.take("'")?;
                Literal::Blob(digits)
            }
            b'T' => {
                self.take("TX'")?;
                let digits = self.until(|c| c == '\'');
                self.take("'")?;
                let bytes: Option<Vec<u8>> = digits
                    .as_bytes()
                    .chunks(2)
                    .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
                    .collect();
                Literal::Text(String::from_utf8_lossy(&bytes?).into_owned().into())
            }
            b'N' => {
                self.take("NULL")?;
                Literal::Null
            }
            b'?' => {
                self.take("?")?;
                let bytes = self.until(|c| !c.is_ascii_digit()).parse().ok()?;
                let same = self.take("=").map(|()| self.until(|c| !c.is_ascii_digit()) == "1");
                Literal::Large { bytes, same }
            }
            b'@' => {
                self.take("@")?;
                Literal::Rowid(self.until(|c| c == ',' || c == ')'))
            }
            _ => {
                let number = self.until(|c| c == ',' || c == ')');
                number.parse::<f64>().ok()?;
                Literal::Number(number)
            }
        })
    }

    fn quoted(&mut self) -> Option<Cow<'a, str>> {
        self.take("'")?;
        let mut text = Cow::Borrowed("");
        loop {
            let piece = self.until(|c| c == '\'');
            if text.is_empty() {
                text = Cow::Borrowed(piece);
            } else {
                text.to_mut().push_str(piece);
            }
            self.take("'")?;
            if !self.rest.starts_with('\'') {
                return Some(text);
            }
            text.to_mut().push('\'');
            self.take("'")?;
        }
    }
}

/// A text that is borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::{Value, json_text, key, row};

    fn value(literal: &str) -> Option<String> {
        match row(&format!("\"a\":{literal}"))?.pop()?.1 {
            Value::Json(json) => Some(json.into_owned()),
            Value::Large { bytes, same } => Some(format!("{bytes} {same:?}")),
        }
    }

    #[test]
    fn a_literal_becomes_json() {
        for (literal, json) in [
            ("NULL", "null"),
            ("''", "\"\""),
            ("''''", "\"'\""),
            ("'''a'''", "\"'a'\""),
            ("'it''s, \"so\")'", r#""it's, \"so\")""#),
            ("X''", "\"\""),
            ("X'00FF'", "\"00FF\""),
            ("TX'610062'", r#""a\u0000b""#),
            ("-9007199254740991", "-9007199254740991"),
            ("9007199254740992", "\"9007199254740992\""),
            ("0.1", "0.1"),
            ("3.00000000000000044409e-01", "0.30000000000000004"),
            ("Inf", "\"Infinity\""),
            ("-9.0e+999", "\"-Infinity\""),
            ("?600000", "600000 None"),
            ("?600000=1", "600000 Some(true)"),
            ("?600000=0", "600000 Some(false)"),
        ] {
            assert_eq!(value(literal).as_deref(), Some(json), "{literal}");
        }
    }

    #[test]
    fn a_key_is_text_or_an_array() {
        for (literal, text) in
            [("12", "12"), ("'a,(b'", "a,(b"), ("X'FF'", "FF"), ("@7", "rowid:7"), ("(1,'x',NULL)", r#"[1,"x",null]"#)]
        {
            assert_eq!(key(literal).as_deref(), Some(text), "{literal}");
        }
    }

    #[test]
    fn what_is_no_row_is_none() {
        for text in ["a", "\"a\"", "\"a\":", "\"a\":'x", "\"a\":1 \"b\":2", "\"a\":X'", "\"a\":1,", "\"a\":1,,"] {
            assert!(row(text).is_none(), "{text}");
        }
        assert!(key("(1").is_none());
        assert!(key("1,2").is_none());
    }

    #[test]
    fn every_text_is_valid_json() {
        let text: String = (0..0x200).filter_map(char::from_u32).chain("🚓\\\"'".chars()).collect();
        assert_eq!(serde_json::from_str::<String>(&json_text(&text)).unwrap(), text);
    }
}
