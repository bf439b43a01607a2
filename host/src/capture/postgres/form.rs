//! What a watched table looked like when its rows were last read, kept in the journal: so that a change of it is
//! known before the first row of the new form, also one that was made while nobody read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::postgres::types::Oid;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::event::{Name, Position};
use crate::journal::{Append, Journal};

use super::super::error::CaptureError;
use super::catalog::{LEAVES, Part, Table, has_rows};
use super::publication::Carried;
use super::relation::Relation;

/// In the place of a form that isn't kept any more.
const FORGOTTEN: &str = "";

/// A table's form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Form {
    pub(super) oid: u32,
    /// The highest number that a column had: one that comes gets a higher one.
    pub(super) width: i16,
    pub(super) columns: Vec<Column>,
    /// The files of its rows, by the OID of the table or partition: others once the rows were written anew.
    pub(super) files: BTreeMap<u32, u32>,
    /// The transactions that attached its partitions, by their OID. An earlier version kept none.
    #[serde(default)]
    pub(super) joined: BTreeMap<u32, Box<str>>,
    /// The columns whose values are the keys of its events. An earlier version kept none.
    #[serde(default)]
    pub(super) key: Vec<Box<str>>,
    /// What carried all its changes then. None: an earlier version kept it.
    #[serde(default)]
    pub(super) carried: Option<Carried>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Column {
    pub(super) name: Box<str>,
    /// In the catalog; a name may wander from one column to another. None: it had gone there already.
    pub(super) number: Option<i16>,
    /// The type, and what is in brackets behind it.
    pub(super) kind: u32,
    pub(super) modifier: i32,
    /// It has, or had when it came, values of its own accord: a default, an identity, a generation.
    pub(super) filled: bool,
    /// The stream may not have it.
    pub(super) generated: bool,
    /// The transaction that wrote it into the catalog last. None: an earlier version kept it.
    #[serde(default)]
    pub(super) written: Option<u32>,
}

impl Form {
    /// As the catalog has it now.
    pub(crate) async fn read(db: &mut PgConnection, table: &Table) -> Result<Self, CaptureError> {
        let columns = sqlx::query(
            "SELECT attname::text, attnum, atttypid, atttypmod, \
               atthasdef OR atthasmissing OR attidentity <> '' OR attgenerated <> '', attgenerated <> '', xmin::text \
             FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        );
        let columns = columns.bind(Oid(table.oid)).fetch_all(&mut *db).await?;
        let column = |row: &sqlx::postgres::PgRow| -> sqlx::Result<Column> {
            let name: String = row.try_get(0)?;
            Ok(Column {
                name: name.into(),
                number: Some(row.try_get(1)?),
                kind: row.try_get::<Oid, _>(2)?.0,
                modifier: row.try_get(3)?,
                filled: row.try_get(4)?,
                generated: row.try_get(5)?,
                written: row.try_get::<String, _>(6)?.parse().ok(),
            })
        };
        let columns = columns.iter().map(column).collect::<sqlx::Result<_>>()?;
        let files = format!(
            "{LEAVES} SELECT c.oid, coalesce(pg_relation_filenode(c.oid), 0::oid) FROM pg_class c \
             WHERE c.oid = $1 OR c.oid IN (SELECT oid FROM leaves WHERE root = $1)"
        );
        let files = sqlx::query(AssertSqlSafe(files)).bind(Oid(table.oid)).fetch_all(&mut *db).await?;
        let file = |row: &sqlx::postgres::PgRow| Ok((row.try_get::<Oid, _>(0)?.0, row.try_get::<Oid, _>(1)?.0));
        let files = files.iter().map(file).collect::<sqlx::Result<_>>()?;
        let width = sqlx::query_scalar("SELECT coalesce((SELECT relnatts FROM pg_class WHERE oid = $1), 0::int2)");
        let width = width.bind(Oid(table.oid)).fetch_one(&mut *db).await?;
        Ok(Self { oid: table.oid, width, columns, files, joined: joined(table), key: Vec::new(), carried: None })
    }

    /// Whether it is this table's, and not that of another one of its name.
    pub(crate) fn is_of(&self, table: &Table) -> bool {
        self.oid == table.oid
    }

    /// What became of its partitions since, where no event tells of it: in words. The form is that of then.
    pub(crate) async fn moved(&self, db: &mut PgConnection, table: &Table) -> Result<Vec<String>, CaptureError> {
        let mut moved = Vec::new();
        let parts = || table.parts.iter().filter(|part| part.oid != table.oid);
        for gone in self.files.keys().filter(|oid| **oid != table.oid && parts().all(|part| part.oid != **oid)) {
            let name = sqlx::query_scalar("SELECT $1::oid::regclass::text").bind(Oid(*gone));
            let name: String = name.fetch_one(&mut *db).await?;
            moved.push(format!("partition {name} was dropped or detached, with its rows"));
        }
        for part in parts() {
            let joined_anew = self.joined.get(&part.oid).is_some_and(|joined| *joined != part.joined);
            match self.files.get(&part.oid) {
                Some(_) if joined_anew => moved.push(format!("partition {} was detached for a while", part.name)),
                Some(file) if *file == part.file => {}
                Some(_) => moved.push(format!("partition {} was truncated, or its rows were written anew", part.name)),
                None if brought_rows(db, part).await? => {
                    moved.push(format!("partition {} was attached, and it has rows", part.name));
                }
                None => {}
            }
        }
        Ok(moved)
    }

    /// The form with a table's partitions as they are now. A table's own file stays that of its columns: whether its
    /// rows were written anew, [`Self::becomes`] tells.
    pub(crate) fn with_parts(self, table: &Table) -> Self {
        if !table.partitioned {
            return self;
        }
        Self { files: table.parts.iter().map(|part| (part.oid, part.file)).collect(), joined: joined(table), ..self }
    }

    /// The form with the files that partitions got by this transaction, and by none since.
    pub(crate) async fn emptied_by(mut self, db: &mut PgConnection, xid: u32) -> Result<Self, CaptureError> {
        let sql = "SELECT oid, coalesce(pg_relation_filenode(oid), 0::oid) FROM pg_class \
                   WHERE oid = ANY ($1) AND xmin = $2::text::xid AND relkind = 'r'";
        let known: Vec<Oid> = self.files.keys().map(|oid| Oid(*oid)).collect();
        let files: Vec<(Oid, Oid)> = sqlx::query_as(sql).bind(known).bind(xid.to_string()).fetch_all(db).await?;
        self.files.extend(files.into_iter().map(|(part, file)| (part.0, file.0)));
        Ok(self)
    }

    /// Whether it is known what keys its events had: an earlier version kept none.
    pub(crate) fn has_key(&self) -> bool {
        !self.key.is_empty()
    }

    /// The form with the columns whose values are the keys of its events.
    pub(super) fn keyed_by(self, relation: &Relation) -> Self {
        Self { key: relation.key_names(), ..self }
    }

    /// The form with what carries the table's changes now.
    pub(crate) fn carried_by(self, carried: Carried) -> Self {
        Self { carried: Some(carried), ..self }
    }

    /// Whether some changes since then may not have been carried.
    pub(crate) fn missed(&self, carried: &Carried) -> bool {
        self.carried.as_ref().is_some_and(|then| !carried.since(then))
    }

    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| *column.name == *name)
    }

    /// The form that the journal has of a table.
    pub(crate) async fn kept(journal: &Journal, source: &str, table: &Table) -> Result<Option<Self>, CaptureError> {
        let kept = journal.source(&place(source, &table.schema, &table.name)).await?;
        // What another version wrote is as if it weren't there.
        Ok(kept.and_then(|kept| serde_json::from_str(&kept.token).ok()))
    }

    pub(crate) async fn keep(&self, journal: &Journal, source: &str, table: &Table) -> Result<(), CaptureError> {
        // Texts and numbers alone: nothing that can't be written.
        write(journal, place(source, &table.schema, &table.name), serde_json::to_string(self).unwrap_or_default()).await
    }
}

fn joined(table: &Table) -> BTreeMap<u32, Box<str>> {
    let parts = table.parts.iter().filter(|part| !part.joined.is_empty());
    parts.map(|part| (part.oid, part.joined.clone())).collect()
}

/// Whether a partition may have rows from before it was one. One that is made as a partition is entered among the
/// partitions 2 or 3 commands after its columns (counted on PostgreSQL 15); one that is attached, in another
/// transaction, or 5 commands later and more.
async fn brought_rows(db: &mut PgConnection, part: &Part) -> Result<bool, CaptureError> {
    let sql = "SELECT coalesce(bool_and(a.xmin = i.xmin \
                 AND i.cmin::text::int8 - a.cmin::text::int8 BETWEEN 0 AND 4), false) \
               FROM pg_partition_ancestors($1) t JOIN pg_inherits i ON i.inhrelid = t.relid \
               JOIN pg_attribute a ON a.attrelid = t.relid AND a.attname = 'tableoid'";
    if sqlx::query_scalar::<_, bool>(sql).bind(Oid(part.oid)).fetch_one(&mut *db).await? {
        return Ok(false);
    }
    has_rows(db, &part.quoted()).await
}

/// Schema and name of a source's tables whose form the journal has.
pub(crate) async fn known(journal: &Journal, source: &str) -> Result<Vec<(String, String)>, CaptureError> {
    let prefix = format!("{source}:");
    let kept = journal.sources(&prefix).await?;
    let kept = kept.iter().filter(|(_, kept)| *kept.token != *FORGOTTEN);
    let table = |name: &str| {
        let (schema, name) = name.strip_prefix(&prefix)?.split_once('.')?;
        Some((schema.to_owned(), name.to_owned()))
    };
    let mut tables: Vec<_> = kept.filter_map(|(name, _)| table(name)).collect();
    tables.sort();
    Ok(tables)
}

/// Forgets the form of a table: if it is watched again, it is a new one.
pub(crate) async fn forget(journal: &Journal, source: &str, schema: &str, name: &str) -> Result<(), CaptureError> {
    write(journal, place(source, schema, name), FORGOTTEN.into()).await
}

async fn write(journal: &Journal, place: Name, token: String) -> Result<(), CaptureError> {
    let append = Append {
        source: place,
        incarnation: "form".into(),
        position: Position { commit: 0, index: 0 },
        token: token.into(),
        events: Vec::new(),
        complete: true,
        snapshot: None,
    };
    journal.append(append).await?;
    Ok(())
}

/// Where the journal keeps it: as the place of a source that no setting can name.
fn place(source: &str, schema: &str, name: &str) -> Name {
    format!("{source}:{schema}.{name}").into()
}
