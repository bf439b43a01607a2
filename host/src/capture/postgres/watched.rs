//! Which tables are watched, how they look, and what is said about them: the part of a session that
//! follows the catalog.

use std::sync::Arc;
use std::time::Instant;

use crate::event::Name;
use crate::journal::Control;

use super::super::error::CaptureError;
use super::super::{SourceState, joined};
use super::catalog::{self, Table};
use super::decode::RelationMessage;
use super::finding::Weight;
use super::form::{self, Form};
use super::preflight::{self, Preflight};
use super::publication::{self, Carried, Change};
use super::relation::Relation;
use super::reshaped::Reshaped;
use super::silence::within;
use super::stream::{LOOK, Session};
use super::transport::Transport;

/// What a transaction that is sent already is waited for.
const UNSEEN: &str = "the end of a transaction whose commit is written (does it wait for a synchronous standby?)";

impl<T: Transport> Session<'_, T> {
    /// The stream describes a table before its first row, and again when it changed.
    pub(super) async fn relation(&mut self, message: &RelationMessage<'_>) -> Result<(), CaptureError> {
        if let Some(xid) = self.transactions.open_xid() {
            self.until_visible(xid).await?;
        }
        let is_it = |table: &&Arc<Table>| *table.schema == *message.schema && *table.name == *message.table;
        let wanted =
            |entry: &Name| **entry == *message.table || entry.split_once('.') == Some((message.schema, message.table));
        let tables = &self.source.settings.tables;
        let behind = self.parts.behind();
        let known = self.tables.iter().any(|table| is_it(&table));
        if !known
            && let Some(root) = behind
            && self.partition(message, root).await?
        {
            return Ok(());
        }
        let renamed = !known && self.is_watched(message.id);
        if renamed || (!known && (tables.is_empty() || tables.iter().any(wanted))) {
            // One that is newer than our last look.
            self.look().await?;
        }
        let mut table = self.tables.iter().find(is_it).cloned();
        if let Some(known) = &table
            && let Some(primary) = catalog::primary(&mut self.db, known.oid).await?
            && primary != known.primary
        {
            // Its rows have other keys since our last look.
            self.look().await?;
            table = self.tables.iter().find(is_it).cloned();
        }
        let Some(table) = table else {
            if let Some(table) = self.tables.iter().find(|table| renamed && table.oid == message.id) {
                let (table, then) = (table.shown(), catalog::shown(message.schema, message.table));
                let reason =
                    format!("table {table} had another name for a while, {then}: what was changed then is not told");
                self.source.tell_table_gap(&[&table, &then], &reason).await?;
            }
            self.relations.insert(message.id, None);
            return Ok(());
        };
        let settings = &self.source.settings;
        let mut relation = self.types.streamed(&mut self.db, message, &table, settings).await?;
        relation.mixed = self.parts.are_mixed(message.id);
        self.reshape(message, &table, &relation).await?;
        self.parts.describe(message.id);
        self.relations.insert(message.id, Some(Arc::new(relation)));
        Ok(())
    }

    fn is_watched(&self, oid: u32) -> bool {
        self.tables.iter().any(|table| table.oid == oid)
    }

    /// Compares a table with what it was when its rows were last read, and tells of what is new about it: before
    /// the first row that has it.
    async fn reshape(
        &mut self,
        message: &RelationMessage<'_>,
        table: &Table,
        relation: &Relation,
    ) -> Result<(), CaptureError> {
        let (journal, source) = (&self.source.journal, &self.source.settings.name);
        let catalog = Form::read(&mut self.db, table).await?.keyed_by(relation);
        // One whose form isn't known has just come: what it has was told, or is nothing.
        let before = Form::kept(journal, source, table).await?.unwrap_or_else(|| catalog.clone());
        let (now, reshaped) = before.becomes(message, &catalog, table.excluded(&self.source.settings));
        if now == before {
            return Ok(());
        }
        if let Some(Reshaped { what, unseen }) = reshaped {
            if self.transactions.has_events() {
                // Rows of the former form come before.
                self.append_done().await?;
            }
            let control = Control::SchemaChanged {
                source: Name::clone(source),
                table: table.shown().into(),
                change: what.as_str().into(),
            };
            tracing::info!(%source, table = table.shown(), what, "a table changed its form");
            journal.control(control).await?;
            if unseen {
                let reason = format!("table {}: {what}; no event tells of the values", table.shown());
                self.source.tell_table_gap(&[&table.shown()], &reason).await?;
            }
            self.looked = Instant::now().checked_sub(LOOK).unwrap_or(self.looked);
        }
        now.keep(journal, source, table).await
    }

    /// Compares the tables with what the journal knows of them, and tells of a gap where nobody was told of
    /// something. `added`: those that just came into the publication; `tell`: it isn't told of the whole source
    /// anyway.
    pub(super) async fn take_in(&mut self, added: &[u32], tell: bool) -> Result<(), CaptureError> {
        let (journal, source) = (&self.source.journal, &self.source.settings.name);
        let mut missed = Vec::new();
        for table in self.tables.clone() {
            let came = added.contains(&table.oid);
            let carried = self.published.carried(&table);
            if !came && !table.partitioned && self.formed.get(&table.oid) == Some(&carried) {
                continue;
            }
            let before = Form::kept(journal, source, &table).await?;
            match before {
                Some(before) if !came && before.is_of(&table) => {
                    let misses = tell && before.missed(&carried);
                    if misses && !self.published.has_all_of(&table) {
                        // Told once it has, when the rows that are there are all that there will be.
                        continue;
                    }
                    if tell {
                        self.tell_moved(&before, &table).await?;
                    }
                    let mut now = before.clone().with_parts(&table).carried_by(carried.clone());
                    if !now.has_key() {
                        now = now.keyed_by(&self.stored(&table).await?);
                    }
                    if misses {
                        missed.push((table, now, carried));
                        continue;
                    }
                    if now != before {
                        now.keep(journal, source, &table).await?;
                    }
                }
                before => self.welcome(&table, before.is_some(), tell, &carried).await?,
            }
            self.formed.insert(table.oid, carried);
        }
        self.tell_missed(missed).await
    }

    /// A table that is new to us, or watched again after a while (`again`): keeps its form, and tells of a gap if it
    /// has rows that nobody told of, or may have had some.
    async fn welcome(&mut self, table: &Table, again: bool, tell: bool, carried: &Carried) -> Result<(), CaptureError> {
        let has_rows = catalog::has_rows(&mut self.db, &table.quoted()).await?;
        // Rows that were written before it came into the publication aren't told when they are committed.
        let is_written = !has_rows && catalog::is_written(&mut self.db, table).await?;
        let reason = match (has_rows, is_written, again) {
            (true, ..) => Some("is watched from now on, and it has rows already"),
            (_, true, _) => Some("is watched from now on, and somebody was writing to it already"),
            (_, _, true) => Some("was made anew, or is watched again"),
            (false, false, false) => None,
        };
        if let (true, Some(reason)) = (tell, reason) {
            let shown = table.shown();
            self.source.tell_table_gap(&[&shown], &format!("table {shown} {reason}")).await?;
        }
        // After the gap: a crash in between tells of it twice, and not never.
        let relation = self.stored(table).await?;
        let now = Form::read(&mut self.db, table).await?.keyed_by(&relation).carried_by(carried.clone());
        now.keep(&self.source.journal, &self.source.settings.name, table).await
    }

    /// The table as its rows would come now.
    async fn stored(&mut self, table: &Table) -> Result<Relation, CaptureError> {
        self.types.stored(&mut self.db, table, &self.source.settings, self.published.generated).await
    }

    /// Tells, once for all, what became of a table's partitions, where no event does.
    async fn tell_moved(&mut self, before: &Form, table: &Table) -> Result<(), CaptureError> {
        let moved = before.moved(&mut self.db, table).await?;
        if !moved.is_empty() {
            let reason = format!("table {}: {}; no event tells of them", table.shown(), moved.join("; "));
            self.source.tell_table_gap(&[&table.shown()], &reason).await?;
        }
        Ok(())
    }

    /// Tables were emptied by statements that are told: the files that their partitions got by it are no news.
    pub(super) async fn pass_emptied(&mut self) -> Result<(), CaptureError> {
        let emptied = std::mem::take(&mut self.emptied);
        let of = |table: &&Arc<Table>| table.partitioned && emptied.contains(&table.oid);
        let tables: Vec<Arc<Table>> = self.tables.iter().filter(of).cloned().collect();
        let Some(xid) = self.transactions.open_xid().filter(|_| !tables.is_empty()) else { return Ok(()) };
        self.until_visible(xid).await?;
        let (journal, source) = (&self.source.journal, &self.source.settings.name);
        for table in tables {
            let Some(before) = Form::kept(journal, source, &table).await? else { continue };
            let now = before.clone().emptied_by(&mut self.db, xid).await?;
            if now != before {
                now.keep(journal, source, &table).await?;
            }
        }
        Ok(())
    }

    /// Waits until the catalog shows what a transaction did that was sent.
    async fn until_visible(&mut self, xid: u32) -> Result<(), CaptureError> {
        let visible = within(self.source.settings.silence, UNSEEN, catalog::until_visible(&mut self.db, xid));
        self.silence.while_busy(visible).await
    }

    /// Tells, once for all, of tables that the publication didn't carry all the time, and keeps what they are now.
    async fn tell_missed(&mut self, missed: Vec<(Arc<Table>, Form, Carried)>) -> Result<(), CaptureError> {
        if missed.is_empty() {
            return Ok(());
        }
        let tables: Vec<String> = missed.iter().map(|(table, ..)| table.shown()).collect();
        let reason = format!(
            "publication {} was altered: for a while it may have left out changes of {} {}",
            self.source.settings.publication(),
            if tables.len() == 1 { "table" } else { "tables" },
            tables.join(", ")
        );
        self.source.tell_table_gap(&tables.iter().map(String::as_str).collect::<Vec<_>>(), &reason).await?;
        // After the gap, as in `welcome`.
        for (table, now, carried) in missed {
            now.keep(&self.source.journal, &self.source.settings.name, &table).await?;
            self.formed.insert(table.oid, carried);
        }
        Ok(())
    }

    /// Tells of a gap for each table that was watched when the journal was last written, and isn't now: what became
    /// of its rows in the end nobody was told. Not of those that are `kept_out` for a while: that is told when they
    /// come. `tell`: as for [`Self::take_in`].
    pub(super) async fn miss(&self, kept_out: &[Table], tell: bool) -> Result<(), CaptureError> {
        for (schema, name) in form::known(&self.source.journal, &self.source.settings.name).await? {
            let mut there = self.tables.iter().map(|table| &**table).chain(kept_out);
            if there.all(|table| *table.schema != *schema || *table.name != *name) {
                self.lose(&schema, &name, tell).await?;
            }
        }
        Ok(())
    }

    /// A table that is not watched any more.
    async fn lose(&self, schema: &str, name: &str, tell: bool) -> Result<(), CaptureError> {
        if tell {
            let table = catalog::shown(schema, name);
            let reason = format!("table {table} was dropped, or is not watched any more");
            self.source.tell_table_gap(&[&table], &reason).await?;
        }
        // After the gap, as in `welcome`.
        form::forget(&self.source.journal, &self.source.settings.name, schema, name).await
    }

    /// Follows the catalog: tables that came, went, or can be watched now.
    pub(super) async fn look(&mut self) -> Result<(), CaptureError> {
        let settings = &self.source.settings;
        let Preflight { tables, findings, .. } = preflight::look(&mut self.db, settings).await?;
        let publication = settings.publication();
        let change = publication::publish(&mut self.db, &publication, tables, &self.server, self.patient).await?;
        let Change { published, tables, added, kept_out, problems: locked } = change;
        (self.published, self.patient) = (published, locked.is_empty());
        let known = std::mem::replace(&mut self.tables, tables.into_iter().map(Arc::new).collect());
        let is_it =
            |one: &Table, other: &Table| (one.oid, &one.schema, &one.name) == (other.oid, &other.schema, &other.name);
        for gone in known.iter().filter(|known| self.tables.iter().all(|table| !is_it(known, table))) {
            self.formed.remove(&gone.oid);
            if kept_out.iter().all(|table| !is_it(gone, table)) {
                self.lose(&gone.schema, &gone.name, true).await?;
                self.unwatched.insert(gone.oid);
            }
        }
        self.unwatched.retain(|oid| self.tables.iter().all(|table| table.oid != *oid));
        self.take_in(&added, true).await?;
        // Not before it is known whether they have rows: who sees it may write some.
        self.watches();
        let of = |weight| findings.iter().filter(move |f| f.weight == weight).map(ToString::to_string);
        let problems = of(Weight::Blocks).chain(of(Weight::Table)).chain(locked).collect();
        self.blocked = findings.iter().any(|f| f.weight == Weight::Blocks);
        self.say_problems(problems);
        self.say();
        Ok(())
    }

    /// Says which tables are watched.
    pub(super) fn watches(&self) {
        self.source.watches(self.tables.iter().map(|table| table.shown().into()));
    }

    pub(super) fn say_problems(&mut self, problems: Vec<String>) {
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::error!(source = %self.source.settings.name, "{problem}");
        }
        self.problems = problems;
    }

    /// Says what keeps pipelines from getting the rows that they want.
    pub(super) fn say_unmet(&mut self, unmet: Vec<String>) {
        if self.unmet != unmet {
            for problem in unmet.iter().filter(|problem| !self.unmet.contains(problem)) {
                tracing::error!(source = %self.source.settings.name, "{problem}");
            }
            self.unmet = unmet;
            self.say();
        }
    }

    /// Shows all that stands in the way: one must not believe that all is captured while a table
    /// isn't.
    pub(super) fn say(&self) {
        let danger = self.danger.borrow().clone();
        let problems = self.problems.iter().chain(&self.unmet).map(String::as_str);
        // Without heartbeats, or without its slot, it won't run for long.
        let stands = danger.is_some() || self.blocked;
        let all: Vec<&str> = danger.as_deref().into_iter().chain(problems).collect();
        self.source.say(match stands {
            true => SourceState::Failed { reason: joined(&all).into() },
            false => SourceState::with(all),
        });
    }
}
