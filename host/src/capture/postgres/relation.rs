//! A table as the stream's rows are of it, and how its rows become changes. Made of a Relation message
//! and the catalog; a snapshot's rows are read by one made of the catalog alone.

use std::borrow::Cow;

use crate::event::{Change, Missing, Name, Operation};

use super::super::json::write_text;
use super::decode::{Datum, Old};
use super::key::NoKey;
use super::value::Kind;

mod row;

/// A column of a table, in the order of its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub name: Name,
    /// The type's OID: another one is another column.
    pub oid: u32,
    pub kind: Kind,
    /// A part of the replica identity.
    pub identity: bool,
    /// It never enters.
    pub excluded: bool,
    /// The name as JSON has it before a value: `"a":`.
    label: Box<str>,
}

impl Column {
    pub(crate) fn new(name: &str, oid: u32, kind: Kind, identity: bool, excluded: bool) -> Self {
        let mut label = String::with_capacity(name.len() + 3);
        write_text(name, &mut label);
        label.push(':');
        Self { name: name.into(), oid, kind, identity, excluded, label: label.into() }
    }
}

/// A table that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    pub schema: Name,
    /// As events name it: with its schema, but for `public`.
    pub table: Name,
    pub columns: Vec<Column>,
    /// A part of it has no full replica identity although it has: see [`Self::believed`].
    pub mixed: bool,
    /// Where the key's columns are, in the key's order.
    pub(super) key: Vec<usize>,
}

pub(super) type Values<'a> = [Datum<'a>];

impl Relation {
    /// `primary`: the primary key's columns in its order, as the catalog has it. With replica identity
    /// FULL (`f`) it is the key, and where there is none all columns are; otherwise the identity is, since
    /// a deleted row shows nothing else. An excluded column is never in it.
    pub(crate) fn new(schema: Name, table: Name, columns: Vec<Column>, identity: u8, primary: &[String]) -> Self {
        let place = |name: &String| columns.iter().position(|column| *column.name == **name);
        let places = |wanted: &dyn Fn(&Column) -> bool| -> Vec<usize> {
            columns.iter().enumerate().filter(|(_, column)| wanted(column)).map(|(at, _)| at).collect()
        };
        let declared: Option<Vec<usize>> = primary.iter().map(place).collect();
        let declared = declared.filter(|declared| !declared.is_empty());
        let of_identity = |places: &[usize]| places.iter().all(|at| columns[*at].identity);
        let declared = declared.filter(|declared| declared.iter().all(|at| !columns[*at].excluded));
        let key = match declared {
            Some(declared) if identity == b'f' || of_identity(&declared) => declared,
            _ if identity == b'f' => places(&|column| !column.excluded),
            _ => places(&|column| column.identity && !column.excluded),
        };
        Self { schema, table, columns, mixed: false, key }
    }

    /// Where the key's columns are, in the key's order.
    pub(crate) fn key_places(&self) -> &[usize] {
        &self.key
    }

    /// The names of the key's columns, in the key's order.
    pub(super) fn key_names(&self) -> Vec<Box<str>> {
        self.key.iter().map(|at| self.columns[*at].name.as_ref().into()).collect()
    }

    /// Of an old row of a partition without a full replica identity, the server sends the key and NULL for all
    /// else, as if that were the row: what is NULL in it isn't known.
    fn believed<'a, 'b>(&self, old: &'b Old<'a>) -> Cow<'b, Old<'a>> {
        if !(self.mixed && old.whole) {
            return Cow::Borrowed(old);
        }
        let known = |datum: &Datum<'a>| if *datum == Datum::Null { Datum::Unchanged } else { *datum };
        Cow::Owned(Old { values: old.values.iter().map(known).collect(), whole: true })
    }

    pub(crate) fn insert(&self, operation: Operation, new: &Values<'_>) -> Result<Change, NoKey> {
        let mut missing = Vec::new();
        let after = self.json(new, None, true, &mut missing);
        Ok(self.change(operation, self.key(new, None)?, None, Some(after), missing))
    }

    pub(crate) fn delete(&self, old: &Old<'_>) -> Result<Change, NoKey> {
        let old = self.believed(old);
        let mut missing = Vec::new();
        let before = self.json(&old.values, None, old.whole, &mut missing);
        Ok(self.change(Operation::Delete, self.key(&old.values, None)?, Some(before), None, missing))
    }

    pub(crate) fn truncate(&self) -> Change {
        self.change(Operation::Truncate, "".into(), None, None, Vec::new())
    }

    /// None where nothing changed; a delete and an insert where the key did.
    pub(crate) fn update(
        &self,
        old: Option<&Old<'_>>,
        new: &Values<'_>,
    ) -> Result<(Option<Change>, Option<Change>), NoKey> {
        let old = old.map(|old| self.believed(old));
        let old = old.as_deref();
        let whole = old.filter(|old| old.whole).map(|old| old.values.as_slice());
        let key = self.key(new, old)?;
        if let Some(old) = old
            && !self.keeps_key(old, new)
            && self.key(&old.values, None)? != key
        {
            let mut missing = Vec::new();
            let after = self.json(new, Some(old), true, &mut missing);
            return Ok((
                Some(self.delete(old)?),
                Some(self.change(Operation::Insert, key, None, Some(after), missing)),
            ));
        }
        let mut missing = Vec::new();
        let differs: Vec<bool> = (0..self.columns.len()).map(|at| self.differs(whole, new, at)).collect();
        let changed = self.columns.iter().zip(&differs).filter(|(_, differs)| **differs);
        let changed: Vec<Name> = changed.map(|(column, _)| Name::clone(&column.name)).collect();
        if changed.is_empty() {
            return Ok((None, None));
        }
        // Without the old row all that is known of it is its key, and that stands in the new one.
        let (before, after) = match whole {
            Some(whole) => {
                let mut ends = Vec::with_capacity(self.columns.len());
                let before = self.json_noting(whole, None, true, &mut missing, |end| ends.push(end));
                let after = self.json_from(&before, &ends, &differs, new, &mut missing);
                (Some(before), after)
            }
            None => (None, self.json(new, old, true, &mut missing)),
        };
        let mut change = self.change(Operation::Update, key, before, Some(after), missing);
        change.changed = changed;
        Ok((Some(change), None))
    }

    /// Says in a snapshot that what it told of a row before doesn't count.
    pub(crate) fn void(&self, key: Box<str>) -> Change {
        self.change(Operation::Delete, key, None, None, Vec::new())
    }

    fn change(
        &self,
        operation: Operation,
        key: Box<str>,
        before: Option<Box<str>>,
        after: Option<Box<str>>,
        missing: Vec<Missing>,
    ) -> Change {
        Change {
            schema: Name::clone(&self.schema),
            table: Name::clone(&self.table),
            operation,
            key,
            before,
            after,
            changed: Vec::new(),
            missing,
        }
    }

    /// Whether a column that enters differs; without the old row all but the key's may.
    fn differs(&self, old: Option<&Values<'_>>, new: &Values<'_>, at: usize) -> bool {
        let differs = match (old, new.get(at)) {
            (_, Some(Datum::Unchanged)) => false,
            (Some(old), new) => old.get(at) != new,
            (None, _) => !self.key.contains(&at),
        };
        differs && !self.columns[at].excluded
    }

    /// The value at a place: one that an update left as it was is taken from the old row. Of one that isn't whole,
    /// only the replica identity is known: an update sends it also where a part of it is too wide to be in the new row.
    pub(super) fn value<'a>(&self, values: &Values<'a>, old: Option<&Old<'a>>, at: usize) -> Datum<'a> {
        match (values.get(at), old) {
            (Some(Datum::Unchanged), Some(old)) if old.whole || self.columns[at].identity => {
                old.values.get(at).copied().unwrap_or(Datum::Unchanged)
            }
            (Some(datum), _) => *datum,
            (None, _) => Datum::Unchanged,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::super::json::LARGEST;
    use super::*;
    use Datum::{Null, Text, Unchanged};

    pub(in super::super) fn relation(identity: u8, primary: &[&str]) -> Relation {
        let of_identity = |name: &str| identity == b'f' || primary.contains(&name);
        let column = |name: &str, kind, excluded| Column::new(name, 0, kind, of_identity(name), excluded);
        let columns = vec![
            column("id", Kind::Integer, false),
            column("v", Kind::Text, false),
            column("secret", Kind::Text, true),
        ];
        let primary: Vec<String> = primary.iter().map(|name| (*name).to_owned()).collect();
        Relation::new("public".into(), "t".into(), columns, identity, &primary)
    }

    pub(in super::super) fn whole<'a>(values: &[Datum<'a>]) -> Old<'a> {
        Old { whole: true, values: values.to_vec() }
    }

    #[test]
    fn an_update_has_both_rows_and_names_what_differs() {
        let old = whole(&[Text("1"), Text("x"), Text("s")]);
        let (change, second) = relation(b'f', &["id"]).update(Some(&old), &[Text("1"), Null, Text("other")]).unwrap();
        let change = change.unwrap();
        assert_eq!((&*change.key, second), ("1", None));
        assert_eq!(change.before.as_deref(), Some(r#"{"id":1,"v":"x"}"#));
        assert_eq!(change.after.as_deref(), Some(r#"{"id":1,"v":null}"#));
        assert_eq!(change.changed, ["v".into()], "what is excluded isn't even named");
    }

    /// What doesn't differ is copied from the row before: nothing of that shows.
    #[test]
    fn a_row_after_is_what_it_would_be_by_itself() {
        let large = ["x".repeat(LARGEST + 1), "y".repeat(LARGEST + 2)];
        let olds = [Null, Text("1"), Text(&large[0]), Unchanged];
        let news = [Null, Unchanged, Text("1"), Text("2,"), Text(&large[0]), Text(&large[1])];
        let mut relation = relation(b'f', &["id"]);
        relation.columns.insert(1, Column::new("w", 0, Kind::Text, true, false));
        for old in &olds {
            for other in &olds {
                for new in &news {
                    for second in &news {
                        // Without a first column the two begin the row.
                        for excluded in [false, true] {
                            relation.columns[0].excluded = excluded;
                            let before = whole(&[Text("7"), *old, *other, Text("s")]);
                            // Of a row with fewer values than the table has columns the others are missing.
                            let after = [Text("7"), *new, *second, Text("t")];
                            let after = if excluded { &after[..3] } else { &after[..] };
                            let (change, None) = relation.update(Some(&before), after).unwrap() else { panic!() };
                            let Some(change) = change else { continue };
                            let mut missing = Vec::new();
                            let expected = [
                                relation.json(&before.values, None, true, &mut missing),
                                relation.json(after, Some(&before), true, &mut missing),
                            ];
                            assert_eq!([change.before.unwrap(), change.after.unwrap()], expected);
                            assert_eq!(change.missing, missing);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn an_update_of_excluded_columns_alone_is_no_change() {
        let old = whole(&[Text("1"), Text("x"), Text("s")]);
        let made = relation(b'f', &["id"]).update(Some(&old), &[Text("1"), Unchanged, Text("other")]).unwrap();
        assert_eq!(made, (None, None));
    }

    #[test]
    fn a_value_that_is_not_sent_is_taken_from_the_old_row_or_named() {
        let old = whole(&[Text("1"), Text("x"), Null]);
        let relation = relation(b'f', &["id"]);
        let (moved, made) = relation.update(Some(&old), &[Text("2"), Unchanged, Null]).unwrap();
        assert_eq!(moved.unwrap().operation, Operation::Delete);
        assert_eq!(made.unwrap().after.as_deref(), Some(r#"{"id":2,"v":"x"}"#));
        let by_key = self::relation(b'd', &["id"]);
        let (change, _) = by_key.update(None, &[Text("1"), Unchanged, Text("new")]).unwrap();
        assert_eq!(change, None, "only an excluded column can have changed");
        let (change, _) = by_key.update(None, &[Text("1"), Text("y"), Unchanged]).unwrap();
        let change = change.unwrap();
        assert_eq!((change.before, change.changed), (None, vec!["v".into()]));
        let (_, made) = by_key
            .update(Some(&Old { whole: false, values: vec![Text("1"), Null, Null] }), &[Text("2"), Unchanged, Null])
            .unwrap();
        let made = made.unwrap();
        assert_eq!(made.after.as_deref(), Some(r#"{"id":2}"#), "never null for what isn't known");
        assert_eq!(&*made.missing[0].column, "v");
    }

    #[test]
    fn a_key_that_is_not_sent_is_taken_from_the_old_key() {
        let relation = relation(b'd', &["id"]);
        let old = Old { whole: false, values: vec![Text("wide"), Null, Null] };
        let (change, second) = relation.update(Some(&old), &[Unchanged, Text("y"), Unchanged]).unwrap();
        let change = change.unwrap();
        assert_eq!((change.operation, &*change.key, second), (Operation::Update, "wide", None));
        assert_eq!(change.after.as_deref(), Some(r#"{"id":"wide","v":"y"}"#));
        assert_eq!((change.before, change.changed, change.missing.len()), (None, vec!["v".into()], 0));
        // Nothing else of the old row is known: what isn't sent is missing, and no null.
        let two = self::relation(b'd', &["id", "v"]);
        let old = Old { whole: false, values: vec![Text("1"), Text("wide"), Null] };
        let (gone, made) = two.update(Some(&old), &[Text("2"), Unchanged, Unchanged]).unwrap();
        assert_eq!(&*gone.unwrap().key, r#"[1,"wide"]"#);
        assert_eq!(&*made.unwrap().key, r#"[2,"wide"]"#);
    }

    #[test]
    fn a_deleted_row_shows_what_is_known_of_it() {
        let old = Old { whole: false, values: vec![Text("1"), Null, Null] };
        let change = relation(b'd', &["id"]).delete(&old).unwrap();
        assert_eq!((&*change.key, change.before.as_deref()), ("1", Some(r#"{"id":1}"#)));
        assert_eq!(&*change.missing[0].column, "v");
        let change = relation(b'f', &["id"]).delete(&whole(&[Text("1"), Text("x"), Null])).unwrap();
        assert_eq!((change.before.as_deref(), change.missing.len()), (Some(r#"{"id":1,"v":"x"}"#), 0));
    }

    #[test]
    fn the_key_is_the_primary_key_or_the_replica_identity_or_the_row() {
        let row = [Text("7"), Text("x"), Text("s")];
        let key = |relation: Relation| relation.insert(Operation::Insert, &row).unwrap().key;
        assert_eq!(&*key(relation(b'f', &["id"])), "7");
        assert_eq!(&*key(relation(b'f', &["v", "id"])), r#"["x",7]"#);
        assert_eq!(&*key(relation(b'f', &[])), r#"[7,"x"]"#, "without what is excluded");
        assert_eq!(&*key(relation(b'd', &["id"])), "7");
        assert_eq!(relation(b'n', &[]).insert(Operation::Insert, &row), Err(NoKey));
    }

    #[test]
    fn a_value_that_no_record_holds_is_named_with_its_size() {
        let large = "x".repeat(LARGEST + 1);
        let change = relation(b'f', &["id"]).insert(Operation::Insert, &[Text("1"), Text(&large), Null]).unwrap();
        assert_eq!((change.after.as_deref(), change.missing[0].bytes), (Some(r#"{"id":1}"#), 524_289));
    }
}
