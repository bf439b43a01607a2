//! What the database's catalog says of tables and types.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use sqlx::postgres::types::Oid;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::config::SourceSettings;
use crate::event::Name;

use super::super::error::CaptureError;
use super::decode::RelationMessage;
use super::relation::{Column, Relation};
use super::value::Kind;

/// A table as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub oid: u32,
    pub schema: Name,
    pub name: Name,
    /// An ordinary table, or a partitioned one.
    pub partitioned: bool,
    /// The primary key's columns, in its order.
    pub primary: Vec<String>,
    /// The columns of the index that is its replica identity, where it has one of that kind.
    pub identity: Vec<String>,
    /// Itself, and all its leaf partitions.
    pub parts: Vec<Part>,
    pub unlogged: bool,
    /// We may read it, and its owner is our role or one that we are in.
    pub readable: bool,
    pub owned: bool,
    /// We may use its schema.
    pub reachable: bool,
    /// We don't see some of its rows, by row-level security.
    pub hidden: bool,
    /// The transaction that brought it into its schema.
    pub settled: Box<str>,
    pub columns: Vec<TableColumn>,
}

/// A table, or one of its leaf partitions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Part {
    pub oid: u32,
    /// Where its rows are: another file once they were written anew. 0: it has none, since its partitions have them.
    pub file: u32,
    /// The transactions that attached it, and what is between it and its root. Empty: it is no partition.
    pub joined: Box<str>,
    pub schema: String,
    pub name: String,
    /// The replica identity: `d`, `f`, `i`, `n`.
    pub identity: char,
    /// With this identity the server takes UPDATEs and DELETEs if it is published.
    pub usable: bool,
}

impl Part {
    pub(crate) fn is_full(&self) -> bool {
        self.identity == 'f'
    }

    /// As statements name it.
    pub(crate) fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableColumn {
    pub name: String,
    pub oid: u32,
    /// Stored or virtual.
    pub generated: bool,
    /// From 18 on: made when it is read. No replication has it.
    pub is_virtual: bool,
}

/// A table as people name it: without `public`.
pub(crate) fn shown(schema: &str, name: &str) -> String {
    if schema == "public" { name.to_owned() } else { format!("{schema}.{name}") }
}

impl Table {
    /// As statements name it.
    pub(crate) fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }

    /// As settings, manifests and events name it: without `public`.
    pub(crate) fn shown(&self) -> String {
        shown(&self.schema, &self.name)
    }

    /// Whether an entry of the settings' `tables` means it.
    pub(crate) fn is(&self, entry: &str) -> bool {
        self.shown() == entry
            || (self.schema.len() + 1 + self.name.len() == entry.len() && {
                entry.split_once('.').is_some_and(|(schema, name)| *schema == *self.schema && *name == *self.name)
            })
    }

    /// The columns that never enter.
    pub(crate) fn excluded<'a>(&self, settings: &'a SourceSettings) -> &'a [Box<str>] {
        let found = settings.exclude.iter().find(|(entry, _)| self.is(entry));
        found.map_or(&[], |(_, columns)| columns)
    }
}

pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Each table's leaf partitions, by the root's OID. Takes no locks, as `pg_partition_tree` does: a partition
/// that somebody works on keeps nobody waiting.
pub(super) const LEAVES: &str = "WITH RECURSIVE tree (root, oid, joined) AS ( \
       SELECT oid, oid, '' FROM pg_class WHERE relkind = 'p' AND NOT relispartition \
       UNION ALL SELECT tree.root, i.inhrelid, concat_ws('.', nullif(tree.joined, ''), i.xmin) \
       FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid WHERE NOT i.inhdetachpending), \
     leaves AS (SELECT tree.root, tree.oid, tree.joined FROM tree JOIN pg_class c ON c.oid = tree.oid WHERE c.relkind <> 'p') ";

/// The primary key's columns of the table `c`, in its order.
const PRIMARY: &str = "ARRAY(SELECT a.attname::text FROM pg_index i \
       CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place) \
       JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
       WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY k.place)";

/// A table's primary key as it is now; None: the table is gone.
pub(super) async fn primary(db: &mut PgConnection, table: u32) -> Result<Option<Vec<String>>, CaptureError> {
    let sql = format!("SELECT {PRIMARY} FROM pg_class c WHERE c.oid = $1");
    Ok(sqlx::query_scalar(AssertSqlSafe(sql)).bind(Oid(table)).fetch_optional(db).await?)
}

/// The tables that people made: not the partitions, which stand for their root.
pub(crate) async fn tables(db: &mut PgConnection) -> Result<Vec<Table>, CaptureError> {
    // As the server itself chooses an identity's index. Its functions see what is now, and know nothing of a table that is
    // gone since.
    let rows = sqlx::query(AssertSqlSafe(format!(
        "{LEAVES} SELECT c.oid, n.nspname, c.relname, c.relkind = 'p', c.relpersistence <> 'p', \
           coalesce(has_table_privilege(c.oid, 'SELECT'), false), coalesce(pg_has_role(c.relowner, 'USAGE'), false), \
           {PRIMARY}, \
           ARRAY(SELECT a.attname::text FROM pg_attribute a \
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum), \
           ARRAY(SELECT a.atttypid FROM pg_attribute a \
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum), \
           ARRAY(SELECT a.attgenerated::text FROM pg_attribute a \
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum), \
           (SELECT json_agg(json_build_object('oid', p.oid::int8, \
               'file', coalesce(pg_relation_filenode(p.oid), 0)::int8, 'joined', coalesce(l.joined, ''), 'schema', pn.nspname, 'name', p.relname, \
               'identity', p.relreplident, 'usable', p.relreplident = 'f' OR EXISTS ( \
                 SELECT FROM pg_index i WHERE i.indrelid = p.oid AND i.indisvalid AND i.indimmediate \
                 AND ((p.relreplident = 'd' AND i.indisprimary) OR (p.relreplident = 'i' AND i.indisreplident)))) \
               ORDER BY p.oid <> c.oid, p.oid)::text \
             FROM pg_class p JOIN pg_namespace pn ON pn.oid = p.relnamespace \
             LEFT JOIN leaves l ON l.root = c.oid AND l.oid = p.oid WHERE p.oid = c.oid OR l.oid IS NOT NULL), \
           ARRAY(SELECT a.attname::text FROM pg_index i \
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[]) \
             WHERE i.indrelid = c.oid AND i.indisreplident AND c.relreplident = 'i'), \
           coalesce(has_schema_privilege(n.oid, 'USAGE'), false), coalesce(row_security_active(c.oid), false), \
           coalesce((SELECT d.xmin::text FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid \
             AND d.objsubid = 0 AND d.refclassid = 'pg_namespace'::regclass), '') \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname <> 'information_schema' \
           AND n.nspname !~ '^pg_' ORDER BY n.nspname, c.relname",
    )))
    .fetch_all(db)
    .await?;
    let table = |row: &sqlx::postgres::PgRow| -> sqlx::Result<Table> {
        let (schema, name): (String, String) = (row.try_get(1)?, row.try_get(2)?);
        let names: Vec<String> = row.try_get(8)?;
        let types: Vec<Oid> = row.try_get(9)?;
        let generated: Vec<String> = row.try_get(10)?;
        let parts: String = row.try_get(11)?;
        let parts = serde_json::from_str(&parts).map_err(|e| sqlx::Error::Decode(e.into()))?;
        let columns = names.into_iter().zip(types).zip(generated);
        Ok(Table {
            oid: row.try_get::<Oid, _>(0)?.0,
            schema: schema.into(),
            name: name.into(),
            partitioned: row.try_get(3)?,
            unlogged: row.try_get(4)?,
            readable: row.try_get(5)?,
            owned: row.try_get(6)?,
            reachable: row.try_get(13)?,
            hidden: row.try_get(14)?,
            settled: row.try_get::<String, _>(15)?.into(),
            primary: row.try_get(7)?,
            identity: row.try_get(12)?,
            parts,
            columns: columns
                .map(|((name, oid), generated)| TableColumn {
                    name,
                    oid: oid.0,
                    generated: !generated.is_empty(),
                    is_virtual: generated == "v",
                })
                .collect(),
        })
    };
    Ok(rows.iter().map(table).collect::<sqlx::Result<_>>()?)
}

fn first_byte(text: &str) -> u8 {
    text.bytes().next().unwrap_or_default()
}

/// A table's columns, as they are now.
async fn names(db: &mut PgConnection, table: u32) -> Result<Vec<String>, CaptureError> {
    let sql = "SELECT attname::text FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped";
    Ok(sqlx::query_scalar(sql).bind(Oid(table)).fetch_all(db).await?)
}

/// Whether a table has rows; it is taken for so while somebody locks it.
pub(super) async fn has_rows(db: &mut PgConnection, quoted: &str) -> Result<bool, CaptureError> {
    const LOCKED: &str = "55P03";
    let sql = format!("SELECT EXISTS (SELECT FROM {quoted})");
    match sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(db).await {
        Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code == LOCKED) => Ok(true),
        has => Ok(has?),
    }
}

/// Whether somebody may have written to a table, or one of its partitions, what isn't committed.
pub(super) async fn is_written(db: &mut PgConnection, table: &Table) -> Result<bool, CaptureError> {
    // A transaction that was prepared has no process.
    let sql = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'relation' AND granted \
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
                 AND relation = ANY ($1) AND mode = 'RowExclusiveLock' AND pid IS DISTINCT FROM pg_backend_pid())";
    let parts: Vec<Oid> = table.parts.iter().map(|part| Oid(part.oid)).collect();
    Ok(sqlx::query_scalar(sql).bind(parts).fetch_one(db).await?)
}

/// Waits until others see what a transaction did. It is streamed as soon as its commit is in the WAL, and that
/// is a moment before the catalog shows a table that it made: until then it holds its own lock. The
/// moment is long where the commit waits for a synchronous standby.
pub(crate) async fn until_visible(db: &mut PgConnection, xid: u32) -> Result<(), CaptureError> {
    let sql = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'transactionid' \
               AND transactionid = $1::text::xid AND mode = 'ExclusiveLock' AND granted)";
    while sqlx::query_scalar::<_, bool>(sql).bind(xid.to_string()).fetch_one(&mut *db).await? {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    Ok(())
}

/// How the values of types are written; asked once for each type.
#[derive(Debug, Default)]
pub(crate) struct Types(HashMap<u32, Kind>);

impl Types {
    async fn kind(&mut self, db: &mut PgConnection, oid: u32) -> Result<Kind, CaptureError> {
        // A domain of an array of a domain of …: no catalog goes deeper.
        const DEEPEST: usize = 16;
        if let Some(kind) = Kind::of_builtin(oid).or_else(|| self.0.get(&oid).cloned()) {
            return Ok(kind);
        }
        let mut around = Vec::new();
        let mut kind = Kind::Text;
        let mut inner = oid;
        while around.len() < DEEPEST {
            if let Some(known) = Kind::of_builtin(inner) {
                kind = known;
                break;
            }
            let row = sqlx::query(
                "SELECT typbasetype, typelem, typdelim::text, typinput = 'array_in'::regproc FROM pg_type WHERE oid = $1",
            )
            .bind(Oid(inner))
            .fetch_optional(&mut *db)
            .await?;
            // A type that was dropped since: its values are still texts.
            let Some(row) = row else { break };
            let (base, element): (Oid, Oid) = (row.try_get(0)?, row.try_get(1)?);
            if row.try_get(3)? {
                let between: String = row.try_get(2)?;
                around.push(Some(first_byte(&between)));
                inner = element.0;
            } else if base.0 != 0 {
                around.push(None);
                inner = base.0;
            } else {
                break;
            }
        }
        for layer in around.into_iter().rev().flatten() {
            kind = Kind::Array(Arc::new(kind), layer);
        }
        self.0.insert(oid, kind.clone());
        Ok(kind)
    }

    /// A table as the stream describes it.
    pub(crate) async fn streamed(
        &mut self,
        db: &mut PgConnection,
        message: &RelationMessage<'_>,
        table: &Table,
        settings: &SourceSettings,
    ) -> Result<Relation, CaptureError> {
        let columns = message.columns.iter().map(|column| (column.name, column.kind, column.key));
        self.relation(db, columns, message.identity, table, settings).await
    }

    /// A table as it is now: what a snapshot reads.
    pub(crate) async fn stored(
        &mut self,
        db: &mut PgConnection,
        table: &Table,
        settings: &SourceSettings,
        generated: bool,
    ) -> Result<Relation, CaptureError> {
        let identity = if table.parts.first().is_some_and(Part::is_full) { b'f' } else { b'd' };
        let part_of_it = if table.identity.is_empty() { &table.primary } else { &table.identity };
        let columns = table.columns.iter().filter(|column| !column.is_virtual && (generated || !column.generated));
        let columns = columns.map(|column| {
            let key = identity == b'f' || part_of_it.contains(&column.name);
            (column.name.as_str(), column.oid, key)
        });
        self.relation(db, columns, identity, table, settings).await
    }

    async fn relation(
        &mut self,
        db: &mut PgConnection,
        named: impl Iterator<Item = (&str, u32, bool)>,
        identity: u8,
        table: &Table,
        settings: &SourceSettings,
    ) -> Result<Relation, CaptureError> {
        let named: Vec<_> = named.collect();
        let excluded = table.excluded(settings);
        let absent = |column: &&str| named.iter().all(|(name, ..)| name != column);
        let absent: Vec<&str> = excluded.iter().map(|column| &**column).filter(absent).collect();
        // What the stream lacks is younger than these rows, or generated: the catalog has it. If that lacks it,
        // too, it may have another name.
        let known = if absent.is_empty() { Vec::new() } else { names(db, table.oid).await? };
        if let Some(gone) = absent.into_iter().find(|absent| !known.iter().any(|known| known == absent)) {
            return Err(CaptureError::Excluded { table: table.shown(), column: gone.to_string() });
        }
        let mut columns = Vec::new();
        for (name, oid, key) in named {
            let kind = self.kind(db, oid).await?;
            // Nobody can tell what one was that is gone: it may be what must not enter, by its former name.
            let gone = !known.is_empty() && !known.iter().any(|known| known == name);
            let out = gone || excluded.iter().any(|excluded| **excluded == *name);
            columns.push(Column::new(name, oid, kind, key, out));
        }
        Ok(Relation::new(Name::clone(&table.schema), table.shown().into(), columns, identity, &table.primary))
    }
}
