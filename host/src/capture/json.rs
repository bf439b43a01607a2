//! How values are written as JSON, whatever database they come from.

use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use sha2::{Digest as _, Sha256};

/// Texts of more bytes than this, and binary values of more than half, are left out: a record has no room
/// for them.
pub(crate) const LARGEST: usize = 512 << 10;

/// The integers that a JavaScript number holds exactly are those from minus this to this.
pub(crate) const EXACT: i64 = (1 << 53) - 1;

/// The shortest text that means the same.
pub(crate) fn write_real(real: f64, out: &mut String) {
    out.push_str(&serde_json::to_string(&real).unwrap_or_else(|_| "null".into()));
}

pub(crate) fn write_digits(bytes: &[u8], out: &mut String) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// What the digest of a value begins with, in a key that would be too long with the value itself. A text that begins
/// like that may still be a value.
pub(crate) const DIGEST_BEGINS: &str = "{\"sha256\":\"";

/// A value's SHA-256 and its bytes, in the place of the value.
pub(crate) fn write_digest(text: &str, out: &mut String) {
    out.push_str(DIGEST_BEGINS);
    for byte in Sha256::digest(text) {
        // Nothing fails in a string.
        let _ = write!(out, "{byte:02x}");
    }
    let _ = write!(out, "\",\"bytes\":{}}}", text.len());
}

/// Whether nothing in a text has to be escaped. Without an early end: so the compiler looks at many bytes at once.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.bytes().fold(false, |escaped, byte| escaped | (byte < b' ') | (byte == b'"') | (byte == b'\\'))
}

/// Appends a text as JSON.
pub(crate) fn write_text(text: &str, out: &mut String) {
    out.push('"');
    if is_plain(text) {
        out.push_str(text);
        out.push('"');
        return;
    }
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
}

/// Whether a text is JSON that every reader takes, also where it stands within a row, and that within a message.
pub(crate) fn is_strict(text: &str) -> bool {
    !is_deeper(text, DEEPEST) && serde_json::from_str::<Strict>(text).is_ok()
}

/// serde_json, for one, takes lists and objects in each other up to 128 deep.
const DEEPEST: usize = 100;

/// Whether lists and objects stand deeper in each other than that, in a text that may be JSON.
fn is_deeper(text: &str, than: usize) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    text.bytes().any(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > than
    })
}

/// JSON that is looked at whole, unlike serde's `IgnoredAny`, and not kept.
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(Self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self, A::Error> {
        while object.next_entry::<Self, Self>()?.is_some() {}
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::{DEEPEST, is_strict, write_text};

    #[test]
    fn what_a_reader_would_refuse_within_a_message_is_not_taken_for_json() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let (most, more) = (nested(DEEPEST), nested(DEEPEST + 1));
        assert!(is_strict(&most) && !is_strict(&more));
        let message = format!(r#"{{"data":{{"row":{{"list":[{most}]}}}}}}"#);
        assert!(serde_json::from_str::<serde_json::Value>(&message).is_ok());
        assert!(
            is_strict(&format!(r#"["{}", "\\", "\"{}"]"#, "[".repeat(500), "{".repeat(500))),
            "in texts they are text"
        );
    }

    #[test]
    fn every_text_is_valid_json() {
        let text: String = (0..0x200).filter_map(char::from_u32).chain("🚓\\\"'".chars()).collect();
        let mut json = String::new();
        write_text(&text, &mut json);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        for letter in text.chars().chain(['\u{7f}', 'ñ']) {
            let mut json = String::new();
            write_text(&format!("a{letter}b"), &mut json);
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), format!("a{letter}b"));
        }
    }
}
