//! Writing into the arena that goes back to the host.

use std::io;

/// Serde writes JSON in many short pieces. On wasm a copy whose length isn't known beforehand is a call out of
/// the plugin; a short piece is copied eight bytes at a time instead.
pub(crate) struct Arena<'a>(pub(crate) &'a mut Vec<u8>);

/// From here on the call is worth it.
const LONG: usize = 64;

impl Arena<'_> {
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if bytes.len() >= LONG {
            return self.0.extend_from_slice(bytes);
        }
        self.0.reserve(LONG);
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.0.extend_from_slice(word));
        let (fours, rest) = rest.as_chunks::<4>();
        fours.iter().for_each(|four| self.0.extend_from_slice(four));
        rest.iter().for_each(|byte| self.0.push(*byte));
    }
}

impl io::Write for Arena<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

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
