//! The outside of a stored record: a version byte, a checksum, and what is within, compressed where that is worth it.

use std::borrow::Cow;
use std::cell::RefCell;

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

/// Makes a body of its postcard, which is in `parts`: compressed where that is worth it. Gives with it what it takes
/// uncompressed, in bytes.
pub(super) fn seal(parts: &[&[u8]]) -> (Vec<u8>, usize) {
    BUFFERS.with_borrow_mut(|Buffers { whole, packed }| {
        whole.clear();
        parts.iter().for_each(|part| whole.extend_from_slice(part));
        let size = HEAD + whole.len();
        let length = u32::try_from(whole.len()).ok().filter(|_| size >= WORTH_PACKING);
        let body = match length.and_then(|length| Some((length, pack(whole, packed)?))) {
            Some((length, packed)) => body(PACKED, &[&length.to_le_bytes(), packed]),
            None => body(VERSION, &[whole]),
        };
        for buffer in [whole, packed] {
            if buffer.capacity() > KEPT {
                *buffer = Vec::new();
            }
        }
        (body, size)
    })
}

/// The LZ4 block, if it is smaller with its length before it.
fn pack<'p>(whole: &[u8], packed: &'p mut Vec<u8>) -> Option<&'p [u8]> {
    let most = lz4_flex::block::get_maximum_output_size(whole.len());
    if packed.len() < most {
        packed.resize(most, 0);
    }
    let length = lz4_flex::block::compress_into(whole, packed).ok()?;
    packed.get(..length).filter(|block| size_of::<u32>() + block.len() < whole.len())
}

/// What is stored: the version, the checksum of the rest, the rest.
fn body(version: u8, rest: &[&[u8]]) -> Vec<u8> {
    let mut sum = crc32fast::Hasher::new();
    rest.iter().for_each(|part| sum.update(part));
    let mut body = Vec::with_capacity(HEAD + rest.iter().map(|part| part.len()).sum::<usize>());
    body.push(version);
    body.extend_from_slice(&sum.finalize().to_le_bytes());
    rest.iter().for_each(|part| body.extend_from_slice(part));
    body
}

thread_local! {
    /// Each thread's own, used again: a record may be half a MiB, and the kernel clears memory that is given back and
    /// taken anew.
    static BUFFERS: RefCell<Buffers> = const { RefCell::new(Buffers { whole: Vec::new(), packed: Vec::new() }) };
}

/// Larger buffers than for the largest records by default are not kept, in bytes.
const KEPT: usize = 1 << 20;

struct Buffers {
    whole: Vec<u8>,
    packed: Vec<u8>,
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
