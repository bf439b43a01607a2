//! The key of a row, as its events have it: what tells it apart from all others of its table.

use super::super::json::write_digest;
use super::decode::{Datum, Old};
use super::relation::{Relation, Values};

/// A longer key has digests in it: in the smallest record there is room for this, and for the rest of an event.
const LONGEST_KEY: usize = 32 << 10;

/// What the digest of a value takes, about.
const DIGEST: usize = 100;

/// A row can't be told of: its key was not sent, or isn't what the table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoKey;

impl Relation {
    /// A row's key. One that is long, most likely a whole row, has digests in the place of its long values: the same
    /// for the row's insert and its delete, since nothing but the values decides.
    pub(super) fn key(&self, values: &Values<'_>, old: Option<&Old<'_>>) -> Result<Box<str>, NoKey> {
        // With the last one even the most columns that a table may have are within what any record holds.
        const LONGEST_VALUES: [usize; 3] = [LONGEST_KEY, 1 << 10, 0];
        let mut key = Err(NoKey);
        for longest in LONGEST_VALUES {
            key = self.key_of(values, old, longest);
            if key.as_ref().is_ok_and(|key| key.len() <= LONGEST_KEY) {
                break;
            }
        }
        key
    }

    /// Whether the values of the key are the same, as most updates leave them; false says nothing.
    pub(super) fn keeps_key(&self, old: &Old<'_>, new: &Values<'_>) -> bool {
        self.key.iter().all(|at| match (self.value(&old.values, None, *at), self.value(new, Some(old), *at)) {
            (Datum::Text(old), Datum::Text(new)) => old == new,
            (Datum::Null, Datum::Null) => true,
            _ => false,
        })
    }

    /// `longest`: a value of more bytes is written as its digest, unless that is longer.
    fn key_of(&self, values: &Values<'_>, old: Option<&Old<'_>>, longest: usize) -> Result<Box<str>, NoKey> {
        if let [at] = self.key.as_slice() {
            let value = self.value(values, old, *at);
            // Mostly it is the key as it is.
            let mut key =
                String::with_capacity(if let Datum::Text(text) = value { text.len().min(longest) } else { 0 });
            match value {
                Datum::Text(text) if text.len() > longest.max(DIGEST) => write_digest(text, &mut key),
                Datum::Text(text) => self.columns[*at].kind.write_key(text, &mut key),
                Datum::Null => key.push_str("null"),
                Datum::Unchanged => return Err(NoKey),
            }
            return Ok(key.into());
        }
        let mut key = String::new();
        for at in &self.key {
            key.push(if key.is_empty() { '[' } else { ',' });
            match self.value(values, old, *at) {
                Datum::Text(text) if text.len() > longest.max(DIGEST) => write_digest(text, &mut key),
                Datum::Text(text) => self.columns[*at].kind.write_json(text, &mut key),
                Datum::Null => key.push_str("null"),
                Datum::Unchanged => return Err(NoKey),
            }
        }
        if key.is_empty() {
            return Err(NoKey);
        }
        key.push(']');
        Ok(key.into())
    }
}

#[cfg(test)]
mod tests {
    use Datum::{Null, Text};

    use super::super::super::json::LARGEST;
    use super::super::relation::Column;
    use super::super::relation::tests::{relation, whole};
    use super::super::value::Kind;
    use super::*;
    use crate::event::Operation;

    #[test]
    fn a_key_that_is_too_long_has_a_digest_in_the_place_of_its_long_values() {
        let large = "x".repeat(LARGEST + 1);
        let row = [Text("1"), Text(&large), Null];
        let key = relation(b'f', &["v"]).insert(Operation::Insert, &row).unwrap().key;
        assert!(key.starts_with("{\"sha256\":\"") && key.ends_with(",\"bytes\":524289}"), "{key}");
        let keyless = relation(b'f', &[]);
        let (made, gone) = (keyless.insert(Operation::Insert, &row).unwrap(), keyless.delete(&whole(&row)).unwrap());
        assert_eq!(&*made.key, format!("[1,{key}]"));
        assert_eq!(made.key, gone.key);
        let other = keyless.insert(Operation::Insert, &[Text("1"), Text(&large[1..]), Null]).unwrap();
        assert_ne!(other.key, made.key);
        // Many that are long together.
        let columns = (0..1_600).map(|n| Column::new(&format!("c{n}"), 0, Kind::Text, true, false)).collect();
        let wide = Relation::new("public".into(), "w".into(), columns, b'f', &[]);
        let (some, many) = ("s".repeat(30), "\u{1}".repeat(1_000));
        for value in [&some, &many] {
            let row = vec![Text(value); 1_600];
            let key = wide.insert(Operation::Insert, &row).unwrap().key;
            assert!(key.len() < 200_000, "{}", key.len());
        }
    }
}
