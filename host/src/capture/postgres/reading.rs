//! How a snapshot reads one table: its statements, the order of its rows, and what must be the same when another
//! snapshot goes on with it.

use std::fmt::Write as _;
use std::sync::Arc;

use sqlx::PgConnection;
use sqlx::postgres::types::Oid;

use super::super::error::CaptureError;
use super::super::json::DIGEST_BEGINS;
use super::catalog::{Table, literal, quote};
use super::relation::Relation;
use super::value::Kind;

/// A table on its way into a snapshot.
pub(super) struct Reading {
    pub table: Arc<Table>,
    pub relation: Relation,
    /// Where the primary key's columns are, in its order: rows are read in the order of its index, and single ones by
    /// their keys. Empty: such a table is read in one go.
    pub key: Vec<usize>,
    /// The server's process that reads it.
    pub by: i32,
}

impl Reading {
    pub(super) fn new(table: Arc<Table>, relation: Relation, by: i32) -> Self {
        let key = relation.key_places();
        let named = key.iter().map(|at| &*relation.columns[*at].name).eq(table.primary.iter().map(String::as_str));
        let told = key.iter().all(|at| is_told(&relation.columns[*at].kind));
        let key = if named && told { key.to_vec() } else { Vec::new() };
        Self { table, relation, key, by }
    }

    pub(super) fn is_ordered(&self) -> bool {
        !self.key.is_empty()
    }

    /// All that is in its rows beside their values, as the transaction sees it: also the file, since neither the
    /// stream nor a snapshot tells of rows that were written anew into another one; and what the keys of its events are
    /// made of, the primary key and the replica identity. Either may have been another one for a while, and the stream then
    /// told of rows by other keys: so the primary key's own entry counts, the transaction that wrote the table's, where
    /// the kind of the replica identity stands (so does a GRANT, say: then the rows are read once more than they need be),
    /// and those that wrote the indexes': one index in the place of another changes nothing else.
    pub(super) async fn form(&self, db: &mut PgConnection) -> Result<Box<str>, CaptureError> {
        let sql = "WITH RECURSIVE part (oid) AS (SELECT $1 UNION SELECT i.inhrelid FROM part \
                     JOIN pg_class p ON p.oid = part.oid AND p.relkind = 'p' JOIN pg_inherits i ON i.inhparent = p.oid) \
                   SELECT (SELECT string_agg(concat_ws('/', c.oid, c.relfilenode, c.xmin, \
                             (SELECT string_agg(concat_ws('/', i.indexrelid, i.xmin), ',' ORDER BY i.indexrelid) FROM pg_index i \
                              WHERE i.indrelid = c.oid AND (i.indisreplident OR i.indisprimary))), ' ' ORDER BY c.oid) \
                           FROM part JOIN pg_class c ON c.oid = part.oid) || ' ' || \
                     coalesce((SELECT oid::text FROM pg_constraint WHERE conrelid = $1 AND contype = 'p'), '') || ' ' || \
                     coalesce((SELECT string_agg(concat_ws('/', attnum, attname, atttypid, atttypmod, attgenerated), ' ' \
                               ORDER BY attnum) \
                      FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped), '')";
        let catalog: Option<String> = sqlx::query_scalar(sql).bind(Oid(self.table.oid)).fetch_one(db).await?;
        let mut form = catalog.unwrap_or_default();
        for column in &self.relation.columns {
            let _ = write!(form, " {}{}", column.name, if column.excluded { "!" } else { "" });
        }
        let _ = write!(form, " {:?}", self.key);
        // It stands in each chunk.
        Ok(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, form.as_bytes()).simple().to_string().into())
    }

    /// Whether its rows are where the transaction believes them to be. One that was emptied or written anew since the
    /// moment that it sees is empty to it (PostgreSQL's manual, "Caveats" of concurrency control). To be asked once it
    /// was read: from then on nobody can do that.
    pub(super) async fn is_where_it_was(&self, db: &mut PgConnection) -> Result<bool, CaptureError> {
        // The function sees what is now.
        let sql = "WITH RECURSIVE part (oid) AS (SELECT $1 UNION SELECT i.inhrelid FROM part \
                     JOIN pg_class p ON p.oid = part.oid AND p.relkind = 'p' JOIN pg_inherits i ON i.inhparent = p.oid) \
                   SELECT NOT EXISTS (SELECT FROM part JOIN pg_class c ON c.oid = part.oid \
                     WHERE c.relkind = 'r' AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid))";
        Ok(sqlx::query_scalar(sql).bind(Oid(self.table.oid)).fetch_one(db).await?)
    }

    /// Reads the rows behind a key, in the order of keys; all of them, if it is empty.
    pub(super) fn rows_after(&self, after: &[String]) -> String {
        let mut sql = self.select();
        if !after.is_empty() {
            let _ = write!(sql, " WHERE {} > {}", self.row(), values(after));
        }
        if self.is_ordered() {
            let _ = write!(sql, " ORDER BY {}", self.columns());
        }
        sql
    }

    /// Reads the rows of these keys, of those up to `until`. None: one of them can't be taken apart.
    pub(super) fn rows_of(&self, keys: &[Box<str>], until: &[String]) -> Option<String> {
        let keys: Option<Vec<String>> = keys.iter().map(|key| Some(values(&self.apart(key)?))).collect();
        let mut sql = self.select();
        let _ = write!(sql, " WHERE {} IN ({})", self.row(), keys?.join(", "));
        if !until.is_empty() {
            let _ = write!(sql, " AND {} <= {}", self.row(), values(until));
        }
        Some(sql)
    }

    fn select(&self) -> String {
        let column = |column: &super::relation::Column| match column.excluded {
            // Of no use to us: it needn't leave the database.
            true => "NULL".to_owned(),
            false => quote(&column.name),
        };
        let columns: Vec<String> = self.relation.columns.iter().map(column).collect();
        let list = if columns.is_empty() { "NULL".to_owned() } else { columns.join(", ") };
        let only = if self.table.partitioned { "" } else { "ONLY " };
        format!("SELECT {list} FROM {only}{}", self.table.quoted())
    }

    fn columns(&self) -> String {
        let names: Vec<String> = self.key.iter().map(|at| quote(&self.relation.columns[*at].name)).collect();
        names.join(", ")
    }

    fn row(&self) -> String {
        format!("({})", self.columns())
    }

    /// An event's key, column by column, as the database reads it. None: it isn't there as it is, as where it was so
    /// long that digests stand in the place of its values, which no row can be found by.
    fn apart(&self, key: &str) -> Option<Vec<String>> {
        let kinds = self.key.iter().map(|at| &self.relation.columns[*at].kind);
        let parts: Vec<String> = if let [_] = self.key.as_slice() {
            (!key.starts_with(DIGEST_BEGINS)).then(|| vec![key.to_owned()])?
        } else {
            let parts: Vec<serde_json::Value> = serde_json::from_str(key).ok()?;
            let text = |part: serde_json::Value| match part {
                serde_json::Value::String(text) => Some(text),
                // A digest: no value of a key is one ([`is_told`]).
                serde_json::Value::Object(_) => None,
                other => Some(other.to_string()),
            };
            parts.into_iter().map(text).collect::<Option<_>>()?
        };
        if parts.len() != self.key.len() {
            return None;
        }
        let written = |(kind, part): (&Kind, String)| match kind {
            Kind::Bytes => format!("\\x{part}"),
            _ => part,
        };
        Some(kinds.zip(parts).map(written).collect())
    }
}

/// Whether the database reads what an event's key shows of such a value as that value.
fn is_told(kind: &Kind) -> bool {
    match kind {
        Kind::Bool | Kind::Integer | Kind::Numeric | Kind::Bytes | Kind::Timestamptz | Kind::Timestamp | Kind::Text => {
            true
        }
        Kind::Float | Kind::Json | Kind::Array(..) => false,
    }
}

fn values(row: &[String]) -> String {
    let values: Vec<String> = row.iter().map(|value| literal(value)).collect();
    format!("({})", values.join(", "))
}
