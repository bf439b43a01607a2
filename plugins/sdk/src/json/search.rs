//! Finds members of a row without walking over those before them. Only where the text is known to be one that the host
//! wrote: well-formed, and without space before colons or names that are there twice.
//!
//! In such a text `"name":` can stand within a text only with backslashes before its quotes, and in a nested object only
//! behind that one's `{`. So where it stands and nothing of these comes before, the member is. What isn't found so,
//! `scan` looks for.

use super::scan::{Cursor, is_plain, same};

/// The raw texts of an object's members with these names, if all of them are found this way.
pub(super) fn members<'a, const N: usize>(row: &'a str, names: &[&str; N]) -> Option<[&'a str; N]> {
    let mut found = [""; N];
    // Up to here there is no nested object and no escape.
    let mut clear = 1;
    // The last name first: asked for in the order of columns, it is the likeliest to lie behind one.
    for (name, place) in names.iter().zip(&mut found).rev() {
        // Behind the quote that ends a text comes none of these: the one before the name begins it.
        let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_' || !b.is_ascii());
        if !begins || !is_plain(name.as_bytes()) {
            return None;
        }
        let at = find(row.as_bytes(), name.as_bytes())?;
        if let Some(before) = row.as_bytes().get(clear..at) {
            if has(before, b'{', b'\\') {
                return None;
            }
            clear = at;
        }
        *place = Cursor::at(row, at).value()?;
    }
    Some(found)
}

/// So many bytes are compared together.
const BLOCK: usize = 16;

/// Where the value of the first `"name":` begins. Looks for the first quote and the colon, which stand at a known
/// distance; rarely are they others'.
///
/// wasmtime has SIMD, and an author's build need not ask for it; an engine without it refuses the plugin.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn find(text: &[u8], name: &[u8]) -> Option<usize> {
    let distance = name.len() + 2;
    let colons = text.get(distance..)?;
    let hit = |at: &usize| {
        text[*at] == b'"'
            && colons[*at] == b':'
            && text[*at + distance - 1] == b'"'
            && same(&text[*at + 1..*at + distance - 1], name)
    };
    let mut at = 0;
    while let (Some(quote), Some(colon)) =
        (text.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>), colons.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>))
    {
        let mut any = false;
        for (quote, colon) in quote.iter().zip(colon) {
            any |= (*quote == b'"') & (*colon == b':');
        }
        if any && let Some(at) = (at..at + BLOCK).find(hit) {
            return Some(at + distance + 1);
        }
        at += BLOCK;
    }
    (at..colons.len()).find(hit).map(|at| at + distance + 1)
}

/// Whether one of these two bytes is there.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn has(text: &[u8], one: u8, other: u8) -> bool {
    let is_one = |byte: &u8| (*byte == one) | (*byte == other);
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    let any = |bytes: &[u8]| {
        let mut any = false;
        for byte in bytes {
            any |= is_one(byte);
        }
        any
    };
    blocks.iter().any(|block| any(block)) || any(rest)
}
