//! What capture makes in the watched database: a publication, then a replication slot. In this order: a
//! publication that is younger than what the slot reads is not found by the server, for ever.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::super::error::CaptureError;
use super::catalog::{Table, quote};
use super::connect::PATIENT;
use super::server::Server;
use super::silence::within;

/// What a publication has.
#[derive(Debug)]
pub(crate) struct Published {
    all: bool,
    /// Everything that happens to its tables is in it, under the names of partitions' roots.
    pub complete: bool,
    /// It carries stored generated columns; before PostgreSQL 18 none does.
    pub generated: bool,
    /// It is of our role, or one that we are in: we may alter it.
    pub owned: bool,
    /// OIDs of its tables.
    tables: Vec<u32>,
    /// All tables of these schemas are in it, too.
    schemas: Vec<String>,
}

impl Published {
    pub(crate) fn has(&self, table: &Table) -> bool {
        self.all || self.tables.contains(&table.oid) || self.schemas.iter().any(|schema| **schema == *table.schema)
    }
}

/// The publication, if it is there.
pub(crate) async fn published(db: &mut PgConnection, name: &str) -> Result<Option<Published>, CaptureError> {
    // From 15 on there are whole schemas.
    let schemas = match db.server_version_num() {
        Some(..150_000) => "ARRAY[]::text[]",
        _ => {
            "ARRAY(SELECT s.nspname::text FROM pg_publication_namespace r \
                JOIN pg_namespace s ON s.oid = r.pnnspid WHERE r.pnpubid = p.oid)"
        }
    };
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT p.puballtables, ARRAY(SELECT r.prrelid FROM pg_publication_rel r WHERE r.prpubid = p.oid), \
           to_jsonb(p) ->> 'pubgencols' = 's', \
           p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND p.pubviaroot AND NOT EXISTS ( \
             SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid \
             AND (to_jsonb(r) ->> 'prqual' IS NOT NULL OR to_jsonb(r) ->> 'prattrs' IS NOT NULL)), \
           pg_has_role(p.pubowner, 'USAGE'), {schemas} \
         FROM pg_publication p WHERE p.pubname = $1",
    )))
    .bind(name)
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let tables: Vec<sqlx::postgres::types::Oid> = row.try_get(1)?;
    let generated: Option<bool> = row.try_get(2)?;
    let generated = generated.unwrap_or_default();
    let complete = row.try_get(3)?;
    Ok(Some(Published {
        all: row.try_get(0)?,
        complete,
        generated,
        owned: row.try_get(4)?,
        schemas: row.try_get(5)?,
        tables: tables.into_iter().map(|oid| oid.0).collect(),
    }))
}

/// What became of a publication.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// Those of the tables that are in it.
    pub tables: Vec<Table>,
    /// OIDs of those that weren't before.
    pub added: Vec<u32>,
    /// What keeps others out of it, or in it: a lock, most likely.
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
    let mut change = Change { tables, ..Change::default() };
    // Whoever made another one knows what else is in it; what it lacks the preflight says.
    let Some(before) = before.filter(|before| before.owned && !before.all) else { return Ok(change) };
    let named = |table: &Table| (table.oid, target(table));
    let added: Vec<_> = change.tables.iter().filter(|table| !before.has(table)).map(named).collect();
    let is_wanted = |oid: &u32| change.tables.iter().any(|table| table.oid == *oid);
    let mut gone = Vec::new();
    for oid in before.tables.iter().copied().filter(|oid| !is_wanted(oid)) {
        let name = sqlx::query_scalar("SELECT $1::oid::regclass::text").bind(sqlx::postgres::types::Oid(oid));
        gone.push((oid, name.fetch_one(&mut *db).await?));
    }
    let failed = alter(db, name, "ADD", &added, patient).await?;
    change.tables.retain(|table| failed.iter().all(|(oid, _)| *oid != table.oid));
    change.added = added.iter().map(|(oid, _)| *oid).filter(|oid| failed.iter().all(|(f, _)| f != oid)).collect();
    change.problems = failed.into_iter().map(|(_, problem)| problem).collect();
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

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Everything before it was acknowledged.
    pub confirmed: u64,
    /// The process that uses it.
    pub active: Option<i32>,
    /// Why it can't be used any more, in the server's words.
    pub lost: Option<String>,
}

/// The slot, if it is there.
pub(crate) async fn find(db: &mut PgConnection, name: &str) -> Result<Option<Slot>, CaptureError> {
    let row = sqlx::query(
        "SELECT coalesce((confirmed_flush_lsn - '0/0'::pg_lsn)::int8, 0), active_pid, coalesce(wal_status, 'lost'), \
           plugin::text, database::text, current_database()::text, temporary, \
           to_jsonb(s) ->> 'invalidation_reason' \
         FROM pg_replication_slots s WHERE slot_name = $1",
    )
    .bind(name)
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (plugin, database): (Option<String>, Option<String>) = (row.try_get(3)?, row.try_get(4)?);
    if plugin.as_deref() != Some("pgoutput") || database != row.try_get(5)? || row.try_get(6)? {
        return Err(CaptureError::NotReady(format!(
            "replication slot {name} is somebody else's (plugin {}, database {}): set another name (`slot`)",
            plugin.unwrap_or_default(),
            database.unwrap_or_default()
        )));
    }
    let status: String = row.try_get(2)?;
    // From 17 on it may be invalid for another reason than its WAL.
    let reason: Option<String> = row.try_get(7)?;
    Ok(Some(Slot {
        confirmed: row.try_get::<i64, _>(0)?.cast_unsigned(),
        active: row.try_get(1)?,
        lost: reason.or((status == "lost").then_some(status)),
    }))
}

/// Fails if somebody uses the slot.
pub(crate) async fn in_use(db: &mut PgConnection, name: &str, slot: Option<&Slot>) -> Result<(), CaptureError> {
    let Some(pid) = slot.and_then(|slot| slot.active) else { return Ok(()) };
    let by: Option<String> = sqlx::query_scalar(
        "SELECT 'process ' || pid || ' of ' || coalesce(usename::text, '?') || ' from ' || \
           coalesce(client_addr::text, 'the machine itself') FROM pg_stat_activity WHERE pid = $1",
    )
    .bind(pid)
    .fetch_optional(db)
    .await?;
    Err(CaptureError::SlotInUse { slot: name.to_owned(), by: by.unwrap_or_else(|| format!("process {pid}")) })
}

/// Makes the slot and returns from where it reads. Waits for transactions that are open; says for whom.
pub(crate) async fn create(
    db: &mut PgConnection,
    watcher: &mut PgConnection,
    name: &str,
    patience: Duration,
    mut say: impl FnMut(String),
) -> Result<u64, CaptureError> {
    // Otherwise the server goes on making the slot when we are gone, and keeps it from whoever comes next. Not every
    // server's system can do it: it is made all the same.
    let notices = sqlx::query("SET client_connection_check_interval = '500ms'").execute(&mut *db);
    let _ = within(patience, "the setting of a session", notices).await;
    let sql = "SELECT (lsn - '0/0'::pg_lsn)::int8 FROM pg_create_logical_replication_slot($1, 'pgoutput')";
    // That wait is one for locks.
    sqlx::raw_sql("SET lock_timeout = 0").execute(&mut *db).await?;
    let lsn = {
        let mut created = std::pin::pin!(sqlx::query_scalar::<_, i64>(sql).bind(name).fetch_one(&mut *db));
        loop {
            match tokio::time::timeout(Duration::from_secs(5), &mut created).await {
                Ok(lsn) => break lsn?,
                Err(_) => {
                    let oldest = oldest_transaction(watcher);
                    if let Some(blocker) = within(patience, "the list of transactions", oldest).await? {
                        say(format!("a replication slot is being made, which waits for {blocker}"));
                    }
                }
            }
        }
    };
    sqlx::raw_sql(PATIENT).execute(db).await?;
    Ok(lsn.cast_unsigned())
}

pub(crate) async fn drop(db: &mut PgConnection, name: &str) -> Result<(), CaptureError> {
    sqlx::query("SELECT pg_drop_replication_slot($1)").bind(name).execute(db).await?;
    Ok(())
}

/// The transaction that has been open longest, in words.
pub(crate) async fn oldest_transaction(db: &mut PgConnection) -> Result<Option<String>, CaptureError> {
    let row = sqlx::query(
        "SELECT pid, coalesce(usename::text, ''), coalesce(application_name, ''), \
           extract(epoch FROM now() - xact_start)::int8 \
         FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() \
         ORDER BY xact_start LIMIT 1",
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (pid, user, application): (i32, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let seconds: Option<i64> = row.try_get(3)?;
    Ok(Some(format!(
        "a transaction of {user} ({application}, process {pid}), open for {} s; to end it: SELECT pg_terminate_backend({pid});",
        seconds.unwrap_or_default()
    )))
}
