//! The scanner: finds where a value ends without building it. Everything that isn't well-formed
//! gives `None`; nesting costs a counter, not stack.

use std::borrow::Cow;

/// The raw texts of an object's members with these names, in one pass that ends when all are found.
/// Those that are not found, or come after something that is not well-formed, stay empty.
pub(super) fn members<'a, const N: usize>(text: &'a str, names: &[&str; N]) -> [&'a str; N] {
    let mut found = [""; N];
    let mut left = N;
    // Rows mostly have their columns in the order in which they are asked for: look there first.
    let mut next = 0;
    let mut at = Cursor::new(text);
    if at.open(b'{').is_none() {
        return found;
    }
    while let Some((key, value)) = at.member() {
        // Nearly all names are plain: compare them in place.
        let name = match key {
            Text { raw, plain: true } => raw.get(1..raw.len() - 1).map(Cow::Borrowed),
            Text { raw, plain: false } => self::text(raw),
        };
        let wanted = |at: &usize| name.as_deref().is_some_and(|name| same(name.as_bytes(), names[*at].as_bytes()));
        if let Some(at) = (next..N).chain(0..next).find(wanted) {
            next = at + 1;
            // A value is never empty, so an empty place was not found before; a name that is asked for twice has two.
            let known = |(name, value): (&&str, &&str)| !value.is_empty() && *name == names[at];
            if !names.iter().zip(&found).any(known) {
                found[at] = value;
                left -= 1;
            }
        }
        if left == 0 || at.open(b',').is_none() {
            break;
        }
    }
    if left > 0 {
        // A name that is asked for twice was given its value once.
        for (place, name) in names.iter().enumerate() {
            if let Some(same) = names[..place].iter().position(|other| other == name) {
                let value = [found[same], found[place]].into_iter().find(|value| !value.is_empty()).unwrap_or("");
                (found[same], found[place]) = (value, value);
            }
        }
    }
    found
}

/// Whether two short texts are the same. On wasm the comparison of slices looks at one byte after the other.
#[inline(always)]
pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && same_words(one, other)
}

fn same_words(one: &[u8], other: &[u8]) -> bool {
    let (words, rest) = one.as_chunks::<8>();
    let (others, other_rest) = other.as_chunks::<8>();
    let equal = |(one, other): (&[u8; 8], &[u8; 8])| u64::from_le_bytes(*one) == u64::from_le_bytes(*other);
    words.iter().zip(others).all(equal) && rest.iter().zip(other_rest).all(|(one, other)| one == other)
}

/// The raw texts of a list's elements; none at all if the list is not well-formed.
pub(super) fn elements(text: &str) -> Vec<&str> {
    let mut at = Cursor::new(text);
    let mut found = Vec::new();
    if at.open(b'[').is_none() || at.open(b']').is_some() {
        return found;
    }
    loop {
        let Some(value) = at.value() else { return Vec::new() };
        found.push(value);
        if at.open(b',').is_none() {
            return if at.open(b']').is_some() { found } else { Vec::new() };
        }
    }
}

/// The text of a JSON string, from its raw form with the quotes.
pub(super) fn text(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if is_plain(inner.as_bytes()) { Some(inner.into()) } else { unescape(inner) }
}

fn unescape(inner: &str) -> Option<Cow<'_, str>> {
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner.chars();
    while let Some(c) = rest.next() {
        out.push(match c {
            '\\' => escape(&mut rest)?,
            '"' | '\0'..='\x1f' => return None,
            other => other,
        });
    }
    Some(out.into())
}

fn escape(rest: &mut std::str::Chars<'_>) -> Option<char> {
    Some(match rest.next()? {
        '"' => '"',
        '\\' => '\\',
        '/' => '/',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let unit = unit(rest)?;
            if !(0xd800..0xdc00).contains(&unit) {
                return char::from_u32(unit);
            }
            if (rest.next()?, rest.next()?) != ('\\', 'u') {
                return None;
            }
            let low = self::unit(rest)?;
            if !(0xdc00..0xe000).contains(&low) {
                return None;
            }
            char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00))?
        }
        _ => return None,
    })
}

/// The four hexadecimal digits of one UTF-16 unit.
fn unit(rest: &mut std::str::Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0, |sum, _| Some(sum * 16 + rest.next()?.to_digit(16)?))
}

/// A string with its quotes, and whether nothing in it is escaped.
struct Text<'a> {
    raw: &'a str,
    plain: bool,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Which of eight bytes are below a limit of at most 128, by the word trick of
/// <https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord>: the lowest hit is exact.
fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGH
}

fn quotes_and_backslashes(word: u64) -> u64 {
    below(word ^ (ONES * u64::from(b'"')), 1) | below(word ^ (ONES * u64::from(b'\\')), 1)
}

/// Whether nothing in the inner of a string is escaped, or would have to be.
pub(super) fn is_plain(inner: &[u8]) -> bool {
    let (words, rest) = inner.as_chunks::<8>();
    let special = words.iter().fold(0, |special, eight| {
        let word = u64::from_le_bytes(*eight);
        special | quotes_and_backslashes(word) | below(word, 0x20)
    });
    special == 0 && !rest.iter().any(|b| matches!(b, b'\\' | b'"' | ..0x20))
}

/// Where the first quote or backslash is. Most of a row is text: eight bytes are looked at together.
#[inline]
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*eight);
        let hits = quotes_and_backslashes(word);
        if hits != 0 {
            return Some(at + hits.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    bytes.get(at..)?.iter().position(|b| matches!(b, b'"' | b'\\')).map(|to| at + to)
}

/// A place in the text. It stands on bytes that are ASCII, so cutting there is always right.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        Self::at(text, 0)
    }

    /// At a place that is the beginning of a value.
    pub(super) fn at(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Goes past this byte, if it is the next one.
    fn open(&mut self, byte: u8) -> Option<()> {
        self.skip_space();
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Goes past an object's member; gives its name and its value.
    fn member(&mut self) -> Option<(Text<'a>, &'a str)> {
        self.skip_space();
        let start = self.at;
        let plain = self.skip_string()?;
        let raw = self.text.get(start..self.at)?;
        self.open(b':')?;
        Some((Text { raw, plain }, self.value()?))
    }

    /// Goes past a string; true if nothing in it is escaped.
    fn skip_string(&mut self) -> Option<bool> {
        if self.peek()? != b'"' {
            return None;
        }
        self.at += 1;
        let mut plain = true;
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            let to = quote_or_backslash(rest)?;
            if rest.get(to) == Some(&b'"') {
                self.at += to + 1;
                return Some(plain);
            }
            // Past the backslash and what it escapes.
            self.at += to + 2;
            plain = false;
        }
    }

    /// Goes past any value; gives its text.
    pub(super) fn value(&mut self) -> Option<&'a str> {
        self.skip_space();
        let start = self.at;
        match self.peek()? {
            b'"' => drop(self.skip_string()?),
            b'{' | b'[' => self.skip_nested()?,
            _ => self.skip_plain()?,
        }
        self.text.get(start..self.at)
    }

    /// Goes past an object or a list: to where as many brackets were closed as opened.
    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.skip_string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Goes past a number, `true`, `false` or `null`.
    fn skip_plain(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::{is_plain, quote_or_backslash};

    #[test]
    fn every_byte_is_seen_at_every_place_of_a_word_and_beside_any_other() {
        for length in 0..20 {
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    for beside in [0, 0x1f, 0x20, b'!', b'#', b'[', b']', 0x7f, 0x80, 0xa2, 0xff] {
                        let mut text = vec![beside; length];
                        text[at] = byte;
                        let plain = !text.iter().any(|b| matches!(b, b'\\' | b'"' | ..0x20));
                        assert_eq!(is_plain(&text), plain, "{text:?}");
                        let first = text.iter().position(|b| matches!(b, b'"' | b'\\'));
                        assert_eq!(quote_or_backslash(&text), first, "{text:?}");
                    }
                }
            }
        }
    }
}
