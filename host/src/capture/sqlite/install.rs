//! Brings the watched database's triggers in line with its tables and the settings, in one
//! transaction; and finds out whether changes went by unseen.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

use crate::config::SourceSettings;
use crate::event::Name;

use super::error::CaptureError;
use super::form::{Form, FormId};
use super::others::Others;
use super::schema::{self, Listed, Table, Term};
use super::tables::{self, MOST_COLUMNS, Made, Meta, get, put, run};
use super::triggers::{Moment, Trigger, Writer, belongs, quote};

/// A table that appears while capture runs is delivered as inserts of its rows up to this many; one
/// with more is a gap, whose rebuild reads it as a snapshot.
const BACKFILL: i64 = 1_000;

/// A table with triggers.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    pub table: Table,
    pub form: Form,
    id: FormId,
}

impl Watched {
    pub(crate) fn writer(&self) -> Writer<'_> {
        Writer::new(&self.table, &self.form, self.id)
    }
}

/// What an installation found and made.
#[derive(Debug)]
pub(crate) struct Installed {
    pub incarnation: Name,
    pub tables: Vec<Arc<Watched>>,
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
    Ok(tables::forget(db, "gap").await?)
}

/// Begins a new incarnation: what was read of this source before no longer counts.
pub(crate) async fn renew(db: &mut SqliteConnection, incarnation: &str) -> Result<(), CaptureError> {
    let mut tx = db.begin_with("BEGIN IMMEDIATE").await?;
    tables::forget(&mut tx, "gap").await?;
    put(&mut tx, "incarnation", incarnation).await?;
    tx.commit().await?;
    Ok(())
}

/// One installation, within its transaction.
struct Installation<'a> {
    db: &'a mut SqliteConnection,
    settings: &'a SourceSettings,
    listed: Vec<Listed>,
    /// Our triggers that are there, by name.
    present: BTreeMap<String, Made>,
    /// The user's own.
    others: Others,
    /// The form that each table's triggers were made for.
    attached: BTreeMap<String, FormId>,
    /// Nothing was watched before: what is there is not news.
    first: bool,
    /// See [`Form::mark`].
    mark: String,
    out: Installed,
}

impl<'a> Installation<'a> {
    async fn begin(db: &'a mut SqliteConnection, settings: &'a SourceSettings) -> Result<Self, CaptureError> {
        let Meta { incarnation, first, mark, gap, attached } = tables::prepare(db).await?;
        Ok(Self {
            listed: schema::list(db).await?,
            present: tables::triggers(db).await?,
            others: Others::read(db).await?,
            attached,
            first,
            mark,
            out: Installed {
                incarnation: incarnation.into(),
                tables: Vec::new(),
                problems: Vec::new(),
                schema_version: 0,
                gap,
            },
            settings,
            db,
        })
    }

    async fn run(mut self) -> Result<Installed, CaptureError> {
        let mut wanted = Vec::new();
        for listed in self.wanted() {
            wanted.extend(self.watch(&listed).await?);
        }
        let widest = wanted.iter().map(|(_, form)| form.columns().len()).max();
        tables::make_room(self.db, widest.unwrap_or_default()).await?;
        for (table, form) in wanted {
            let id = tables::number(self.db, &form).await?;
            let done = self.attach(Watched { table, form, id }).await?;
            self.out.tables.extend(done.map(Arc::new));
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
                    "table {name} does not exist; {}, or take it out of the source's `tables`",
                    self.settings.make_it()
                )),
            }
        }
        wanted
    }

    /// Reads a table; none, and a problem, if it can't be watched as the settings want it.
    async fn watch(&mut self, listed: &Listed) -> Result<Option<(Table, Form)>, CaptureError> {
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
        let form = Form::new(&table, &excluded, &self.mark);
        let columns = form.columns().len();
        if columns > MOST_COLUMNS {
            self.out.problems.push(format!(
                "table {name} has {columns} columns; at most {MOST_COLUMNS} of a table can be watched: name the others in the source's `exclude`"
            ));
            return Ok(None);
        }
        Ok(Some((table, form)))
    }

    /// Makes a table's triggers where they aren't as they should be.
    async fn attach(&mut self, watched: Watched) -> Result<Option<Watched>, CaptureError> {
        let name = watched.table.name.clone();
        let before = self.attached.remove(&name);
        let complete = watched.writer().triggers();
        let gone = complete.iter().any(|trigger| !self.present.contains_key(&trigger.name));
        self.find_overtaken(&name, &complete);
        let watched = match self.make(&watched, &complete).await {
            Ok(()) => watched,
            Err(first) => {
                // An index's expression or a default may be what SQLite doesn't take within a trigger.
                let mut plain = watched.clone();
                plain
                    .table
                    .uniques
                    .retain(|u| u.only.is_none() && u.terms.iter().all(|term| matches!(term, Term::Column { .. })));
                plain.table.columns.iter_mut().for_each(|column| column.instead_of_null = None);
                let triggers = plain.writer().triggers();
                if plain.table == watched.table || self.make(&plain, &triggers).await.is_err() {
                    let error = CaptureError::Triggers { table: name.clone(), reason: first.to_string() };
                    self.out.problems.push(error.to_string());
                    self.keep(&name);
                    return Ok(None);
                }
                tracing::warn!(table = name, error = %first, "unique indexes over expressions, and defaults instead of nulls, can't be followed: rows that an INSERT OR REPLACE removes through them stay unseen");
                plain
            }
        };
        self.keep(&name);
        self.warn_of_late(&name, &complete).await?;
        put(self.db, &format!("table:{name}"), &watched.id.to_string()).await?;
        self.find_unseen(&watched, before, gone).await?;
        Ok(Some(watched))
    }

    /// Makes a table's triggers anew if they aren't as wanted, and proves them; all or nothing. Always
    /// all of a moment, since SQLite fires them by their age: before the row is written ours should
    /// come after the user's, and so stay as old as they are; after it, before the user's.
    async fn make(&mut self, watched: &Watched, wanted: &[Trigger]) -> Result<(), sqlx::Error> {
        let stale = |moment: Moment| {
            let mut ours = wanted.iter().filter(|trigger| trigger.moment == moment);
            ours.any(|trigger| self.present.get(&trigger.name).is_none_or(|made| made.sql != trigger.sql))
        };
        let before = stale(Moment::Before);
        let after = stale(Moment::After) || self.disordered(&watched.table.name, wanted);
        if !before && !after {
            return Ok(());
        }
        let anew = wanted.iter().filter(|trigger| match trigger.moment {
            Moment::Before => before,
            Moment::After => after,
        });
        let mut savepoint = self.db.begin().await?;
        for trigger in anew.clone() {
            run(&mut savepoint, format!("DROP TRIGGER IF EXISTS {}", quote(&trigger.name))).await?;
        }
        for trigger in anew {
            run(&mut savepoint, trigger.sql.clone()).await?;
        }
        for proof in watched.writer().proofs() {
            run(&mut savepoint, proof).await?;
        }
        savepoint.commit().await
    }

    /// The ages of ours that are there and fire after a row is written, in the order in which they are
    /// to be made.
    fn ages(&self, wanted: &[Trigger]) -> Vec<i64> {
        let after = wanted.iter().filter(|trigger| trigger.moment == Moment::After);
        after.filter_map(|trigger| self.present.get(&trigger.name)).map(|made| made.age).collect()
    }

    /// Whether ours that fire after a row is written aren't the newest, or not in their order.
    fn disordered(&self, table: &str, wanted: &[Trigger]) -> bool {
        let ages = self.ages(wanted);
        let newest = self.others.of(table, Moment::After).map(|other| other.age).max();
        !ages.is_sorted() || ages.first() < newest.as_ref()
    }

    /// A trigger of the user's that is newer than ours fires before them: what it writes to the same
    /// table was told before the row that fired it, so that the row as it was came last.
    fn find_overtaken(&mut self, table: &str, wanted: &[Trigger]) {
        let Some(oldest) = self.ages(wanted).into_iter().min() else { return };
        let newer = self.others.of(table, Moment::After).filter(|other| other.age > oldest);
        let found = newer.filter(|other| self.others.comes_back(other)).map(|other| other.name.clone()).next();
        if let Some(trigger) = found {
            self.gap(format!(
                "trigger {trigger} of table {table} is newer than relevo's and writes to the table itself: changes may have come in the wrong order"
            ));
        }
    }

    /// A trigger of the user's that fires between ours and the write may change what they saw.
    async fn warn_of_late(&mut self, table: &str, wanted: &[Trigger]) -> Result<(), CaptureError> {
        let found = self.others.of(table, Moment::Before).filter(|other| self.others.comes_back(other));
        let Some(oldest) = found.min_by_key(|other| other.age) else { return Ok(()) };
        for trigger in wanted.iter().filter(|trigger| trigger.moment == Moment::Before) {
            let made = sqlx::query_scalar("SELECT rowid FROM sqlite_schema WHERE type = 'trigger' AND name = ?");
            let age: Option<i64> = made.bind(&trigger.name).fetch_optional(&mut *self.db).await?;
            if age.is_some_and(|age| age > oldest.age) {
                tracing::warn!(
                    table,
                    trigger = oldest.name,
                    "this BEFORE trigger writes to its own table, and relevo's fire before it: what an INSERT OR REPLACE removes may be told wrongly; drop it and create it again, so that it fires first"
                );
                break;
            }
        }
        Ok(())
    }

    /// Leaves a table's triggers where they are.
    fn keep(&mut self, table: &str) {
        self.present.retain(|trigger, _| !belongs(trigger, table));
    }

    /// Whether a table has something that its triggers didn't tell of.
    async fn find_unseen(&mut self, watched: &Watched, before: Option<FormId>, gone: bool) -> Result<(), CaptureError> {
        if self.first {
            return Ok(());
        }
        let name = &watched.table.name;
        if get(self.db, &left(name)).await?.is_some() {
            tables::forget(self.db, &left(name)).await?;
            self.gap(format!("table {name} was not watched for a while"));
            return Ok(());
        }
        match before {
            Some(_) if gone => self.gap(format!("table {name} was made anew or its triggers were dropped")),
            Some(before) => {
                let before = tables::form(self.db, before).await?;
                let known = before.as_ref().map(Form::columns).unwrap_or_default();
                for column in watched.form.columns().iter().filter(|column| !known.contains(column)) {
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
                    run(self.db, watched.writer().backfill()).await?;
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
        for (table, form) in std::mem::take(&mut self.attached) {
            let there = self.listed.iter().any(|listed| listed.kind == "table" && listed.name == table);
            let wanted = self.settings.tables.is_empty()
                || self.settings.tables.iter().any(|wanted| wanted.eq_ignore_ascii_case(&table));
            if there && wanted {
                // A problem keeps it from being watched anew; what it has goes on.
                self.keep(&table);
                continue;
            }
            if there {
                put(self.db, &left(&table), "1").await?;
            } else {
                sqlx::query("INSERT INTO _relevo_changes(form, op) VALUES (?, 'T')")
                    .bind(form.0)
                    .execute(&mut *self.db)
                    .await?;
            }
            tables::forget(self.db, &format!("table:{table}")).await?;
        }
        for name in std::mem::take(&mut self.present).into_keys() {
            run(self.db, format!("DROP TRIGGER {}", quote(&name))).await?;
        }
        Ok(())
    }
}

/// Under what it is remembered that a table is no longer watched, though pipelines may keep its rows.
fn left(table: &str) -> String {
    format!("left:{table}")
}
