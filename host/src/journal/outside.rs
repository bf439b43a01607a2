//! The journal's file read from outside, whether a server has it open or not: what `relevo doctor`, the `relevo
//! journal` commands and backups begin with. Nothing is written to it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection};

use super::index::{sql, unsql};
use super::lock::{self, Use};
use super::open::{FILE, FORMAT, wal_path};
use super::shared::classify;
use super::{JournalError, SourceState, inspect, record};
use crate::event::{Name, Number, Position};

type Result<T> = std::result::Result<T, JournalError>;

/// How many records one page lists, and how many bytes of bodies it holds (but at least one record).
const PAGE: i64 = 256;
const PAGE_BYTES: i64 = 4 << 20;

/// A journal that is read from outside.
pub(crate) struct Outside {
    pub(super) conn: SqliteConnection,
    pub(super) path: PathBuf,
    pub(super) format: i64,
    /// A server has it open.
    pub(super) running: bool,
    /// Keeps a server from starting meanwhile, where none runs.
    _stopped: Option<File>,
}

/// A record as it is stored.
pub(super) struct Stored {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) kind: i64,
    pub(super) at: u64,
    pub(super) size: u64,
    pub(super) held: bool,
    /// An append's life and position.
    pub(super) place: Option<(i64, Position)>,
    /// None: the chunk that should hold it is gone.
    pub(super) body: Option<Vec<u8>>,
}

impl Stored {
    pub(super) fn decode(&self) -> std::result::Result<record::Record, String> {
        let Some(body) = &self.body else { return Err(format!("record {}: its body is gone", self.first)) };
        super::codec::decode(self.kind, Number(self.first), Number(self.last), body)
    }
}

impl Outside {
    /// None: there is no journal yet.
    ///
    /// # Errors
    /// As opening it, but for `Locked`.
    pub(crate) async fn open(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        let Some(format) = inspect::format(folder)? else { return Ok(None) };
        if format > FORMAT {
            return Err(JournalError::Format { path, found: format, reads: FORMAT });
        }
        let (running, stopped) = match lock::look(folder)? {
            Use::Running => (true, None),
            Use::Stopped(file) => (false, file),
        };
        // SQLite makes the files of its WAL mode if they aren't there; where nobody has it open and nothing is in
        // the WAL, the file alone is read as it is.
        let served = running && folder.join(format!("{FILE}-shm")).exists();
        let alone = !served && std::fs::metadata(wal_path(&path)).map_or(0, |wal| wal.len()) == 0;
        let options =
            SqliteConnectOptions::new().filename(&path).read_only(true).immutable(alone).disable_statement_logging();
        let conn = options.connect().await.map_err(|e| classify(&path, e))?;
        Ok(Some(Self { conn, path, format, running, _stopped: stopped }))
    }

    pub(super) fn wrap(&self) -> impl Fn(sqlx::Error) -> JournalError + use<> {
        let path = self.path.clone();
        move |error| classify(&path, error)
    }

    /// A value of the table `meta`.
    pub(super) async fn meta(&mut self, name: &str) -> Result<Option<String>> {
        let wrap = self.wrap();
        let text = "SELECT value FROM meta WHERE name = ?";
        sqlx::query_scalar(text).bind(name).fetch_optional(&mut self.conn).await.map_err(wrap)
    }

    /// All events and controls after this number are kept.
    pub(super) async fn kept_after(&mut self) -> Result<Number> {
        let floor = self.meta("events_floor").await?;
        Ok(Number(floor.and_then(|floor| floor.parse().ok()).unwrap_or_default()))
    }

    /// The highest number that was given.
    pub(super) async fn head(&mut self) -> Result<Number> {
        let wrap = self.wrap();
        let last: Option<i64> = sqlx::query_scalar("SELECT max(first, last) FROM record ORDER BY first DESC LIMIT 1")
            .fetch_optional(&mut self.conn)
            .await
            .map_err(wrap)?;
        // Retention may have taken the newest record.
        let next = self.meta("next").await?.and_then(|next| next.parse::<u64>().ok()).unwrap_or(1);
        Ok(Number(last.map_or(0, unsql).max(next.saturating_sub(1))))
    }

    /// The channels that messages were sent to, by name.
    pub(super) async fn channels(&mut self) -> Result<Vec<String>> {
        let wrap = self.wrap();
        let names = sqlx::query_scalar("SELECT name FROM channel ORDER BY name");
        names.fetch_all(&mut self.conn).await.map_err(wrap)
    }

    /// Where each source stands.
    pub(super) async fn sources(&mut self) -> Result<BTreeMap<Name, SourceState>> {
        let wrap = self.wrap();
        let rows = sqlx::query("SELECT name, incarnation, pos_commit, pos_index, token FROM source");
        let rows = rows.fetch_all(&mut self.conn).await.map_err(&wrap)?;
        let source = |row: &sqlx::sqlite::SqliteRow| {
            let text = |at: usize| row.try_get::<String, _>(at);
            let position = Position { commit: unsql(row.try_get(2)?), index: row.try_get(3)? };
            let state = SourceState { incarnation: text(1)?.into(), position, token: text(4)?.into() };
            Ok((Name::from(text(0)?), state))
        };
        rows.iter().map(source).collect::<sqlx::Result<_>>().map_err(wrap)
    }

    /// Where the record begins that holds a number, or the next one.
    pub(super) async fn first_of(&mut self, number: Number) -> Result<u64> {
        let wrap = self.wrap();
        let first = super::reader::first_of(&mut self.conn, Number(number.0.saturating_sub(1))).await;
        first.map(unsql).map_err(wrap)
    }

    /// The next records that begin at `from` or later, as they are stored. It leaves no transaction open.
    pub(super) async fn page(&mut self, from: u64) -> Result<Vec<Stored>> {
        let wrap = self.wrap();
        let listed = "SELECT first, size FROM record WHERE first >= ? ORDER BY first LIMIT ?";
        let rows = sqlx::query(listed).bind(sql(from)).bind(PAGE).fetch_all(&mut self.conn).await.map_err(&wrap)?;
        let (mut room, mut to) = (PAGE_BYTES, None);
        for row in &rows {
            let (first, size): (i64, i64) = (row.try_get(0).map_err(&wrap)?, row.try_get(1).map_err(&wrap)?);
            room = room.saturating_sub(size);
            if room < 0 && to.is_some() {
                break;
            }
            to = Some(first);
        }
        let Some(to) = to else { return Ok(Vec::new()) };
        let whole = "SELECT first, last, kind, at, size, held, life, pos_commit, pos_index, \
                     coalesce(body, (SELECT c.body FROM chunk c WHERE c.id = record.chunk)) \
                     FROM record WHERE first BETWEEN ? AND ? ORDER BY first";
        let rows = sqlx::query(whole).bind(sql(from)).bind(to).fetch_all(&mut self.conn).await.map_err(&wrap)?;
        rows.iter().map(|row| stored(row).map_err(&wrap)).collect()
    }

    pub(crate) async fn close(self) -> Result<()> {
        let path = self.path;
        self.conn.close().await.map_err(|e| classify(&path, e))
    }
}

pub(super) fn stored(row: &sqlx::sqlite::SqliteRow) -> std::result::Result<Stored, sqlx::Error> {
    let number = |at: usize| row.try_get(at).map(unsql);
    let life: Option<i64> = row.try_get(6)?;
    let index = || row.try_get::<Option<i64>, _>(8).map(|i| u32::try_from(i.unwrap_or_default()).unwrap_or_default());
    let commit = || row.try_get::<Option<i64>, _>(7).map(|c| unsql(c.unwrap_or_default()));
    let place = match life {
        Some(life) => Some((life, Position { commit: commit()?, index: index()? })),
        None => None,
    };
    Ok(Stored {
        first: number(0)?,
        last: number(1)?,
        kind: row.try_get(2)?,
        at: number(3)?,
        size: number(4)?,
        held: row.try_get::<i64, _>(5)? != 0,
        place,
        body: row.try_get(9)?,
    })
}
