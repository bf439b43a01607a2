//! Reads pgoutput's messages, protocol version 1, as PostgreSQL's manual specifies them ("Logical
//! Replication Message Formats"). Borrows from the bytes; whatever they are, it never panics.

/// A message within a transaction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// What a table looks like from here on.
    Relation(RelationMessage<'a>),
    Insert {
        relation: u32,
        new: Tuple<'a>,
    },
    Update {
        relation: u32,
        old: Option<Old<'a>>,
        new: Tuple<'a>,
    },
    Delete {
        relation: u32,
        old: Old<'a>,
    },
    Truncate {
        relations: Vec<u32>,
    },
    /// A type's name, an origin, a message of somebody: nothing for us.
    Other,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RelationMessage<'a> {
    pub id: u32,
    /// Empty for `pg_catalog`.
    pub schema: &'a str,
    pub table: &'a str,
    /// `d`, `n`, `f` or `i`, as in `pg_class.relreplident`.
    pub identity: u8,
    pub columns: Vec<RelationColumn<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RelationColumn<'a> {
    /// Of the replica identity; with FULL all are.
    pub key: bool,
    pub name: &'a str,
    /// The type's OID, and what is in brackets behind it; -1: nothing.
    pub kind: u32,
    pub modifier: i32,
}

pub(crate) type Tuple<'a> = Vec<Datum<'a>>;

/// A row as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Old<'a> {
    /// All columns are there; otherwise those of the replica identity alone, and the others look null.
    pub whole: bool,
    pub values: Tuple<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Datum<'a> {
    Null,
    /// A value kept out of line that an update did not touch: it isn't sent.
    Unchanged,
    /// The type's text form.
    Text(&'a str),
}

/// A message that isn't one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("a message of the replication stream ends too early")]
    Short,
    #[error("a message of the replication stream is longer than what it says")]
    Long,
    #[error("the replication stream has an unknown {0} {1:?}")]
    Unknown(&'static str, char),
    #[error("the replication stream has a text that isn't UTF-8")]
    Utf8,
    #[error("the replication stream has binary values, which nobody asked for")]
    Binary,
}

type Result<T> = std::result::Result<T, DecodeError>;

/// Reads one message.
pub(crate) fn decode(bytes: &[u8]) -> Result<Message<'_>> {
    let mut input = Input(bytes);
    let message = match input.byte()? {
        b'R' => Message::Relation(relation(&mut input)?),
        b'I' => {
            let relation = input.u32()?;
            expect(&mut input, b'N')?;
            Message::Insert { relation, new: tuple(&mut input)? }
        }
        b'U' => {
            let relation = input.u32()?;
            let old = match input.byte()? {
                b'N' => None,
                kind => {
                    let old = old(kind, &mut input)?;
                    expect(&mut input, b'N')?;
                    Some(old)
                }
            };
            Message::Update { relation, old, new: tuple(&mut input)? }
        }
        b'D' => {
            let relation = input.u32()?;
            let kind = input.byte()?;
            Message::Delete { relation, old: old(kind, &mut input)? }
        }
        b'T' => {
            let count = input.u32()?;
            let _options = input.byte()?;
            let relations: Result<Vec<u32>> = (0..count).map(|_| input.u32()).collect();
            Message::Truncate { relations: relations? }
        }
        b'Y' | b'O' | b'M' | b'B' | b'C' => return Ok(Message::Other),
        other => return Err(DecodeError::Unknown("message", other.into())),
    };
    if input.0.is_empty() { Ok(message) } else { Err(DecodeError::Long) }
}

fn relation<'a>(input: &mut Input<'a>) -> Result<RelationMessage<'a>> {
    let (id, schema, table) = (input.u32()?, input.text()?, input.text()?);
    let identity = input.byte()?;
    let count = input.u16()?;
    let column = |_| -> Result<RelationColumn<'a>> {
        let (flags, name, kind, modifier) = (input.byte()?, input.text()?, input.u32()?, input.u32()?);
        Ok(RelationColumn { key: flags & 1 != 0, name, kind, modifier: modifier.cast_signed() })
    };
    let columns: Result<Vec<_>> = (0..count).map(column).collect();
    Ok(RelationMessage { id, schema, table, identity, columns: columns? })
}

fn old<'a>(kind: u8, input: &mut Input<'a>) -> Result<Old<'a>> {
    let whole = match kind {
        b'O' => true,
        b'K' => false,
        other => return Err(DecodeError::Unknown("kind of row", other.into())),
    };
    Ok(Old { whole, values: tuple(input)? })
}

fn tuple<'a>(input: &mut Input<'a>) -> Result<Tuple<'a>> {
    let count = usize::from(input.u16()?);
    let rest = input.0;
    // Mostly all that follows reads as text, short lengths too: then it is looked at once, not value by value.
    let whole = utf8(rest).ok();
    // Each value takes a byte at least.
    let mut values = Vec::with_capacity(count.min(rest.len()));
    for _ in 0..count {
        values.push(match input.byte()? {
            b'n' => Datum::Null,
            b'u' => Datum::Unchanged,
            b't' => {
                let length = input.u32()?;
                let bytes = input.take(usize::try_from(length).map_err(|_| DecodeError::Short)?)?;
                let end = rest.len() - input.0.len();
                match whole.and_then(|whole| whole.get(end - bytes.len()..end)) {
                    Some(text) => Datum::Text(text),
                    None => Datum::Text(utf8(bytes)?),
                }
            }
            b'b' => return Err(DecodeError::Binary),
            other => return Err(DecodeError::Unknown("kind of value", other.into())),
        });
    }
    Ok(values)
}

fn expect(input: &mut Input<'_>, wanted: u8) -> Result<()> {
    match input.byte()? {
        found if found == wanted => Ok(()),
        other => Err(DecodeError::Unknown("kind of row", other.into())),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8)
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Up to a zero.
    fn text(&mut self) -> Result<&'a str> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(DecodeError::Short)?;
        let text = utf8(self.take(end)?)?;
        self.take(1)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn push_tuple(out: &mut Vec<u8>, tuple: &[Option<Option<String>>]) {
        out.extend(u16::try_from(tuple.len()).unwrap().to_be_bytes());
        for datum in tuple {
            match datum {
                None => out.push(b'u'),
                Some(None) => out.push(b'n'),
                Some(Some(text)) => {
                    out.push(b't');
                    out.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                    out.extend(text.as_bytes());
                }
            }
        }
    }

    fn read_back(tuple: &[Option<Option<String>>]) -> Tuple<'_> {
        let read = tuple.iter().map(|datum| match datum {
            None => Datum::Unchanged,
            Some(None) => Datum::Null,
            Some(Some(text)) => Datum::Text(text),
        });
        read.collect()
    }

    fn row() -> impl Strategy<Value = Vec<Option<Option<String>>>> {
        prop::collection::vec(prop::option::of(prop::option::of(".{0,200}")), 0..6)
    }

    fn update(
        relation: u32,
        old: Option<(bool, &[Option<Option<String>>])>,
        new: &[Option<Option<String>>],
    ) -> Vec<u8> {
        let mut bytes = vec![b'U'];
        bytes.extend(relation.to_be_bytes());
        if let Some((whole, old)) = old {
            bytes.push(if whole { b'O' } else { b'K' });
            push_tuple(&mut bytes, old);
        }
        bytes.push(b'N');
        push_tuple(&mut bytes, new);
        bytes
    }

    const RELATION: &[u8] =
        b"R\0\0\x40\x01public\0t\0f\0\x02\x01id\0\0\0\0\x14\xff\xff\xff\xff\0v\0\0\0\0\x19\xff\xff\xff\xff";

    #[test]
    fn a_relation_is_read() {
        let Message::Relation(relation) = decode(RELATION).unwrap() else { panic!() };
        assert_eq!((relation.id, relation.schema, relation.table, relation.identity), (16385, "public", "t", b'f'));
        assert_eq!(relation.columns[0], RelationColumn { key: true, name: "id", kind: 20, modifier: -1 });
        assert_eq!(relation.columns[1], RelationColumn { key: false, name: "v", kind: 25, modifier: -1 });
    }

    #[test]
    fn a_truncate_names_all_its_tables() {
        let bytes = b"T\0\0\0\x02\x03\0\0\0\x07\0\0\0\x08";
        assert_eq!(decode(bytes), Ok(Message::Truncate { relations: vec![7, 8] }));
        // A count that no message can hold reserves nothing.
        assert_eq!(decode(b"T\xff\xff\xff\xff\0"), Err(DecodeError::Short));
    }

    #[test]
    fn a_message_cut_short_anywhere_is_an_error() {
        let row = [Some(Some("a".to_owned())), None, Some(None)];
        let messages = [RELATION.to_vec(), update(7, Some((true, &row)), &row), b"T\0\0\0\x01\0\0\0\0\x07".to_vec()];
        for message in messages {
            assert!(decode(&message).is_ok());
            for end in 0..message.len() {
                assert_eq!(decode(&message[..end]), Err(DecodeError::Short), "{end} of {message:?}");
            }
            assert_eq!(decode(&[message.as_slice(), b"x"].concat()), Err(DecodeError::Long));
        }
    }

    /// A length that reads as the first half of a character, and a value that is the other half.
    #[test]
    fn a_value_that_begins_within_a_character_is_no_text() {
        let mut bytes = [b"I\0\0\0\x07N\0\x01t\0\0\0\xc3\xa1".as_slice(), &[b'x'; 0xc2]].concat();
        assert!(std::str::from_utf8(&bytes[5..]).is_ok());
        assert_eq!(decode(&bytes), Err(DecodeError::Utf8));
        bytes[13] = b'x';
        assert!(decode(&bytes).is_ok());
    }

    proptest! {
        #[test]
        fn an_update_is_read_as_it_was_written(
            relation: u32, whole: bool, old in prop::option::of(row()), new in row(),
        ) {
            let bytes = update(relation, old.as_ref().map(|old| (whole, old.as_slice())), &new);
            let expected = Message::Update {
                relation,
                old: old.as_ref().map(|old| Old { whole, values: read_back(old) }),
                new: read_back(&new),
            };
            prop_assert_eq!(decode(&bytes), Ok(expected));
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(
            tag in prop::sample::select(b"RIUDTYOMBC?".to_vec()), mut bytes: Vec<u8>,
        ) {
            bytes.insert(0, tag);
            let _ = decode(&bytes);
        }

        #[test]
        fn a_message_with_a_wrong_byte_is_a_message_or_an_error(old in row(), new in row(), at: prop::sample::Index, to: u8) {
            let mut bytes = update(7, Some((true, &old)), &new);
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = decode(&bytes);
        }
    }
}
