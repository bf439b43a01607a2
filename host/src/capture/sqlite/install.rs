//! Brings the watched database's triggers in line with its tables and the settings, in one
//! transaction; finds out whether changes went by unseen; and takes everything out again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};
use uuid::Uuid;

use crate::config::SourceSettings;
use crate::event::Name;

use super::error::CaptureError;
use super::schema::{self, Listed, Table, Term};
use super::triggers::{self, PREFIX, Trigger, Writer, quote};

/// The form of the change table.
const FORMAT: &str = "1";

/// A table that appears while capture runs is delivered as inserts of its rows up to this many; one
/// with more is a gap, whose rebuild reads it as a snapshot.
const BACKFILL: i64 = 1_000;

/// A table with triggers.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    pub table: Table,
    pub excluded: Vec<String>,
}

/// What an installation found and made.
#[derive(Debug)]
pub(crate) struct Installed {
    pub incarnation: Name,
    pub tables: Vec<Watched>,
    /// What keeps tables from being watched, and what to do about it.
    pub problems: Vec<String>,
    /// The schema that this was made for.
    pub schema_version: i64,
    /// Why changes may have gone by unseen. Kept in the database until [`settle_gap`].
    pub gap: Option<String>,
}

/// Makes the change table and the triggers that are wanted, and removes ours that aren't.
pub(crate) async fn install(db: &mut SqliteConnection, settings: &SourceSettings) -> Result<Installed, CaptureError> {
    let mut tx = db.begin_with("BEGIN IMMEDIATE").await?;
    let installed = Installation::begin(&mut tx, settings).await?.run().await?;
    tx.commit().await?;
    Ok(installed)
}

/// Forgets the gap, once the journal knows of it.
pub(crate) async fn settle_gap(db: &mut SqliteConnection) -> Result<(), CaptureError> {
    sqlx::query("DELETE FROM _relevo_meta WHERE key = 'gap'").execute(db).await?;
    Ok(())
}

/// Begins a new incarnation: what was read of this source before no longer counts.
pub(crate) async fn renew(db: &mut SqliteConnection, incarnation: &str) -> Result<(), CaptureError> {
    let mut tx = db.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("DELETE FROM _relevo_meta WHERE key = 'gap'").execute(&mut *tx).await?;
    put(&mut tx, "incarnation", incarnation).await?;
    tx.commit().await?;
    Ok(())
}

/// Takes triggers and tables of ours out of a database; how many of each.
async fn remove(db: &mut SqliteConnection) -> Result<(usize, usize), CaptureError> {
    let mut tx = db.begin_with("BEGIN IMMEDIATE").await?;
    let triggers = present(&mut tx).await?;
    for name in triggers.keys() {
        run(&mut tx, format!("DROP TRIGGER {}", quote(name))).await?;
    }
    let mut tables = 0;
    for table in ["_relevo_peek", "_relevo_changes", "_relevo_meta"] {
        let there = sqlx::query("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?").bind(table);
        if there.fetch_optional(&mut *tx).await?.is_some() {
            run(&mut tx, format!("DROP TABLE {table}")).await?;
            tables += 1;
        }
    }
    tx.commit().await?;
    Ok((triggers.len(), tables))
}

/// One installation, within its transaction.
struct Installation<'a> {
    db: &'a mut SqliteConnection,
    settings: &'a SourceSettings,
    listed: Vec<Listed>,
    /// Our triggers that are there, by name.
    present: BTreeMap<String, String>,
    /// The columns that each table's triggers had, by table.
    attached: BTreeMap<String, Vec<String>>,
    /// Nothing was watched before: what is there is not news.
    first: bool,
    out: Installed,
}

impl<'a> Installation<'a> {
    async fn begin(db: &'a mut SqliteConnection, settings: &'a SourceSettings) -> Result<Self, CaptureError> {
        sqlx::raw_sql(triggers::TABLES).execute(&mut *db).await?;
        let rows = sqlx::query("SELECT key, value FROM _relevo_meta").fetch_all(&mut *db).await?;
        let mut meta = BTreeMap::<String, String>::new();
        for row in rows {
            meta.insert(row.try_get(0)?, row.try_get(1)?);
        }
        match meta.get("format") {
            None => put(db, "format", FORMAT).await?,
            Some(found) if found == FORMAT => {}
            Some(found) => return Err(CaptureError::Format { found: found.clone(), reads: FORMAT }),
        }
        let first = !meta.contains_key("incarnation");
        let incarnation = match meta.get("incarnation") {
            Some(incarnation) => incarnation.clone(),
            None => {
                let incarnation = Uuid::new_v4().simple().to_string();
                put(db, "incarnation", &incarnation).await?;
                incarnation
            }
        };
        // A row that can be found again: without one, a restored file couldn't be told.
        sqlx::query(
            "INSERT INTO _relevo_changes(tbl, op) SELECT '', '=' WHERE NOT EXISTS (SELECT 1 FROM _relevo_changes)",
        )
        .execute(&mut *db)
        .await?;
        let attached = meta.iter().filter_map(|(key, value)| {
            Some((key.strip_prefix("table:")?.to_owned(), serde_json::from_str(value).unwrap_or_default()))
        });
        Ok(Self {
            listed: schema::list(db).await?,
            present: present(db).await?,
            attached: attached.collect(),
            first,
            out: Installed {
                incarnation: incarnation.into(),
                tables: Vec::new(),
                problems: Vec::new(),
                schema_version: 0,
                gap: meta.get("gap").cloned(),
            },
            settings,
            db,
        })
    }

    async fn run(mut self) -> Result<Installed, CaptureError> {
        for listed in self.wanted() {
            if let Some(watched) = self.watch(&listed).await? {
                let done = self.attach(watched).await?;
                self.out.tables.extend(done);
            }
        }
        self.let_go().await?;
        if let Some(gap) = &self.out.gap {
            put(self.db, "gap", gap).await?;
        }
        self.out.schema_version = sqlx::query_scalar("PRAGMA schema_version").fetch_one(&mut *self.db).await?;
        Ok(self.out)
    }

    /// The tables that the settings name; all, where they name none.
    fn wanted(&mut self) -> Vec<Listed> {
        if self.settings.tables.is_empty() {
            return self.listed.iter().filter(|listed| listed.kind == "table").cloned().collect();
        }
        let mut wanted = Vec::new();
        for name in &self.settings.tables {
            match self.listed.iter().find(|listed| listed.name.eq_ignore_ascii_case(name)) {
                Some(listed) if listed.kind == "table" => wanted.push(listed.clone()),
                Some(listed) => {
                    self.out.problems.push(format!("{name} is a {}; only tables can be watched", listed.kind));
                }
                None => self.out.problems.push(format!(
                    "table {name} does not exist; make it (`relevo migrate`), or take it out of the source's `tables`"
                )),
            }
        }
        wanted
    }

    /// Reads a table; none, and a problem, if it can't be watched as the settings want it.
    async fn watch(&mut self, listed: &Listed) -> Result<Option<Watched>, CaptureError> {
        let table = schema::read(self.db, listed).await?;
        let name = &table.name;
        if table.key.is_empty() && table.rowid.is_none() {
            self.out.problems.push(format!("table {name} has no key: declare a PRIMARY KEY"));
            return Ok(None);
        }
        let mut excluded = Vec::new();
        let exclude = self.settings.exclude.iter().filter(|(of, _)| of.eq_ignore_ascii_case(name));
        for wish in exclude.flat_map(|(_, columns)| columns) {
            // A column under another name would enter unasked: the table waits for the settings.
            match table.columns.iter().find(|column| column.name.eq_ignore_ascii_case(wish)) {
                None => {
                    self.out.problems.push(format!("table {name} has no column {wish}, which `exclude` names"));
                    return Ok(None);
                }
                Some(column) if table.key.contains(&column.name) => {
                    self.out
                        .problems
                        .push(format!("column {wish} of table {name} can't be excluded: it is part of the key"));
                    return Ok(None);
                }
                Some(column) => excluded.push(column.name.clone()),
            }
        }
        Ok(Some(Watched { table, excluded }))
    }

    /// Makes a table's triggers where they aren't as they should be.
    async fn attach(&mut self, watched: Watched) -> Result<Option<Watched>, CaptureError> {
        let name = watched.table.name.clone();
        let before = self.attached.remove(&name);
        let mut entered: Vec<String> = watched.table.columns.iter().map(|c| c.name.clone()).collect();
        entered.retain(|column| !watched.excluded.contains(column));

        let complete = Writer::new(&watched.table, &watched.excluded).triggers();
        let gone = complete.iter().any(|trigger| !self.present.contains_key(&trigger.name));
        let watched = match self.make(&watched, &complete).await {
            Ok(()) => watched,
            Err(first) => {
                // An index's expression may be what SQLite doesn't take within a trigger.
                let mut plain = watched.clone();
                plain
                    .table
                    .uniques
                    .retain(|u| u.only.is_none() && u.terms.iter().all(|term| matches!(term, Term::Column { .. })));
                let triggers = Writer::new(&plain.table, &plain.excluded).triggers();
                if plain.table == watched.table || self.make(&plain, &triggers).await.is_err() {
                    let error = CaptureError::Triggers { table: name.clone(), reason: first.to_string() };
                    self.out.problems.push(error.to_string());
                    self.keep(&name);
                    return Ok(None);
                }
                tracing::warn!(table = name, error = %first, "unique indexes over expressions can't be followed: rows that an INSERT OR REPLACE removes through them stay unseen");
                plain
            }
        };
        self.keep(&name);
        if before.as_ref() != Some(&entered) {
            put(self.db, &format!("table:{name}"), &serde_json::to_string(&entered).unwrap_or_default()).await?;
        }
        self.find_unseen(&watched, before.as_deref(), &entered, gone).await?;
        Ok(Some(watched))
    }

    /// Drops and makes the triggers that differ, and proves them; all or nothing.
    async fn make(&mut self, watched: &Watched, wanted: &[Trigger]) -> Result<(), sqlx::Error> {
        let differ: Vec<&Trigger> =
            wanted.iter().filter(|trigger| self.present.get(&trigger.name) != Some(&trigger.sql)).collect();
        if differ.is_empty() {
            return Ok(());
        }
        let mut savepoint = self.db.begin().await?;
        for trigger in differ {
            run(&mut savepoint, format!("DROP TRIGGER IF EXISTS {}", quote(&trigger.name))).await?;
            run(&mut savepoint, trigger.sql.clone()).await?;
        }
        for proof in Writer::new(&watched.table, &watched.excluded).proofs() {
            run(&mut savepoint, proof).await?;
        }
        savepoint.commit().await
    }

    /// Leaves a table's triggers where they are.
    fn keep(&mut self, table: &str) {
        self.present.retain(|trigger, _| !belongs(trigger, table));
    }

    /// Whether a table has something that its triggers didn't tell of.
    async fn find_unseen(
        &mut self,
        watched: &Watched,
        before: Option<&[String]>,
        entered: &[String],
        gone: bool,
    ) -> Result<(), CaptureError> {
        if self.first {
            return Ok(());
        }
        let name = &watched.table.name;
        match before {
            Some(_) if gone => self.gap(format!("table {name} was made anew or its triggers were dropped")),
            Some(before) => {
                for column in entered.iter().filter(|column| !before.contains(column)) {
                    let filled =
                        format!("SELECT EXISTS (SELECT 1 FROM {} WHERE {} IS NOT NULL)", quote(name), quote(column));
                    if sqlx::query_scalar(AssertSqlSafe(filled)).persistent(false).fetch_one(&mut *self.db).await? {
                        self.gap(format!("column {column} of table {name} had values before it was watched"));
                        break;
                    }
                }
            }
            None => {
                let count = format!("SELECT count(*) FROM (SELECT 1 FROM {} LIMIT {})", quote(name), BACKFILL + 1);
                let rows: i64 =
                    sqlx::query_scalar(AssertSqlSafe(count)).persistent(false).fetch_one(&mut *self.db).await?;
                if rows > BACKFILL {
                    self.gap(format!("table {name} had more than {BACKFILL} rows before it was watched"));
                } else if rows > 0 {
                    run(self.db, Writer::new(&watched.table, &watched.excluded).backfill()).await?;
                }
            }
        }
        Ok(())
    }

    fn gap(&mut self, reason: String) {
        self.out.gap.get_or_insert(reason);
    }

    /// Removes triggers that nobody wants, and tells of tables that are gone.
    async fn let_go(&mut self) -> Result<(), CaptureError> {
        let problems = std::mem::take(&mut self.attached);
        for table in problems.into_keys() {
            let there = self.listed.iter().any(|listed| listed.kind == "table" && listed.name == table);
            let wanted = self.settings.tables.is_empty()
                || self.settings.tables.iter().any(|wanted| wanted.eq_ignore_ascii_case(&table));
            if there && wanted {
                // A problem keeps it from being watched anew; what it has goes on.
                self.keep(&table);
                continue;
            }
            if !there {
                sqlx::query("INSERT INTO _relevo_changes(tbl, op) VALUES (?, 'T')")
                    .bind(&table)
                    .execute(&mut *self.db)
                    .await?;
            }
            sqlx::query("DELETE FROM _relevo_meta WHERE key = 'table:' || ?")
                .bind(&table)
                .execute(&mut *self.db)
                .await?;
        }
        for name in std::mem::take(&mut self.present).into_keys() {
            run(self.db, format!("DROP TRIGGER {}", quote(&name))).await?;
        }
        Ok(())
    }
}

/// Whether a trigger of ours was made for a table.
fn belongs(trigger: &str, table: &str) -> bool {
    ["before_insert_", "insert_", "before_update_", "update_", "delete_"]
        .iter()
        .any(|what| trigger.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(what)) == Some(table))
}

/// Our triggers and their SQL, by name.
async fn present(db: &mut SqliteConnection) -> sqlx::Result<BTreeMap<String, String>> {
    let rows = sqlx::query("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND substr(name, 1, 8) = ?")
        .bind(PREFIX)
        .fetch_all(db)
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

async fn put(db: &mut SqliteConnection, key: &str, value: &str) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO _relevo_meta(key, value) VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value",
    )
    .bind(key)
    .bind(value)
    .execute(db)
    .await?;
    Ok(())
}

/// Runs SQL that was made of the schema's own names, quoted.
async fn run(db: &mut SqliteConnection, sql: String) -> sqlx::Result<()> {
    sqlx::query(AssertSqlSafe(sql)).persistent(false).execute(db).await?;
    Ok(())
}

/// What [`detach`] took out.
#[derive(Debug)]
pub struct Detached {
    pub path: PathBuf,
    pub triggers: usize,
    pub tables: usize,
}

/// Takes everything of ours out of a database: while a trigger names a column, SQLite refuses to
/// drop it. Capture, when it starts again, takes it for a new source and says `gap`.
///
/// # Errors
/// If the address is none, the file is missing, or the database refuses.
pub async fn detach(url: &str, data: &Path) -> Result<Detached, CaptureError> {
    let path = super::connect::path(url, data)?;
    let mut db = super::connect::open(&path).await?;
    let (triggers, tables) = remove(&mut db).await?;
    db.close().await?;
    Ok(Detached { path, triggers, tables })
}
