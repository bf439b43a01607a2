//! The publication that capture makes in the watched database, or finds there: which tables it has, what carries the
//! changes of each, and how it is brought in line with the tables that are to be watched.

use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::super::error::CaptureError;
use super::catalog::{Table, quote};
use super::server::Server;

/// What a publication has.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// Its row of the catalog.
    row: Box<str>,
    all: bool,
    /// All operations are in it, under the names of partitions' roots.
    operations: bool,
    /// It carries stored generated columns; before PostgreSQL 18 none does.
    pub generated: bool,
    /// It is of our role, or one that we are in: we may alter it.
    pub owned: bool,
    tables: Vec<Member>,
    /// All tables of these schemas are in it, too.
    schemas: Vec<Schema>,
}

#[derive(Debug, Deserialize)]
struct Member {
    oid: u32,
    row: Box<str>,
    /// With all rows and all columns.
    whole: bool,
}

#[derive(Debug, Deserialize)]
struct Schema {
    name: Box<str>,
    row: Box<str>,
}

/// What carries all changes of a table: rows of the catalog, each as its OID and the transaction that wrote it. It
/// is another one once it was altered, or taken out and put back, however short the time between.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Carried {
    publication: Box<str>,
    /// How the table is in it. Each is enough.
    by: Vec<Box<str>>,
}

impl Carried {
    /// Whether something has carried them all the time since then.
    pub(crate) fn since(&self, then: &Self) -> bool {
        self.publication == then.publication && self.by.iter().any(|by| then.by.contains(by))
    }
}

impl Published {
    pub(crate) fn has(&self, table: &Table) -> bool {
        self.all || self.member(table).is_some() || self.schema(table).is_some()
    }

    /// Everything that happens to its tables is in it.
    pub(crate) fn complete(&self) -> bool {
        self.operations && self.tables.iter().all(|member| member.whole)
    }

    /// Everything that happens to the table is in it.
    pub(crate) fn has_all_of(&self, table: &Table) -> bool {
        self.operations && !self.carried(table).by.is_empty()
    }

    pub(crate) fn carried(&self, table: &Table) -> Carried {
        let all = self.all.then(|| "all".into());
        let itself = self.member(table).filter(|member| member.whole).map(|member| member.row.clone());
        // A table may go to another schema for a while.
        let schema = self.schema(table).map(|schema| format!("{}.{}", schema.row, table.settled).into());
        Carried { publication: self.row.clone(), by: all.into_iter().chain(itself).chain(schema).collect() }
    }

    fn member(&self, table: &Table) -> Option<&Member> {
        self.tables.iter().find(|member| member.oid == table.oid)
    }

    fn schema(&self, table: &Table) -> Option<&Schema> {
        self.schemas.iter().find(|schema| *schema.name == *table.schema)
    }
}

/// The publication, if it is there.
pub(crate) async fn published(db: &mut PgConnection, name: &str) -> Result<Option<Published>, CaptureError> {
    // From 15 on there are whole schemas.
    let schemas = match db.server_version_num() {
        Some(..150_000) => "'[]'",
        _ => {
            "coalesce((SELECT json_agg(json_build_object('name', s.nspname, 'row', r.oid || '.' || r.xmin)) \
               FROM pg_publication_namespace r JOIN pg_namespace s ON s.oid = r.pnnspid \
               WHERE r.pnpubid = p.oid), '[]')::text"
        }
    };
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT p.puballtables, to_jsonb(p) ->> 'pubgencols' = 's', \
           p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND p.pubviaroot, \
           pg_has_role(p.pubowner, 'USAGE'), p.oid || '.' || p.xmin, \
           coalesce((SELECT json_agg(json_build_object('oid', r.prrelid::int8, 'row', r.oid || '.' || r.xmin, \
               'whole', to_jsonb(r) ->> 'prqual' IS NULL AND to_jsonb(r) ->> 'prattrs' IS NULL)) \
             FROM pg_publication_rel r WHERE r.prpubid = p.oid), '[]')::text, {schemas} \
         FROM pg_publication p WHERE p.pubname = $1",
    )))
    .bind(name)
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let generated: Option<bool> = row.try_get(1)?;
    let (written, tables, schemas): (String, String, String) = (row.try_get(4)?, row.try_get(5)?, row.try_get(6)?);
    let strange = |error: serde_json::Error| sqlx::Error::Decode(error.into());
    Ok(Some(Published {
        row: written.into(),
        all: row.try_get(0)?,
        operations: row.try_get(2)?,
        generated: generated.unwrap_or_default(),
        owned: row.try_get(3)?,
        tables: serde_json::from_str(&tables).map_err(strange)?,
        schemas: serde_json::from_str(&schemas).map_err(strange)?,
    }))
}

/// What became of a publication.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// As it is now.
    pub published: Published,
    /// Those of the tables that are in it.
    pub tables: Vec<Table>,
    /// OIDs of those that weren't before.
    pub added: Vec<u32>,
    /// Those that could not be added.
    pub kept_out: Vec<Table>,
    /// What keeps tables out of it, or in it: a lock, most likely.
    pub problems: Vec<String>,
}

/// Brings the publication in line with the tables. `patient`: waits for locks as long as [`PATIENT`] says, which
/// lets the server end an autovacuum that is in the way; otherwise hardly.
pub(crate) async fn publish(
    db: &mut PgConnection,
    name: &str,
    tables: Vec<Table>,
    server: &Server,
    patient: bool,
) -> Result<Change, CaptureError> {
    let mut before = published(db, name).await?;
    if before.is_none() {
        // Without this PostgreSQL 18 refuses the UPDATEs of tables with generated columns and FULL.
        let generated = if server.major >= 18 { ", publish_generated_columns = stored" } else { "" };
        let with = format!("publish_via_partition_root = true{generated}");
        run(db, format!("CREATE PUBLICATION {} WITH ({with})", quote(name))).await?;
        before = published(db, name).await?;
    }
    let before = before.unwrap_or_default();
    let mut change = Change { tables, ..Change::default() };
    // Whoever made another one knows what else is in it; what it lacks the preflight says.
    if !before.owned || before.all {
        change.published = before;
        return Ok(change);
    }
    let named = |table: &Table| (table.oid, target(table));
    let added: Vec<_> = change.tables.iter().filter(|table| !before.has(table)).map(named).collect();
    let is_wanted = |oid: &u32| change.tables.iter().any(|table| table.oid == *oid);
    let mut gone = Vec::new();
    for oid in before.tables.iter().map(|member| member.oid).filter(|oid| !is_wanted(oid)) {
        let name = sqlx::query_scalar("SELECT $1::oid::regclass::text").bind(sqlx::postgres::types::Oid(oid));
        gone.push((oid, name.fetch_one(&mut *db).await?));
    }
    let failed = alter(db, name, "ADD", &added, patient).await?;
    let is_out = |oid: &u32| failed.iter().any(|(failed, _)| failed == oid);
    (change.kept_out, change.tables) = change.tables.into_iter().partition(|table| is_out(&table.oid));
    change.added = added.iter().map(|(oid, _)| *oid).filter(|oid| !is_out(oid)).collect();
    change.problems = failed.into_iter().map(|(_, problem)| problem).collect();
    change.published = match change.added.as_slice() {
        [] => before,
        _ => published(db, name).await?.unwrap_or_default(),
    };
    let failed = alter(db, name, "DROP", &gone, patient).await?;
    change.problems.extend(failed.into_iter().map(|(_, problem)| problem));
    Ok(change)
}

/// A table as a publication's statements name it: a partitioned one stands for its partitions; those that inherit from
/// another stand for themselves.
pub(super) fn target(table: &Table) -> String {
    let only = if table.partitioned { "" } else { "ONLY " };
    format!("{only}{}", table.quoted())
}

/// Adds tables to a publication or drops them from it: all at once, and where that fails one by one. Returns
/// those that could not be, and why: no table holds up the others.
async fn alter(
    db: &mut PgConnection,
    publication: &str,
    verb: &str,
    tables: &[(u32, String)],
    patient: bool,
) -> Result<Vec<(u32, String)>, CaptureError> {
    let sql = |list: &str| format!("ALTER PUBLICATION {} {verb} TABLE {list}", quote(publication));
    let list: Vec<&str> = tables.iter().map(|(_, name)| name.as_str()).collect();
    if list.is_empty() || (patient && run(db, sql(&list.join(", "))).await.is_ok()) {
        return Ok(Vec::new());
    }
    let mut failed = Vec::new();
    for (oid, name) in tables {
        // Two statements of one query are one transaction.
        match run(db, format!("SET LOCAL lock_timeout = '100ms'; {}", sql(name))).await {
            Ok(()) => {}
            Err(sqlx::Error::Database(error)) => {
                let shown = name.trim_start_matches("ONLY ").replace('"', "");
                let shown = shown.strip_prefix("public.").unwrap_or(&shown);
                failed.push((
                    *oid,
                    format!("table {shown}: the publication can't be changed: {}; it is tried again", error.message()),
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(failed)
}

async fn run(db: &mut PgConnection, sql: String) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(db).await?;
    tracing::info!("done: {sql}");
    Ok(())
}
