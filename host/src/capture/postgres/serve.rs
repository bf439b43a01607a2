//! Answers what pipelines ask for, the rows that are there, beside the stream of changes.

use std::sync::Arc;
use std::time::Duration;

use crate::event::Name;

use super::super::requests::Request;
use super::super::taking::Taken;
use super::catalog::Table;
use super::snapshot::Snapshot;
use super::stream::Session;
use super::transport::Transport;

/// Before a snapshot that failed is taken again.
const AGAIN: Duration = Duration::from_secs(1);

impl<T: Transport> Session<'_, T> {
    /// Begins the snapshots that are asked for and not begun; a newer request of a pipeline takes the
    /// place of its older one. One whose tables aren't all watched waits until they are, and the
    /// source says so: a pipeline without some of its rows would be wrong in silence.
    pub(crate) fn serve(&mut self) {
        let requests: Vec<_> = self.source.requests.borrow().values().cloned().collect();
        let mut unmet = Vec::new();
        for request in requests {
            if !self.taking.wants(&request) {
                continue;
            }
            match self.tables_of(&request) {
                Ok(tables) => self.begin_snapshot(request, tables),
                Err(problem) => unmet.push(problem),
            }
        }
        self.say_unmet(unmet);
    }

    /// The tables that a request names, or why it can't be answered.
    fn tables_of(&self, request: &Request) -> Result<Vec<Arc<Table>>, String> {
        let watched = |wanted: &Name| {
            let found = self.tables.iter().find(|table| *table.shown() == **wanted);
            found.cloned().ok_or_else(|| self.why_not(&request.pipeline, wanted))
        };
        request.tables.iter().map(watched).collect()
    }

    fn why_not(&self, pipeline: &Name, table: &Name) -> String {
        let settings = &self.source.settings;
        let help = if settings.watches(table) {
            format!("which does not exist or can't be watched: {}", settings.make_it())
        } else {
            format!("which isn't watched: add \"{table}\" to the `tables` of source {}", settings.name)
        };
        format!("pipeline {pipeline} wants the rows of table {table}, {help}")
    }

    fn begin_snapshot(&mut self, request: Request, tables: Vec<Arc<Table>>) {
        let (pipeline, number) = (Name::clone(&request.pipeline), request.number);
        let snapshot = Snapshot {
            address: self.address.clone(),
            settings: self.source.settings.clone(),
            tables,
            incarnation: self.incarnation(),
            server: format!("{}/{:?}", self.server.identity, self.server.timeline).into(),
            journal: self.source.journal.clone(),
            record_bytes: self.source.record_bytes,
            streamed: self.streamed.subscribe(),
            beat: Arc::clone(&self.beat),
            health: self.source.health.clone(),
        };
        let task = self.tasks.spawn(async move {
            let taken = snapshot.take(&request).await;
            if let Err(error) = &taken {
                tracing::error!(source = %snapshot.settings.name, pipeline = %request.pipeline, %error, "a snapshot failed; it is taken up again");
                tokio::time::sleep(AGAIN).await;
            }
            Some(Taken { pipeline: request.pipeline, number: request.number, complete: taken.is_ok() })
        });
        self.taking.began(pipeline, number, task);
    }

    /// A snapshot came to an end; one that failed is begun again by [`Self::serve`].
    pub(crate) fn finish(&mut self, taken: Option<Taken>) {
        if let Some(taken) = taken {
            self.taking.finish(&self.source.requests, &taken);
        }
    }
}
