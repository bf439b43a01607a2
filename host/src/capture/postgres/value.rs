//! Values as PostgreSQL writes them as text, and as JSON and keys show them. The stream's rows and those
//! of snapshots are both read by this.
//!
//! The session's settings are pinned (see `connect`), so that each type has one text form.

use std::fmt::Write as _;
use std::sync::Arc;

use super::super::json::{EXACT, is_plain, is_strict, write_digits, write_real, write_text};

/// How a type's text becomes JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Integer,
    Float,
    Numeric,
    /// json and jsonb.
    Json,
    Bytes,
    Timestamptz,
    Timestamp,
    /// Its elements' kind, and what stands between them.
    Array(Arc<Kind>, u8),
    /// All others, as PostgreSQL writes them.
    Text,
}

/// What a JavaScript number holds of decimal digits, whatever they are.
const EXACT_DIGITS: usize = 15;

/// Arrays nested deeper than PostgreSQL has them are no arrays.
const DEEPEST: usize = 6;

impl Kind {
    /// Of PostgreSQL's own types, whose OIDs never change (`pg_type.dat`); None: the catalog says.
    pub(crate) fn of_builtin(oid: u32) -> Option<Self> {
        let array = |of: Kind| Some(Self::Array(Arc::new(of), b','));
        Some(match oid {
            16 => Self::Bool,
            20 | 21 | 23 | 26 => Self::Integer,
            700 | 701 => Self::Float,
            1700 => Self::Numeric,
            114 | 3802 => Self::Json,
            17 => Self::Bytes,
            1184 => Self::Timestamptz,
            1114 => Self::Timestamp,
            // text, varchar, bpchar, name, "char", uuid, date, time, timetz, interval, inet, cidr, macaddr, xml
            25 | 1043 | 1042 | 19 | 18 | 2950 | 1082 | 1083 | 1266 | 1186 | 869 | 650 | 829 | 142 => Self::Text,
            1000 => return array(Self::Bool),
            1005 | 1007 | 1016 => return array(Self::Integer),
            1021 | 1022 => return array(Self::Float),
            1231 => return array(Self::Numeric),
            199 | 3807 => return array(Self::Json),
            1009 | 1015 | 1014 | 2951 | 1182 => return array(Self::Text),
            1115 => return array(Self::Timestamp),
            1185 => return array(Self::Timestamptz),
            _ => return None,
        })
    }

    /// Appends a value as JSON. What can't be read as the type says becomes a string: nothing is lost.
    pub(crate) fn write_json(&self, text: &str, out: &mut String) {
        match self {
            Self::Bool => out.push_str(match text {
                "t" | "true" => "true",
                _ => "false",
            }),
            Self::Float => match text.parse::<f64>() {
                Ok(real) if real.is_finite() => write_real(real, out),
                _ => write_text(text, out),
            },
            Self::Integer | Self::Numeric if is_exact(text) => out.push_str(text),
            // Rows must be readable to the last byte: JSON that strict readers refuse (half a surrogate pair,
            // a number beyond all bounds) goes as a text.
            Self::Json if is_strict(text) => out.push_str(text),
            Self::Array(of, between) => {
                let start = out.len();
                if array(text, of, *between, out).is_none() {
                    out.truncate(start);
                    write_text(text, out);
                }
            }
            Self::Bytes | Self::Timestamptz | Self::Timestamp => {
                // Digits and dates have nothing to escape; what isn't one is shown as it stands.
                if *self == Self::Bytes || is_plain(text) {
                    out.push('"');
                    self.write_key(text, out);
                    out.push('"');
                } else {
                    write_text(text, out);
                }
            }
            Self::Integer | Self::Numeric | Self::Json | Self::Text => write_text(text, out),
        }
    }

    /// Appends it as a key alone shows it.
    pub(crate) fn write_key(&self, text: &str, out: &mut String) {
        match self {
            Self::Bytes => match text.strip_prefix("\\x") {
                Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
                    out.extend(digits.chars().map(|c| c.to_ascii_uppercase()));
                }
                _ => write_digits(text.as_bytes(), out),
            },
            Self::Timestamptz => match moment(text) {
                Some((day, time)) if time.ends_with("+00") => {
                    let _ = write!(out, "{day}T{}Z", &time[..time.len() - 3]);
                }
                _ => out.push_str(text),
            },
            Self::Timestamp => match moment(text) {
                Some((day, time)) => {
                    let _ = write!(out, "{day}T{time}");
                }
                _ => out.push_str(text),
            },
            Self::Bool => out.push_str(if matches!(text, "t" | "true") { "true" } else { "false" }),
            _ => out.push_str(text),
        }
    }
}

/// Takes `2026-11-25 01:02:03+00` apart; None for what RFC 3339 has no form for: infinity, years before
/// 1 and beyond 9999.
fn moment(text: &str) -> Option<(&str, &str)> {
    let (day, time) = text.split_once(' ')?;
    let date = day.len() == 10 && day.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    (date && !time.contains(' ')).then_some((day, time))
}

/// Whether a numeric's text is a JSON number that no reader rounds.
fn is_exact(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !number(whole) || !number(fraction) || (whole.len() > 1 && whole.starts_with('0')) {
        return false;
    }
    if !digits.contains('.') {
        return digits.parse::<i64>().is_ok_and(|integer| integer <= EXACT);
    }
    whole.trim_start_matches('0').len() + fraction.len() <= EXACT_DIGITS
}

/// Appends an array as JSON; None if the text is none, or if its bounds don't begin at 1, which stand before it
/// (`[0:1]={…}`): a list has no place for them.
fn array(text: &str, of: &Kind, between: u8, out: &mut String) -> Option<()> {
    let mut input = Elements { bytes: text.as_bytes(), text, at: 0, between };
    input.array(of, out, 0)?;
    (input.at == text.len()).then_some(())
}

struct Elements<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    between: u8,
}

impl Elements<'_> {
    fn array(&mut self, of: &Kind, out: &mut String, depth: usize) -> Option<()> {
        if depth == DEEPEST || self.next()? != b'{' {
            return None;
        }
        out.push('[');
        if self.peek()? == b'}' {
            self.at += 1;
        } else {
            loop {
                match self.peek()? {
                    b'{' => self.array(of, out, depth + 1)?,
                    b'"' => {
                        let element = self.quoted()?;
                        of.write_json(&element, out);
                    }
                    _ => {
                        let element = self.bare()?;
                        if element.eq_ignore_ascii_case("null") {
                            out.push_str("null");
                        } else {
                            of.write_json(element, out);
                        }
                    }
                }
                match self.next()? {
                    b'}' => break,
                    found if found == self.between => out.push(','),
                    _ => return None,
                }
            }
        }
        out.push(']');
        Some(())
    }

    fn quoted(&mut self) -> Option<String> {
        self.at += 1;
        let mut element = String::new();
        let mut from = self.at;
        loop {
            match self.next()? {
                b'"' => {
                    element.push_str(&self.text[from..self.at - 1]);
                    return Some(element);
                }
                b'\\' => {
                    element.push_str(&self.text[from..self.at - 1]);
                    from = self.at;
                    // The byte after it stands for itself, also where it begins a longer character.
                    self.next()?;
                }
                _ => {}
            }
        }
    }

    fn bare(&mut self) -> Option<&str> {
        let from = self.at;
        while !matches!(self.peek()?, b'}' | b'{' | b'"' | b'\\') && self.peek()? != self.between {
            self.at += 1;
        }
        (self.at > from).then(|| &self.text[from..self.at])
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Kind;

    fn json(kind: &Kind, text: &str) -> String {
        let mut out = String::new();
        kind.write_json(text, &mut out);
        out
    }

    fn array(of: Kind) -> Kind {
        Kind::Array(of.into(), b',')
    }

    #[test]
    fn a_value_becomes_json_without_loss() {
        for (kind, text, expected) in [
            (Kind::Bool, "t", "true"),
            (Kind::Bool, "f", "false"),
            (Kind::Integer, "-9007199254740991", "-9007199254740991"),
            (Kind::Integer, "9007199254740992", "\"9007199254740992\""),
            (Kind::Float, "0.1", "0.1"),
            (Kind::Float, "1e+300", "1e+300"),
            (Kind::Float, "NaN", "\"NaN\""),
            (Kind::Float, "-Infinity", "\"-Infinity\""),
            (Kind::Numeric, "1.50", "1.50"),
            (Kind::Numeric, "-0.007", "-0.007"),
            (Kind::Numeric, "9007199254740991", "9007199254740991"),
            (Kind::Numeric, "9007199254740993", "\"9007199254740993\""),
            (Kind::Numeric, "0.1234567890123456", "\"0.1234567890123456\""),
            (Kind::Numeric, "NaN", "\"NaN\""),
            (Kind::Numeric, "Infinity", "\"Infinity\""),
            (Kind::Json, r#"{"a": [1, null]}"#, r#"{"a": [1, null]}"#),
            (Kind::Json, r#""\ud800""#, r#""\"\\ud800\"""#),
            (Kind::Json, "1e999", "\"1e999\""),
            (Kind::Bytes, "\\x00af", "\"00AF\""),
            (Kind::Timestamptz, "2026-11-25 01:02:03.456+00", "\"2026-11-25T01:02:03.456Z\""),
            (Kind::Timestamptz, "infinity", "\"infinity\""),
            (Kind::Timestamptz, "0044-03-15 00:00:00+00 BC", "\"0044-03-15 00:00:00+00 BC\""),
            (Kind::Timestamptz, "10000-01-01 00:00:00+00", "\"10000-01-01 00:00:00+00\""),
            (Kind::Timestamp, "2026-11-25 01:02:03", "\"2026-11-25T01:02:03\""),
            (Kind::Text, "it's \"so\"", r#""it's \"so\"""#),
            (array(Kind::Integer), "{1,NULL,3}", "[1,null,3]"),
            (array(Kind::Integer), "{}", "[]"),
            (array(Kind::Integer), "[0:1]={1,2}", "\"[0:1]={1,2}\""),
            (array(Kind::Integer), "{{1,2},{3,4}}", "[[1,2],[3,4]]"),
            (array(Kind::Text), r#"{a,"b,\"c\\",NULL,"NULL",""}"#, r#"["a","b,\"c\\",null,"NULL",""]"#),
            (array(Kind::Text), r#"{"\é",ñ}"#, r#"["é","ñ"]"#),
            (array(Kind::Bool), "{t,f}", "[true,false]"),
            (array(Kind::Json), r#"{"{\"a\": 1}"}"#, r#"[{"a": 1}]"#),
            (array(Kind::Text), "{no end", "\"{no end\""),
        ] {
            assert_eq!(json(&kind, text), expected, "{kind:?} {text}");
        }
    }

    #[test]
    fn a_key_is_text() {
        for (kind, text, expected) in [
            (Kind::Integer, "9223372036854775807", "9223372036854775807"),
            (Kind::Text, "a,\"b", "a,\"b"),
            (Kind::Bytes, "\\xff", "FF"),
            (Kind::Timestamptz, "2026-11-25 01:02:03+00", "2026-11-25T01:02:03Z"),
            (Kind::Bool, "t", "true"),
        ] {
            let mut key = String::new();
            kind.write_key(text, &mut key);
            assert_eq!(key, expected, "{kind:?} {text}");
        }
    }

    fn kinds() -> impl Strategy<Value = Kind> {
        let one = prop::sample::select(vec![
            Kind::Bool,
            Kind::Integer,
            Kind::Float,
            Kind::Numeric,
            Kind::Json,
            Kind::Bytes,
            Kind::Timestamptz,
            Kind::Timestamp,
            Kind::Text,
        ]);
        (one, any::<bool>()).prop_map(|(kind, within)| if within { array(kind) } else { kind })
    }

    proptest! {
        #[test]
        fn any_text_of_any_kind_is_valid_json(kind in kinds(), text in r#"[-+0-9eE.{},"\\a-zñ \[\]:=]{0,24}|.{0,12}"#) {
            let json = json(&kind, &text);
            prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{kind:?} {text:?}: {json}");
        }

        #[test]
        fn an_array_of_texts_is_read_as_it_was_written(texts in prop::collection::vec(".{0,12}", 0..5)) {
            let quoted: Vec<String> = texts
                .iter()
                .map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
                .collect();
            let json = json(&array(Kind::Text), &format!("{{{}}}", quoted.join(",")));
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), texts);
        }

        #[test]
        fn an_exact_number_is_the_same_number(whole in -9_999_999_i64..9_999_999, fraction in "[0-9]{1,8}") {
            let text = format!("{whole}.{fraction}");
            let json = json(&Kind::Numeric, &text);
            let read = serde_json::from_str::<f64>(&json);
            prop_assert!(read.is_ok_and(|real| real.to_string().parse::<f64>() == text.parse::<f64>()));
        }
    }
}
