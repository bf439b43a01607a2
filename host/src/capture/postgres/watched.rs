//! Which tables are watched, how they look, and what is said about them: the part of a session that
//! follows the catalog.

use std::sync::Arc;
use std::time::Instant;

use sqlx::PgConnection;

use crate::event::Name;

use super::super::SourceState;
use super::super::error::CaptureError;
use super::super::source::Source;
use super::catalog::{self, Table};
use super::decode::RelationMessage;
use super::preflight::{self, Preflight, Weight};
use super::relation::Relation;
use super::slot;
use super::stream::{LOOK, Session};
use super::transport::Transport;

/// A table that comes into the publication had rows that nobody told of.
pub(super) async fn tell_of_unseen(
    source: &Source,
    db: &mut PgConnection,
    added: &[&Table],
) -> Result<(), CaptureError> {
    for table in added {
        let sql = format!("SELECT EXISTS (SELECT FROM {})", table.quoted());
        if sqlx::query_scalar::<_, bool>(sqlx::AssertSqlSafe(sql)).fetch_one(&mut *db).await? {
            let reason = format!("table {} is watched from now on, and it has rows already", table.shown());
            source.tell_gap(&reason).await?;
        }
    }
    Ok(())
}

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
        if !self.tables.iter().any(|table| is_it(&table)) && (tables.is_empty() || tables.iter().any(wanted)) {
            // One that is newer than our last look.
            self.look().await?;
        }
        let Some(table) = self.tables.iter().find(is_it).cloned() else {
            self.relations.insert(message.id, None);
            return Ok(());
        };
        let settings = &self.source.settings;
        let relation = self.types.streamed(&mut self.db, message, &table, settings).await?;
        if let Some(Some(before)) = self.relations.get(&message.id)
            && let Some(what) = unseen(before, &relation)
        {
            let reason = format!("table {}: {what}, and nobody told of its values", table.shown());
            self.source.tell_gap(&reason).await?;
            self.looked = Instant::now().checked_sub(LOOK).unwrap_or(self.looked);
        }
        self.relations.insert(message.id, Some(Arc::new(relation)));
        Ok(())
    }

    /// Follows the catalog: tables that came, went, or can be watched now.
    pub(super) async fn look(&mut self) -> Result<(), CaptureError> {
        let settings = &self.source.settings;
        let Preflight { tables, findings, .. } = preflight::look(&mut self.db, settings).await?;
        let added = slot::publish(&mut self.db, &settings.publication(), &tables, &self.server).await?;
        tell_of_unseen(self.source, &mut self.db, &added).await?;
        for gone in self.tables.iter().filter(|known| tables.iter().all(|table| table.oid != known.oid)) {
            self.source.tell_gap(&format!("table {} was dropped, or is not watched any more", gone.shown())).await?;
        }
        self.tables = tables.into_iter().map(Arc::new).collect();
        let problems = findings.iter().filter(|f| f.weight > Weight::Advice).map(ToString::to_string).collect();
        self.say_problems(problems);
        self.say();
        Ok(())
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
        let problems: Vec<&str> = self.problems.iter().chain(&self.unmet).chain(&danger).map(String::as_str).collect();
        self.source.say(match problems.as_slice() {
            [] => SourceState::Running,
            problems => SourceState::Failed { reason: problems.join("; ").into() },
        });
    }
}

/// What a table has that came in with values without a row being told of, if anything. A column that went
/// is no such thing; one that came is, unless the stream can't know either (it may be all null): better a
/// rebuild too many.
fn unseen(before: &Relation, now: &Relation) -> Option<String> {
    let known = |name: &str| before.columns.iter().find(|column| *column.name == *name);
    now.columns.iter().filter(|column| !column.excluded).find_map(|column| match known(&column.name) {
        None => Some(format!("column {} is new", column.name)),
        Some(former) if former.excluded => Some(format!("column {} isn't excluded any more", column.name)),
        Some(former) if former.oid != column.oid => Some(format!("column {} has another type", column.name)),
        Some(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::relation::Column;
    use super::super::value::Kind;
    use super::*;

    fn relation(columns: &[(&str, u32)]) -> Relation {
        let columns = columns.iter().map(|(name, oid)| Column::new(name, *oid, Kind::Text, true, false)).collect();
        Relation::new("public".into(), "t".into(), columns, b'f', &["id".to_owned()])
    }

    #[test]
    fn a_column_that_came_or_became_another_is_unseen_and_one_that_went_is_not() {
        let before = relation(&[("id", 20), ("v", 25)]);
        assert_eq!(unseen(&before, &before), None);
        assert_eq!(unseen(&before, &relation(&[("id", 20)])), None);
        let came = unseen(&before, &relation(&[("id", 20), ("v", 25), ("w", 25)]));
        assert_eq!(came.as_deref(), Some("column w is new"));
        let other = unseen(&before, &relation(&[("id", 20), ("v", 1043)]));
        assert_eq!(other.as_deref(), Some("column v has another type"));
    }
}
