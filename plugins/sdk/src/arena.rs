//! Writing into the arena that goes back to the host.

use std::io;

/// Serde writes JSON in many short pieces. On wasm a copy whose length isn't known beforehand is a call out of
/// the plugin; a short piece is copied in words instead.
pub(crate) struct Arena<'a>(pub(crate) &'a mut Vec<u8>);

/// From here on the call is worth it, in bytes.
const LONG: usize = 64;

/// What is written at once, in bytes.
const BLOCK: usize = 16;

impl Arena<'_> {
    /// Inlined where it is called with a piece of known length, most of which are one byte.
    #[inline(always)]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        match bytes {
            [byte] => self.0.push(*byte),
            _ => self.put_more(bytes),
        }
    }

    fn put_more(&mut self, bytes: &[u8]) {
        match bytes {
            _ if bytes.len() >= LONG => self.0.extend_from_slice(bytes),
            _ => {
                let (blocks, rest) = bytes.as_chunks::<BLOCK>();
                blocks.iter().for_each(|block| self.0.extend_from_slice(block));
                self.put_rest(rest);
            }
        }
    }

    /// Less than a block: copied as two words that may overlap, then written as a whole block and cut.
    fn put_rest(&mut self, bytes: &[u8]) {
        let mut block = [0; BLOCK];
        if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            block[..8].copy_from_slice(first);
            block[bytes.len() - 8..bytes.len()].copy_from_slice(last);
        } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
            block[..4].copy_from_slice(first);
            block[bytes.len() - 4..bytes.len()].copy_from_slice(last);
        } else {
            bytes.iter().zip(&mut block).for_each(|(byte, place)| *place = *byte);
        }
        let end = self.0.len() + bytes.len();
        self.0.extend_from_slice(&block);
        self.0.truncate(end);
    }
}

impl io::Write for Arena<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    #[inline(always)]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Arena;

    #[test]
    fn pieces_of_every_length_arrive_whole() {
        let text: Vec<u8> = (0..=255).collect();
        let mut arena = Vec::new();
        let mut expected = Vec::new();
        for length in 0..=text.len() {
            Arena(&mut arena).put(&text[..length]);
            expected.extend_from_slice(&text[..length]);
        }
        assert_eq!(arena, expected);
    }
}
