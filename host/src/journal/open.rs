//! Opens the journal: lock, format, damage, epoch, then the parts.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row};

use super::embedded::{Embedded, Files};
use super::index::{Index, unsql};
use super::lock::Lock;
use super::reader::Reader;
use super::script::{self, Script};
use super::shared::{Floors, Shared, classify};
use super::tail::Tail;
use super::{Epoch, JournalError, upgrade, wal};
use crate::config::{ChannelSettings, Durability, JournalSettings};
use crate::event::Number;
use crate::message::ChannelName;

/// "RLVO" in the file's header, and the format of what follows.
pub(super) const APPLICATION: i64 = 0x524c_564f;
pub(crate) const FORMAT: i64 = 4;

pub(super) const FILE: &str = "journal.db";

/// How long a connection waits for another one.
pub(super) const BUSY: std::time::Duration = std::time::Duration::from_secs(5);

/// What makes one start of the machine different from another; None where it can't be read.
pub(super) fn boot_id() -> Option<String> {
    if let Some(told) = crate::failpoint::boot_id() {
        return Some(told);
    }
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

pub(super) async fn open(
    folder: &Path,
    settings: &JournalSettings,
    rules: &[ChannelSettings],
    boot: Option<String>,
) -> Result<Embedded, JournalError> {
    crate::folder::private(folder)?;
    let lock = Lock::take(folder)?;
    let path = folder.join(FILE);
    check_header(&path)?;
    // SQLite gives its other files the same rights.
    crate::folder::private_file(&path)?;
    let options = options(&path);
    let wrap = |e| classify(&path, e);
    // The writer's: see `script`.
    let mut conn = options.clone().statement_cache_capacity(script::TEXTS).connect().await.map_err(wrap)?;
    prepare(&mut conn, &path).await?;
    wal::truncate(&mut conn).await.map_err(wrap)?;
    check_length(&mut conn, &path).await?;
    let epoch = epoch(&mut conn, settings.durability, boot, &lock).await.map_err(wrap)?;
    drop_leftovers(&mut conn).await.map_err(wrap)?;
    let index = Index::load(&mut conn).await.map_err(wrap)?;
    let floors = floors(&mut conn).await.map_err(wrap)?;
    // SQLite keeps no lock on its WAL file itself, so that opening and closing it is safe; closing
    // another handle of the main file drops SQLite's own locks: it stays open as long as SQLite has it.
    let files = Files { wal: Arc::new(File::open(wal_path(&path))?), database: Arc::new(File::open(&path)?) };
    let written = crate::failpoint::written(&path);
    files.wal.sync_all()?;
    written.is_synced();
    File::open(folder)?.sync_all()?;
    lock.begun()?;
    let pool = SqlitePoolOptions::new()
        .max_connections(4)
        .test_before_acquire(false)
        .connect_with(options.clone().pragma("query_only", "1"))
        .await
        .map_err(wrap)?;
    if let Some(bytes) = settings.max_bytes {
        // Of this connection alone, which is the writer's. A file that is larger already stays as it is.
        let limit = format!("PRAGMA max_page_count = {}", bytes / wal::PAGE);
        sqlx::query(sqlx::AssertSqlSafe(limit)).execute(&mut conn).await.map_err(wrap)?;
    }
    let checkpointer = options.connect().await.map_err(wrap)?;
    let head = Number(index.next - 1);
    let tail = Tail::new(settings.memory, head);
    let shared = Shared::new(path, settings.clone(), rules.to_vec(), epoch, tail, index.known.clone(), floors);
    shared.applied(index.at);
    let newest = Reader { shared: &shared, pool: &pool }.newest(settings.memory).await?;
    shared.fill(newest, head);
    Ok(Embedded::start(Arc::new(shared), conn, index, checkpointer, pool, files, lock))
}

/// A connection to a journal that nobody else has open, with everything out of its WAL. The caller holds the lock.
pub(super) async fn alone(path: &Path) -> Result<SqliteConnection, JournalError> {
    let wrap = |e| classify(path, e);
    let mut conn = options(path).create_if_missing(false).connect().await.map_err(wrap)?;
    wal::truncate(&mut conn).await.map_err(wrap)?;
    check_length(&mut conn, path).await?;
    Ok(conn)
}

/// Brings a copy of a journal, which nobody has open, to this format, if it is of an earlier one.
///
/// # Errors
/// Damage that was met, or what the storage says.
pub(crate) async fn to_this_format(folder: &Path) -> Result<(), JournalError> {
    let earlier = super::inspect::format(folder)?.is_some_and(|format| format < FORMAT);
    if !earlier {
        return Ok(());
    }
    let path = folder.join(FILE);
    let wrap = |e| classify(&path, e);
    // It stays one file.
    let options = options(&path).create_if_missing(false).journal_mode(SqliteJournalMode::Delete);
    let mut conn = options.connect().await.map_err(wrap)?;
    prepare(&mut conn, &path).await?;
    conn.close().await.map_err(wrap)?;
    File::open(&path)?.sync_all()?;
    Ok(())
}

pub(super) fn wal_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .page_size(u32::try_from(wal::PAGE).unwrap_or(4096))
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .pragma("wal_autocheckpoint", "0")
        // What a statement or savepoint would take back stays in memory: it is no more than a transaction.
        .pragma("temp_store", "MEMORY")
        .busy_timeout(BUSY)
        .disable_statement_logging()
}

/// Looks at the file before SQLite does: it would take an unlucky foreign file for an empty one.
pub(super) fn check_header(path: &Path) -> Result<(), JournalError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut head = Vec::new();
    file.by_ref().take(100).read_to_end(&mut head)?;
    let damaged = |why: &str| Err(JournalError::Corrupt { path: path.into(), why: why.into() });
    match head.len() {
        // Made, and nothing written yet.
        0 => Ok(()),
        100 if head.starts_with(b"SQLite format 3\0") => Ok(()),
        100 => damaged("it is not an SQLite file"),
        _ => damaged("it ends within its header"),
    }
}

/// Makes the tables, or checks that they are ours.
async fn prepare(conn: &mut SqliteConnection, path: &Path) -> Result<(), JournalError> {
    let wrap = |e| classify(path, e);
    let damaged = |why: &str| Err(JournalError::Corrupt { path: path.into(), why: why.into() });
    let number = |row: sqlx::sqlite::SqliteRow| row.try_get::<i64, _>(0).map_err(wrap);
    let application = number(sqlx::query("PRAGMA application_id").fetch_one(&mut *conn).await.map_err(wrap)?)?;
    let format = number(sqlx::query("PRAGMA user_version").fetch_one(&mut *conn).await.map_err(wrap)?)?;
    let tables = number(sqlx::query("SELECT count(*) FROM sqlite_master").fetch_one(&mut *conn).await.map_err(wrap)?)?;
    if application == 0 && tables == 0 {
        let all = [include_str!("schema.sql"), upgrade::TABLES_OF_2, upgrade::TO_3, upgrade::TO_4].concat();
        let schema = format!("BEGIN IMMEDIATE;\n{all}COMMIT;");
        sqlx::raw_sql(sqlx::AssertSqlSafe(schema)).execute(conn).await.map_err(wrap)?;
        return Ok(());
    }
    if application != APPLICATION {
        return damaged("it is another program's database");
    }
    if format == 1 {
        let damaged = |why| JournalError::Corrupt { path: path.into(), why };
        upgrade::from_1(conn, damaged).await.map_err(|error| match error {
            JournalError::Storage(error) => wrap(error),
            other => other,
        })?;
    }
    if (1..FORMAT).contains(&format) {
        // A file of format 3 says so already; one of 2 needs nothing else.
        let newest = format!("BEGIN IMMEDIATE;\n{}COMMIT;", upgrade::TO_4);
        sqlx::raw_sql(sqlx::AssertSqlSafe(newest)).execute(&mut *conn).await.map_err(wrap)?;
        tracing::info!(path = %path.display(), "the journal is of format {FORMAT} now; earlier versions of relevo can't read it any more");
    } else if format != FORMAT {
        return Err(JournalError::Format { path: path.into(), found: format, reads: FORMAT });
    }
    let ours = "SELECT count(*) FROM sqlite_master WHERE name IN ('meta', 'record', 'chunk', 'staged', 'life', 'source', \
                'cursor', 'state', 'channel', 'channel_index', 'channel_recent', 'state_message', 'idempotency', \
                'checkpoint', 'replaced', 'dead_letter', 'letter_event')";
    if number(sqlx::query(ours).fetch_one(&mut *conn).await.map_err(wrap)?)? != 17 {
        return damaged("tables are missing");
    }
    Ok(())
}

/// After a checkpoint the file holds all of its pages.
async fn check_length(conn: &mut SqliteConnection, path: &Path) -> Result<(), JournalError> {
    let wrap = |e| classify(path, e);
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(conn).await.map_err(wrap)?;
    let (wanted, found) = (unsql(pages) * wal::PAGE, std::fs::metadata(path)?.len());
    if found < wanted {
        let why = format!("it has {found} bytes of {wanted}");
        return Err(JournalError::Corrupt { path: path.into(), why });
    }
    Ok(())
}

/// The epoch, a new one if a power failure or a failed sync may have taken records back, or a backup was put in
/// the journal's place. Marks the journal as in use.
async fn epoch(
    conn: &mut SqliteConnection,
    durability: Durability,
    boot: Option<String>,
    lock: &Lock,
) -> Result<Epoch, sqlx::Error> {
    let rows = sqlx::query("SELECT name, value FROM meta").fetch_all(&mut *conn).await?;
    let mut meta = std::collections::HashMap::<String, String>::new();
    for row in &rows {
        meta.insert(row.try_get(0)?, row.try_get(1)?);
    }
    let is = |name: &str, value: &str| meta.get(name).is_some_and(|v| v == value);
    // Where the system doesn't tell one start from another, it may have been another one.
    let same_boot = boot.as_ref().is_some_and(|now| is("boot", now));
    let cut = is("clean", "0") && is("durability", "process") && (!same_boot || lock.sync_failed());
    // Journals of before runs were remembered have none.
    let run = meta.get("run").map(String::as_str);
    let restored = is("copy", "1") || run.is_some_and(|run| lock.other(run, is("clean", "1")));
    let epoch = match meta.get("epoch") {
        Some(epoch) if !cut && !restored => epoch.clone(),
        known => {
            if known.is_some() && restored {
                tracing::warn!(
                    "the journal is not the one that was here last (a restored backup?): a new epoch begins"
                );
            } else if known.is_some() {
                tracing::warn!(
                    "the machine stopped while the journal was in use, or a sync failed: its last records may be gone, a new epoch begins"
                );
            }
            uuid::Uuid::new_v4().simple().to_string()
        }
    };
    let durability = match durability {
        Durability::Process => "process",
        Durability::Power => "power",
    };
    let boot = boot.unwrap_or_default();
    lock.begin(run.filter(|_| !restored)).map_err(sqlx::Error::Io)?;
    let values = [
        ("epoch", epoch.as_str()),
        ("clean", "0"),
        ("durability", durability),
        ("boot", boot.as_str()),
        ("run", lock.run()),
        // What `copy` marked has its new epoch now.
        ("copy", "0"),
    ];
    let tail = "ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    let mut script = Script::new(conn);
    script
        .rows("INSERT INTO meta (name, value)", 2, tail, &values, |bound, (name, value)| {
            bound.bind(*name).bind(*value);
        })
        .await?;
    script.run().await?;
    Ok(epoch.into())
}

/// A probe for room may have been cut off.
async fn drop_leftovers(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM meta WHERE name = 'room'").execute(conn).await?;
    Ok(())
}

async fn floors(conn: &mut SqliteConnection) -> Result<Floors, sqlx::Error> {
    let mut floors = Floors::default();
    let events = "SELECT value FROM meta WHERE name = 'events_floor'";
    let events: Option<String> = sqlx::query_scalar(events).fetch_optional(&mut *conn).await?;
    floors.events = Number(events.and_then(|e| e.parse().ok()).unwrap_or_default());
    for row in sqlx::query("SELECT name, floor FROM channel WHERE floor > 0").fetch_all(conn).await? {
        if let Ok(name) = ChannelName::new(row.try_get(0)?) {
            floors.channels.insert(name, Number(unsql(row.try_get(1)?)));
        }
    }
    Ok(floors)
}
