//! The replication slot that capture makes in the watched database, after the publication: one that is younger than
//! what the slot reads is not found by the server, for ever.

use std::time::Duration;

use sqlx::{PgConnection, Row};

use super::super::error::CaptureError;
use super::catalog::literal;
use super::connect::PATIENT;
use super::finding::{Finding, Mend, Weight};
use super::silence::within;

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

/// Why a slot was lost, and what keeps the next one from it; `reason`: in the server's words.
pub(super) fn why_lost(reason: Option<&str>) -> (String, &'static str) {
    let (why, mend) = match reason {
        None | Some("lost" | "wal_removed") => (
            "the server keeps no more WAL for it than max_slot_wal_keep_size",
            "raise max_slot_wal_keep_size, so that it isn't lost again",
        ),
        Some("idle_timeout") => (
            "nobody read from it for longer than idle_replication_slot_timeout",
            "set idle_replication_slot_timeout to 0, so that it isn't lost again",
        ),
        Some("wal_level_insufficient") => ("wal_level was not logical", "leave wal_level at logical"),
        Some(other) => (other, "see PostgreSQL's log for who invalidated it"),
    };
    (why.to_owned(), mend)
}

/// What has the name of our slot.
pub(crate) enum Named {
    Ours(Slot),
    /// Of another database of the server, or of another program. Slots are the server's, not a database's.
    SomebodyElses(Finding),
}

/// The slot, if it is there.
///
/// # Errors
/// Also if it is somebody else's.
pub(crate) async fn find(db: &mut PgConnection, name: &str) -> Result<Option<Slot>, CaptureError> {
    match look(db, name).await? {
        None => Ok(None),
        Some(Named::Ours(slot)) => Ok(Some(slot)),
        Some(Named::SomebodyElses(finding)) => Err(CaptureError::NotReady(finding.to_string())),
    }
}

/// Whatever has this name.
pub(crate) async fn look(db: &mut PgConnection, name: &str) -> Result<Option<Named>, CaptureError> {
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
        return Ok(Some(Named::SomebodyElses(somebody_elses(name, plugin.as_deref(), database.as_deref()))));
    }
    let status: String = row.try_get(2)?;
    // From 17 on it may be invalid for another reason than its WAL.
    let reason: Option<String> = row.try_get(7)?;
    Ok(Some(Named::Ours(Slot {
        confirmed: row.try_get::<i64, _>(0)?.cast_unsigned(),
        active: row.try_get(1)?,
        lost: reason.or((status == "lost").then_some(status)),
    })))
}

fn somebody_elses(name: &str, plugin: Option<&str>, database: Option<&str>) -> Finding {
    let of = match (plugin, database) {
        (Some(plugin), Some(database)) => format!("plugin {plugin}, database {database}"),
        _ => "a physical one".to_owned(),
    };
    let there = database.map_or_else(String::new, |database| format!(" in database {database}"));
    let mend = format!(
        "give this source another one (`slot` in its [[source]]), or, if nobody needs that one, drop it{there}: SELECT pg_drop_replication_slot({});",
        literal(name)
    );
    let what = format!("replication slot {name} is somebody else's ({of})");
    Finding { weight: Weight::Blocks, what, mend: Some(Mend::words(mend)) }
}

/// Fails if somebody uses the slot.
pub(crate) async fn in_use(db: &mut PgConnection, name: &str, slot: Option<&Slot>) -> Result<(), CaptureError> {
    match used_by(db, slot).await? {
        Some(by) => Err(CaptureError::SlotInUse { slot: name.to_owned(), by }),
        None => Ok(()),
    }
}

/// Who uses the slot, for people.
pub(super) async fn used_by(db: &mut PgConnection, slot: Option<&Slot>) -> Result<Option<String>, CaptureError> {
    let Some(pid) = slot.and_then(|slot| slot.active) else { return Ok(None) };
    let by: Option<String> = sqlx::query_scalar(
        "SELECT 'process ' || pid || ' of ' || coalesce(usename::text, '?') || ' from ' || \
           coalesce(client_addr::text, 'the machine itself') FROM pg_stat_activity WHERE pid = $1",
    )
    .bind(pid)
    .fetch_optional(db)
    .await?;
    Ok(Some(by.unwrap_or_else(|| format!("process {pid}"))))
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
                    let blocker = within(patience, "the list of transactions", what_is_open(watcher)).await?;
                    say(format!("a replication slot is being made, which waits for {blocker}"));
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

/// Whether the server is about to make this slot: its session works, or isn't followed (`track_activities`).
pub(super) async fn is_being_made(db: &mut PgConnection, name: &str) -> Result<bool, CaptureError> {
    let sql = "SELECT EXISTS (SELECT FROM pg_replication_slots s JOIN pg_stat_activity a ON a.pid = s.active_pid \
               WHERE s.slot_name = $1 AND a.state IN ('active', 'disabled'))";
    Ok(sqlx::query_scalar(sql).bind(name).fetch_one(db).await?)
}

/// What a slot that is made waits for, in words: the transaction that has been open longest.
pub(crate) async fn what_is_open(db: &mut PgConnection) -> Result<String, CaptureError> {
    let row = sqlx::query(
        "SELECT * FROM (SELECT pid, coalesce(usename::text, ''), coalesce(application_name, ''), NULL, xact_start AS since \
           FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() \
         UNION ALL SELECT NULL, owner::text, database::text, gid, prepared FROM pg_prepared_xacts) AS open, \
           LATERAL (SELECT extract(epoch FROM now() - since)::int8) AS age ORDER BY since LIMIT 1",
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else {
        return Ok("a transaction that is open, and that our role does not see: ask as a superuser or a member of \
                   pg_read_all_stats, SELECT * FROM pg_stat_activity WHERE backend_xid IS NOT NULL;"
            .into());
    };
    let (pid, user, of): (Option<i32>, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let (gid, seconds): (Option<String>, Option<i64>) = (row.try_get(3)?, row.try_get(5)?);
    Ok(match gid {
        Some(gid) => {
            let (gid, seconds) = (literal(&gid), seconds.unwrap_or_default());
            format!(
                "a transaction that {user} prepared as {gid} {seconds} s ago; to end it, in database {of}: ROLLBACK PREPARED {gid}; \
                 (or COMMIT PREPARED {gid};)"
            )
        }
        None => {
            let pid = pid.unwrap_or_default();
            // The server tells it of others' sessions to members of pg_read_all_stats alone.
            let open = seconds.map_or_else(String::new, |seconds| format!(", open for {seconds} s"));
            format!(
                "a transaction of {user} ({of}, process {pid}){open}; to end it: SELECT pg_terminate_backend({pid}); (as {user} or a superuser)"
            )
        }
    })
}
