//! The outside of a stored record: a version byte, a checksum, and what is within, compressed where that is worth it.

use std::borrow::Cow;

/// The first byte of every body. The CRC-32 of what follows is behind it, little-endian.
const VERSION: u8 = 2;

/// Bodies of journals of format 1, which had no checksum.
const UNCHECKED: u8 = 1;

/// As [`VERSION`], with the postcard as an LZ4 block behind its length (four bytes, little-endian).
const PACKED: u8 = 3;

/// What is before the postcard, in bytes.
const HEAD: usize = 5;

/// Bodies from here on are compressed, in bytes: rows and messages repeat each other's names and values.
const WORTH_PACKING: usize = 512;

/// The beginning of a body, to which its postcard is added.
pub(super) fn unsealed() -> Vec<u8> {
    vec![VERSION, 0, 0, 0, 0]
}

/// Compresses a body that began as [`unsealed`] and is done, if that is worth it, and writes its checksum. Gives with it
/// what it takes uncompressed, in bytes.
pub(super) fn seal(mut body: Vec<u8>) -> (Vec<u8>, usize) {
    let size = body.len();
    if size >= WORTH_PACKING
        && let Some(postcard) = body.get(HEAD..)
    {
        let packed = lz4_flex::block::compress_prepend_size(postcard);
        if packed.len() < postcard.len() {
            body.clear();
            body.extend_from_slice(&[PACKED, 0, 0, 0, 0]);
            body.extend_from_slice(&packed);
        }
    }
    let sum = body.get(HEAD..).map_or(0, crc32fast::hash);
    if let Some(place) = body.get_mut(1..HEAD) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
    (body, size)
}

/// The postcard in a stored body; the error says what is wrong with it.
pub(super) fn open(body: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    match body {
        [] => Err("it is empty".into()),
        [UNCHECKED, rest @ ..] => Ok(rest.into()),
        [version @ (VERSION | PACKED), a, b, c, d, rest @ ..] => {
            if crc32fast::hash(rest) != u32::from_le_bytes([*a, *b, *c, *d]) {
                return Err("its checksum is wrong".into());
            }
            if *version == VERSION {
                return Ok(rest.into());
            }
            // Its length is what we wrote: the checksum is right.
            lz4_flex::block::decompress_size_prepended(rest).map(Cow::Owned).map_err(|e| e.to_string())
        }
        [VERSION | PACKED, ..] => Err("its checksum is wrong".into()),
        [version, ..] => Err(format!("its version is {version}, not {VERSION} or {PACKED}")),
    }
}

/// What a stored body takes uncompressed, in bytes.
pub(super) fn size(body: &[u8], postcard: &[u8]) -> usize {
    if body.first() == Some(&PACKED) { HEAD + postcard.len() } else { body.len() }
}
