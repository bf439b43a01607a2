//! Looks at a database as capture would, and changes nothing. `relevo doctor` and `relevo capture status` call this.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use crate::config::SourceSettings;
use crate::event::Name;

use super::super::status::Found;
use super::error::CaptureError;
use super::tables::{FORMAT, get, is_there};
use super::triggers::PREFIX;
use super::{connect, schema};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// SQLite's journal mode, in small letters.
    pub mode: String,
    /// Of what capture keeps there; None: nothing yet.
    pub format: Option<String>,
    /// The format that this version has.
    pub reads: &'static str,
    pub tables: Vec<InspectedTable>,
    /// The user's own triggers: name and table.
    pub triggers: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectedTable {
    pub name: String,
    /// A PRIMARY KEY is declared.
    pub has_key: bool,
    pub can_be_watched: bool,
    pub columns: Vec<String>,
}

/// # Errors
/// What SQLite says.
pub async fn inspect(path: &Path) -> sqlx::Result<Inspected> {
    let mut db = open_untouched(path).await?;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut db).await?;
    let kept = is_there(&mut db, "_relevo_meta").await?;
    let format = if kept { get(&mut db, "format").await? } else { None };
    let mut tables = Vec::new();
    for listed in schema::list(&mut db).await? {
        // Views and virtual tables have no triggers of our kind, and nobody meant them.
        if listed.kind != "table" {
            continue;
        }
        let table = schema::read(&mut db, &listed).await?;
        let has_key = !table.key.is_empty();
        let columns = table.columns.into_iter().map(|column| column.name).collect();
        let can_be_watched = has_key || table.rowid.is_some();
        tables.push(InspectedTable { has_key, can_be_watched, name: table.name, columns });
    }
    let triggers =
        sqlx::query("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'trigger' AND substr(name, 1, 8) <> ?")
            .bind(PREFIX)
            .fetch_all(&mut db)
            .await?;
    let triggers = triggers.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<sqlx::Result<_>>()?;
    db.close().await?;
    let mode = if is_wal(path) { "wal".to_owned() } else { mode.to_lowercase() };
    Ok(Inspected { mode, format, reads: FORMAT, tables, triggers })
}

/// Whether a file is in WAL mode, by its header: SQLite says `delete` of one that it reads as it is. The format is that
/// of <https://sqlite.org/fileformat.html>, 1.3.
fn is_wal(path: &Path) -> bool {
    let mut head = [0; 20];
    let read = std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut head));
    read.is_ok() && head[18] == 2
}

/// What the database says of a source that isn't captured now.
pub(crate) async fn look(settings: &SourceSettings, data: &Path, position: u64) -> Result<Found, CaptureError> {
    let path = connect::path(&settings.url, data)?;
    let mut db = open_untouched(&path).await?;
    let mut found = Found::default();
    if is_there(&mut db, "_relevo_changes").await? {
        let triggers = sqlx::query_scalar::<_, String>(
            "SELECT DISTINCT tbl_name FROM sqlite_schema WHERE type = 'trigger' AND substr(name, 1, 8) = ? ORDER BY 1",
        );
        found.tables = triggers.bind(PREFIX).fetch_all(&mut db).await?.into_iter().map(Name::from).collect();
        let behind = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM _relevo_changes WHERE seq > ?");
        let position = i64::try_from(position).unwrap_or(i64::MAX);
        found.behind = u64::try_from(behind.bind(position).fetch_one(&mut db).await?).ok();
    }
    db.close().await?;
    Ok(found)
}

/// A connection that makes no file. A database in WAL mode has two more files while somebody has it open; where
/// they aren't, nobody has, and the file alone is read as it is.
pub(crate) async fn open_untouched(path: &Path) -> sqlx::Result<SqliteConnection> {
    let beside = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        Path::new(&name).exists()
    };
    let alone = !(beside("-wal") && beside("-shm"));
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .immutable(alone)
        .busy_timeout(Duration::from_secs(2))
        .disable_statement_logging()
        .connect()
        .await
}
