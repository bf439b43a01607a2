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
use super::form::{self, Form, Reshaped};
use super::preflight::{self, Preflight};
use super::slot;
use super::stream::{LOOK, Session};
use super::transport::Transport;

impl<T: Transport> Session<'_, T> {
    /// The stream describes a table before its first row, and again when it changed.
    pub(super) async fn relation(&mut self, message: &RelationMessage<'_>) -> Result<(), CaptureError> {
        if let Some(xid) = self.transactions.open_xid() {
            catalog::until_visible(&mut self.db, xid).await?;
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
        if !known && (tables.is_empty() || tables.iter().any(wanted)) {
            // One that is newer than our last look.
            self.look().await?;
        }
        let Some(table) = self.tables.iter().find(is_it).cloned() else {
            self.relations.insert(message.id, None);
            return Ok(());
        };
        let settings = &self.source.settings;
        let mut relation = self.types.streamed(&mut self.db, message, &table, settings).await?;
        relation.mixed = self.parts.are_mixed(message.id);
        self.reshape(message, &table).await?;
        self.parts.describe(message.id);
        self.relations.insert(message.id, Some(Arc::new(relation)));
        Ok(())
    }

    /// Compares a table with what it was when its rows were last read, and tells of what is new about it: before
    /// the first row that has it.
    async fn reshape(&mut self, message: &RelationMessage<'_>, table: &Table) -> Result<(), CaptureError> {
        let (journal, source) = (&self.source.journal, &self.source.settings.name);
        let catalog = Form::read(&mut self.db, table).await?;
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
                self.source.tell_gap(&reason).await?;
            }
            self.looked = Instant::now().checked_sub(LOOK).unwrap_or(self.looked);
        }
        now.keep(journal, source, table).await
    }

    /// Keeps the form of tables that are new to us, and tells of a gap: they have rows that nobody told of, or
    /// had some when they were watched before. `added`: those that just came into the publication; `tell`: it
    /// isn't told of the whole source anyway.
    pub(super) async fn take_in(&mut self, added: &[u32], tell: bool) -> Result<(), CaptureError> {
        let (journal, source) = (&self.source.journal, &self.source.settings.name);
        for table in &self.tables {
            let came = added.contains(&table.oid);
            if self.formed.contains(&table.oid) && !came && !table.partitioned {
                continue;
            }
            let before = Form::kept(journal, source, table).await?;
            if let (false, Some(before)) = (came, before.as_ref().filter(|before| before.is_of(table))) {
                let moved = if tell { before.moved(&mut self.db, table).await? } else { Vec::new() };
                for what in moved {
                    self.source.tell_gap(&format!("table {}: {what}; no event tells of them", table.shown())).await?;
                }
                if let (true, Some(now)) = (table.partitioned, before.clone().with_parts(table)) {
                    now.keep(journal, source, table).await?;
                }
                self.formed.insert(table.oid);
                continue;
            }
            {
                let has_rows = catalog::has_rows(&mut self.db, &table.quoted()).await?;
                let reason = match (has_rows, before) {
                    (true, _) => Some("is watched from now on, and it has rows already"),
                    (false, Some(_)) => Some("was made anew, or is watched again"),
                    (false, None) => None,
                };
                if let (true, Some(reason)) = (tell, reason) {
                    self.source.tell_gap(&format!("table {} {reason}", table.shown())).await?;
                }
                // After the gap: a crash in between tells of it twice, and not never.
                Form::read(&mut self.db, table).await?.keep(journal, source, table).await?;
            }
            self.formed.insert(table.oid);
        }
        Ok(())
    }

    /// Tells of a gap for each table that was watched when the journal was last written, and isn't now: what became
    /// of its rows in the end nobody was told. `tell`: as for [`Self::take_in`].
    pub(super) async fn miss(&self, tell: bool) -> Result<(), CaptureError> {
        for (schema, name) in form::known(&self.source.journal, &self.source.settings.name).await? {
            if self.tables.iter().all(|table| *table.schema != *schema || *table.name != *name) {
                self.lose(&schema, &name, tell).await?;
            }
        }
        Ok(())
    }

    /// A table that is not watched any more.
    async fn lose(&self, schema: &str, name: &str, tell: bool) -> Result<(), CaptureError> {
        if tell {
            let table = catalog::shown(schema, name);
            self.source.tell_gap(&format!("table {table} was dropped, or is not watched any more")).await?;
        }
        // After the gap, as in `take_in`.
        form::forget(&self.source.journal, &self.source.settings.name, schema, name).await
    }

    /// Follows the catalog: tables that came, went, or can be watched now.
    pub(super) async fn look(&mut self) -> Result<(), CaptureError> {
        let settings = &self.source.settings;
        let Preflight { tables, findings, .. } = preflight::look(&mut self.db, settings).await?;
        let publication = settings.publication();
        let change = slot::publish(&mut self.db, &publication, tables, &self.server, self.patient).await?;
        let slot::Change { tables, added, problems: locked } = change;
        self.patient = locked.is_empty();
        let known = std::mem::replace(&mut self.tables, tables.into_iter().map(Arc::new).collect());
        for gone in known.iter().filter(|known| self.tables.iter().all(|table| table.oid != known.oid)) {
            self.lose(&gone.schema, &gone.name, true).await?;
            self.formed.remove(&gone.oid);
            self.unwatched.insert(gone.oid);
        }
        self.unwatched.retain(|oid| self.tables.iter().all(|table| table.oid != *oid));
        self.watches();
        self.take_in(&added, true).await?;
        let problems = findings.iter().filter(|f| f.weight > Weight::Advice).map(ToString::to_string).chain(locked);
        let problems = problems.collect();
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
        self.source.say(match danger {
            // Without heartbeats, or without its slot, it won't run for long.
            Some(danger) => {
                let all: Vec<&str> = std::iter::once(danger.as_str()).chain(problems).collect();
                SourceState::Failed { reason: joined(&all).into() }
            }
            None => SourceState::with(problems),
        });
    }
}
