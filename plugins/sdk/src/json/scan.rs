//! The scanner: finds where a value ends without building it. Everything that isn't well-formed
//! gives `None`; nesting costs a counter, not stack.

use std::borrow::Cow;

/// The raw texts of an object's members with these names, in one pass that ends when all are found.
/// Those that are not found, or come after something that is not well-formed, stay empty.
pub(super) fn members<'a, const N: usize>(text: &'a str, names: &[&str; N]) -> [&'a str; N] {
    let mut found = [""; N];
    let mut left = N;
    let mut at = Cursor::new(text);
    if at.open(b'{').is_none() {
        return found;
    }
    while let Some((key, value)) = at.member() {
        // Nearly all names are plain: compare them in place.
        let plain = key.get(1..key.len() - 1).filter(|plain| !plain.contains('\\'));
        let name = plain.map(Cow::Borrowed).or_else(|| self::text(key));
        for (name_wanted, place) in names.iter().zip(&mut found) {
            // A value is never empty, so an empty place was not found before.
            if place.is_empty() && name.as_deref() == Some(name_wanted) {
                *place = value;
                left -= 1;
            }
        }
        if left == 0 || at.open(b',').is_none() {
            break;
        }
    }
    found
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
    if inner.bytes().any(|b| b == b'\\' || b == b'"' || b < 0x20) { unescape(inner) } else { Some(inner.into()) }
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

/// A place in the text. It stands on bytes that are ASCII, so cutting there is always right.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
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

    /// Goes past an object's member; gives its name, with its quotes, and its value.
    fn member(&mut self) -> Option<(&'a str, &'a str)> {
        let name = self.string()?;
        self.open(b':')?;
        Some((name, self.value()?))
    }

    /// Goes past a string; gives it with its quotes.
    fn string(&mut self) -> Option<&'a str> {
        self.skip_space();
        let start = self.at;
        self.skip_string()?;
        self.text.get(start..self.at)
    }

    fn skip_string(&mut self) -> Option<()> {
        if self.peek()? != b'"' {
            return None;
        }
        self.at += 1;
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            let to = rest.iter().position(|b| matches!(b, b'"' | b'\\'))?;
            let ends = rest.get(to) == Some(&b'"');
            // Past the quote, or past the backslash and what it escapes.
            self.at += to + if ends { 1 } else { 2 };
            if ends {
                return Some(());
            }
        }
    }

    /// Goes past any value; gives its text.
    fn value(&mut self) -> Option<&'a str> {
        self.skip_space();
        let start = self.at;
        match self.peek()? {
            b'"' => self.skip_string()?,
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
