//! What became of a table between the form that its rows were last read in and the one that the stream describes, and
//! whether rows have values by it that no event tells of.
//!
//! The stream describes a table by names and types alone. What else a change brought, values without a row that
//! tells of them, the catalog says; it is ahead of the stream, so that what it doesn't say is taken for the worst.

use super::decode::RelationMessage;
use super::form::{Column, Form};

/// What became of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reshaped {
    /// In words.
    pub what: String,
    /// Rows have values that no event tells of.
    pub unseen: bool,
}

impl Form {
    /// The form that the stream describes, and what became of this one, if anything did. `catalog`: as it is
    /// now; `excluded`: columns that never enter.
    pub(crate) fn becomes(
        &self,
        message: &RelationMessage<'_>,
        catalog: &Self,
        excluded: &[Box<str>],
    ) -> (Self, Option<Reshaped>) {
        let rewritten = catalog.files.iter().any(|(part, file)| self.files.get(part).is_some_and(|f| f != file));
        // While rows of a former form come, the catalog's is a later one.
        let described = catalog.is_described(message);
        let mut columns = Vec::new();
        let (mut changes, mut unseen) = (Vec::new(), false);
        if self.oid != catalog.oid {
            changes.push("it was made anew".to_owned());
            unseen = true;
        }
        for streamed in &message.columns {
            let there = catalog.column(streamed.name);
            let column = Column {
                name: streamed.name.into(),
                number: there.and_then(|column| column.number),
                kind: streamed.kind,
                modifier: streamed.modifier,
                filled: there.is_none_or(|column| column.filled),
                generated: there.is_some_and(|column| column.generated),
                written: if described { there } else { self.column(streamed.name) }.and_then(|column| column.written),
            };
            if let Some((change, values)) = self.change(&column, rewritten) {
                changes.push(change);
                unseen |= values && !excluded.contains(&column.name);
            }
            columns.push(column);
        }
        let streams = |name: &str| message.columns.iter().any(|column| *column.name == *name);
        let (unstreamed, gone): (Vec<&Column>, Vec<&Column>) =
            self.columns.iter().filter(|column| !streams(&column.name)).partition(|column| column.generated);
        changes.extend(gone.iter().map(|column| format!("column {} is gone", column.name)));
        columns.extend(unstreamed.into_iter().filter(|column| catalog.column(&column.name).is_some()).cloned());
        if ![&self.key, &catalog.key].iter().any(|key| key.is_empty()) && self.key != catalog.key {
            // Whoever keeps rows by their keys knows those that are there by others.
            let (now, before) = (catalog.key.join(", "), self.key.join(", "));
            changes.push(format!("its rows are told apart by {now} instead of {before}"));
            unseen = true;
        }
        // While rows of a former form come, the files are those of a later one. What partitions come and go is
        // told elsewhere, unless a gap is told anyway.
        let partitioned = catalog.files.get(&catalog.oid) == Some(&0);
        let files = if described && (unseen || !partitioned) { &catalog.files } else { &self.files };
        let widest = columns.iter().filter_map(|column| column.number).max().unwrap_or_default();
        let form = Self {
            oid: catalog.oid,
            width: self.width.max(widest),
            columns,
            files: files.clone(),
            joined: self.joined.clone(),
            key: if catalog.key.is_empty() { self.key.clone() } else { catalog.key.clone() },
            carried: self.carried.clone(),
        };
        (form, (!changes.is_empty()).then(|| Reshaped { what: changes.join("; "), unseen }))
    }

    /// Whether the stream has come to this form.
    fn is_described(&self, message: &RelationMessage<'_>) -> bool {
        let same = |column: &&Column| {
            let mut streamed = message.columns.iter().filter(|streamed| *streamed.name == *column.name);
            streamed.next().is_some_and(|s| (s.kind, s.modifier) == (column.kind, column.modifier))
        };
        let shown = self.columns.iter().filter(same).count();
        let unshown = self.columns.iter().filter(|column| column.generated && !same(column)).count();
        shown == message.columns.len() && shown + unshown == self.columns.len()
    }

    /// What is new about a column, and whether it came with values that no event tells of.
    fn change(&self, now: &Column, rewritten: bool) -> Option<(String, bool)> {
        let name = &now.name;
        let Some(before) = self.column(name) else {
            let renamed = now.number.is_some_and(|number| number <= self.width && self.oid != 0);
            return Some(match now.number {
                None => (format!("column {name} is new, and gone or renamed already"), true),
                Some(_) if renamed => (format!("column {name} had another name"), true),
                Some(_) if now.filled => (format!("column {name} is new and has values"), true),
                Some(_) if rewritten => (format!("column {name} is new, and the rows were written anew"), true),
                Some(_) => (format!("column {name} is new"), false),
            });
        };
        let differs =
            |before: Option<u32>, now: Option<u32>| before.zip(now).is_some_and(|(before, now)| before != now);
        let other = matches!((before.number, now.number), (Some(before), Some(now)) if before != now);
        if other {
            Some((format!("column {name} was made anew"), true))
        } else if before.kind != now.kind {
            Some((format!("column {name} has another type"), true))
        } else if before.modifier != now.modifier {
            Some((format!("column {name} has another size"), rewritten))
        } else if rewritten && differs(before.written, now.written) {
            // As `ALTER COLUMN … TYPE`, of the same type, `USING` something does it. (So does `VACUUM FULL` if the
            // column had come with a default that rows didn't have in them.)
            Some((format!("column {name} may have been altered: the rows were written anew"), true))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::decode::RelationColumn;
    use super::*;

    const BIGINT: u32 = 20;
    const TEXT: u32 = 25;

    fn column(name: &str, number: i16) -> Column {
        let kind = if name == "id" { BIGINT } else { TEXT };
        Column {
            name: name.into(),
            number: Some(number),
            kind,
            modifier: -1,
            filled: false,
            generated: false,
            written: Some(50),
        }
    }

    fn form(columns: Vec<Column>) -> Form {
        let width = columns.iter().filter_map(|column| column.number).max().unwrap();
        Form { oid: 7, width, columns, files: [(7, 70)].into(), ..Form::default() }
    }

    fn before() -> Form {
        form(vec![column("id", 1), column("v", 2)])
    }

    /// What becomes of [`before`] when the stream describes the catalog.
    fn becomes(catalog: &Form) -> Option<Reshaped> {
        described(&before(), catalog, catalog).1
    }

    fn described(before: &Form, streamed: &Form, catalog: &Form) -> (Form, Option<Reshaped>) {
        let columns = streamed.columns.iter().map(|column| RelationColumn {
            key: true,
            name: &column.name,
            kind: column.kind,
            modifier: column.modifier,
        });
        let message =
            RelationMessage { id: 7, schema: "public", table: "t", identity: b'f', columns: columns.collect() };
        before.becomes(&message, catalog, &["secret".into()])
    }

    fn seen(reshaped: Option<Reshaped>, what: &str) {
        assert_eq!(reshaped, Some(Reshaped { what: what.into(), unseen: false }));
    }

    fn unseen(reshaped: Option<Reshaped>, what: &str) {
        assert_eq!(reshaped, Some(Reshaped { what: what.into(), unseen: true }));
    }

    #[test]
    fn what_partitions_come_is_not_passed_over_by_a_description() {
        let form = |files: [(u32, u32); 2]| Form { files: files.into(), ..before() };
        let (before, now) = (form([(7, 0), (8, 80)]), form([(7, 0), (8, 81)]));
        let (form, told) = described(&before, &now, &now);
        assert_eq!((form, told), (before, None));
    }

    #[test]
    fn a_table_that_is_as_it_was_and_a_column_without_values_are_no_gap() {
        assert_eq!(becomes(&before()), None);
        assert_eq!(becomes(&Form { files: [(7, 71)].into(), ..before() }), None, "VACUUM FULL alone");
        let added = form(vec![column("id", 1), column("v", 2), column("w", 3)]);
        seen(becomes(&added), "column w is new");
        seen(becomes(&form(vec![column("id", 1)])), "column v is gone");
        let (form_now, _) = described(&before(), &added, &added);
        assert_eq!(described(&form_now, &added, &added).1, None, "it is told once");
    }

    #[test]
    fn a_column_that_brings_values_is_a_gap() {
        let with = |column| form(vec![self::column("id", 1), self::column("v", 2), column]);
        unseen(becomes(&with(Column { filled: true, ..column("w", 3) })), "column w is new and has values");
        let rewritten = Form { files: [(7, 71)].into(), ..with(column("w", 3)) };
        unseen(becomes(&rewritten), "column w is new, and the rows were written anew");
        let secret = Column { filled: true, ..column("secret", 3) };
        seen(becomes(&with(secret)), "column secret is new and has values");
        let gone_since = described(&before(), &with(column("w", 3)), &before());
        unseen(gone_since.1, "column w is new, and gone or renamed already");
    }

    #[test]
    fn a_name_that_is_another_columns_now_is_a_gap() {
        unseen(becomes(&form(vec![column("id", 1), column("w", 2)])), "column w had another name; column v is gone");
        unseen(becomes(&form(vec![column("id", 1), column("v", 3)])), "column v was made anew");
        unseen(becomes(&Form { oid: 8, ..before() }), "it was made anew");
    }

    #[test]
    fn another_type_is_a_gap_and_another_size_where_rows_were_written_anew() {
        let other = |kind, modifier| form(vec![column("id", 1), Column { kind, modifier, ..column("v", 2) }]);
        unseen(becomes(&other(1700, -1)), "column v has another type");
        seen(becomes(&other(TEXT, 20)), "column v has another size");
        unseen(becomes(&Form { files: [(7, 71)].into(), ..other(TEXT, 20) }), "column v has another size");
    }

    #[test]
    fn a_column_that_was_altered_is_a_gap_where_rows_were_written_anew() {
        let altered = |written| form(vec![column("id", 1), Column { written, ..column("v", 2) }]);
        let rewritten = |form: Form| Form { files: [(7, 71)].into(), ..form };
        let told = "column v may have been altered: the rows were written anew";
        unseen(becomes(&rewritten(altered(Some(51)))), told);
        assert_eq!(becomes(&altered(Some(51))), None, "its statistics, say");
        assert_eq!(becomes(&rewritten(altered(None))), None, "another version kept it");
        // An excluded one brings nothing that anybody saw.
        let secret = |written| form(vec![column("id", 1), Column { written, ..column("secret", 2) }]);
        let rewritten = rewritten(secret(Some(51)));
        seen(described(&secret(Some(50)), &rewritten, &rewritten).1, &told.replace(" v ", " secret "));
    }

    #[test]
    fn rows_of_the_former_form_that_come_first_hide_nothing() {
        let rewritten = Form { files: [(7, 71)].into(), ..form(vec![column("id", 1), column("v", 2), column("w", 3)]) };
        let (behind, told) = described(&before(), &before(), &rewritten);
        assert_eq!(told, None);
        unseen(described(&behind, &rewritten, &rewritten).1, "column w is new, and the rows were written anew");
    }

    #[test]
    fn a_generated_column_that_the_stream_does_not_have_is_not_gone() {
        let generated = Column { generated: true, filled: true, ..column("g", 3) };
        let whole = form(vec![column("id", 1), column("v", 2), generated]);
        let (now, reshaped) = described(&whole, &before(), &whole);
        assert_eq!((reshaped, now.columns.len()), (None, 3));
    }
}
