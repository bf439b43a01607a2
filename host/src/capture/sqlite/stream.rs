//! One session with a watched database: from where the journal stands to the newest change, and on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::event::{Body, Event, Micros, Name, Number, Position};
use crate::journal::{Append, Appended, fit};

use super::super::SourceState;
use super::connect::{self, Identity};
use super::error::CaptureError;
use super::install::{self, Installed, Watched};
use super::place::{MOVED_BACK, Mark, Place, place};
use super::prune;
use super::reader::{ChangeRow, End, Reader};
use super::rows::{chunk_bytes, table_of};
use super::taking::{Taken, Taking};
use super::waiting::Waiting;
use super::wake::Wake;
use super::{CHUNK_EVENTS, Source};

/// A source whose database is open.
pub(crate) struct Session<'a> {
    pub(super) source: &'a Source,
    pub(super) path: PathBuf,
    identity: Identity,
    reader: Reader,
    pub(super) incarnation: Name,
    pub(super) tables: Vec<Arc<Watched>>,
    schema_version: i64,
    position: u64,
    mark: Mark,
    /// The position up to which whole transactions are appended; snapshots wait for it.
    pub(super) streamed: watch::Sender<u64>,
    waiting: Arc<Waiting>,
    /// Pruning and snapshots; they end with the session.
    pub(super) tasks: JoinSet<Option<Taken>>,
    pub(super) taking: Taking,
    /// What keeps tables from being watched.
    problems: Vec<String>,
    /// What keeps pipelines from getting the rows that they want.
    unmet: Vec<String>,
    /// When schema and file were last looked at.
    checked: Instant,
    _wake: Wake,
}

impl<'a> Session<'a> {
    /// Opens the database, makes its triggers, and finds the place where the journal stands.
    pub(crate) async fn open(source: &'a Source) -> Result<Self, CaptureError> {
        let path = connect::path(&source.settings.url, &source.data)?;
        let mut writer = connect::open(&path).await.map_err(|error| match error {
            CaptureError::Missing(path, _) => CaptureError::Missing(path, source.settings.make_it()),
            error => error,
        })?;
        let identity = Identity::of(&path)?;
        let installed = install::install(&mut writer, &source.settings).await?;
        let mut reader = Reader::open(&path).await?;
        let wake = Wake::new(&path, &source.bell);
        let Place { incarnation, position, mark } = place(source, &mut writer, &mut reader, &installed).await?;
        writer.close().await?;

        let waiting = Arc::new(Waiting::default());
        // Not staged chunks: the journal's head says nothing of them.
        let streamed = if mark.transaction <= position {
            waiting.push(source.journal.head(), position);
            position
        } else {
            0
        };
        let mut tasks = JoinSet::new();
        let durable = source.journal.watch_durable();
        let pruning = prune::run(path.clone(), Arc::clone(&waiting), durable);
        tasks.spawn(async move {
            pruning.await;
            None
        });
        let mut session = Self {
            source,
            path,
            identity,
            reader,
            incarnation,
            tables: Vec::new(),
            schema_version: 0,
            position,
            mark,
            streamed: watch::Sender::new(streamed),
            waiting,
            tasks,
            taking: Taking::default(),
            problems: Vec::new(),
            unmet: Vec::new(),
            checked: Instant::now(),
            _wake: wake,
        };
        session.adopt(installed);
        Ok(session)
    }

    fn adopt(&mut self, installed: Installed) {
        self.tables = installed.tables;
        self.schema_version = installed.schema_version;
        self.log_news(&self.problems, &installed.problems);
        self.problems = installed.problems;
        self.source.watches(self.tables.iter().map(|table| Name::from(&*table.table.name)));
        self.say();
    }

    /// Says what keeps pipelines from getting the rows that they want.
    pub(super) fn say_unmet(&mut self, unmet: Vec<String>) {
        if self.unmet != unmet {
            self.log_news(&self.unmet, &unmet);
            self.unmet = unmet;
            self.say();
        }
    }

    fn log_news(&self, before: &[String], now: &[String]) {
        for problem in now.iter().filter(|problem| !before.contains(problem)) {
            tracing::error!(source = %self.source.settings.name, "{problem}");
        }
    }

    /// Shows all that stands in the way: one must not believe that all is captured while a table
    /// isn't.
    fn say(&self) {
        self.source.say(SourceState::with(self.problems.iter().chain(&self.unmet).map(String::as_str)));
    }

    /// Delivers changes until told to stop.
    ///
    /// # Errors
    /// Ends the session; [`CaptureError::remedy`] says what then.
    pub(crate) async fn run(&mut self, shutdown: &mut watch::Receiver<bool>) -> Result<(), CaptureError> {
        let mut requests = self.source.requests.subscribe();
        loop {
            if *shutdown.borrow() {
                return Ok(());
            }
            let appended = self.advance(shutdown).await?;
            if !appended || self.checked.elapsed() >= self.source.settings.poll {
                self.check_file()?;
                self.follow_schema().await?;
                self.checked = Instant::now();
            }
            while let Some(taken) = self.tasks.try_join_next() {
                self.finish(taken.ok().flatten());
            }
            requests.borrow_and_update();
            self.serve();
            if appended {
                continue;
            }
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
                () = self.source.bell.notified() => {}
                Some(taken) = self.tasks.join_next() => self.finish(taken.ok().flatten()),
                _ = requests.changed() => {}
                () = tokio::time::sleep(self.source.settings.poll) => {}
            }
        }
    }

    /// Appends what one look at the change table newly shows. Everything that was committed up to
    /// that look is delivered then. Returns whether there was anything.
    async fn advance(&mut self, shutdown: &watch::Receiver<bool>) -> Result<bool, CaptureError> {
        let now = Micros::now().max(self.mark.committed_at);
        let end = self.reader.end(self.position).await?;
        let end = self.check(end)?;
        let behind = end.seq - self.position;
        if behind == 0 {
            self.mark.committed_at = now;
            self.source.at(now, Duration::ZERO);
            return Ok(false);
        }
        if behind > CHUNK_EVENTS as u64 {
            let age = Duration::from_millis(self.reader.age_after(self.position).await?);
            self.source.lags(age, behind);
        }
        // A transaction whose last chunks are missing (we were killed) goes on to where it was to end.
        if self.mark.transaction > self.position {
            self.transaction(self.mark.transaction, self.mark.committed_at, shutdown).await?;
        } else {
            self.transaction(end.seq, now, shutdown).await?;
            if self.position == end.seq {
                self.source.at(now, Duration::ZERO);
            }
        }
        Ok(true)
    }

    /// The row where we stand must be there, and be the same.
    fn check(&self, end: Option<End>) -> Result<End, CaptureError> {
        match end {
            Some(end) if end.token_at.as_ref() == Some(&self.mark.token) => Ok(end),
            _ => Err(CaptureError::Mismatch(MOVED_BACK.into())),
        }
    }

    /// Appends the rows up to `through` as one transaction, in chunks.
    async fn transaction(
        &mut self,
        through: u64,
        committed_at: Micros,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<(), CaptureError> {
        let bytes = chunk_bytes(self.source.record_bytes);
        while self.position < through && !*shutdown.borrow() {
            let rows = self.reader.rows(self.position, through, CHUNK_EVENTS, bytes).await?;
            let Some(last) = rows.last() else {
                return Err(CaptureError::Mismatch(MOVED_BACK.into()));
            };
            let (seq, token) = (last.seq, last.token.clone());
            self.mark = Mark { committed_at, transaction: through, token };
            let mut events = self.events(rows)?;
            // Not by the number: the last row may be one that changed nothing.
            if seq == through
                && let Some(last) = events.last_mut()
            {
                last.last_of_transaction = true;
            }
            self.position = seq;
            let append = Append {
                source: Name::clone(&self.source.settings.name),
                incarnation: Name::clone(&self.incarnation),
                position: Position { commit: seq, index: 0 },
                token: self.mark.write(),
                events: events.into_iter().map(Arc::new).collect(),
                complete: seq == through,
                snapshot: None,
            };
            match self.source.journal.append(append).await? {
                Appended::Applied { last: number, .. } | Appended::Already(number) => {
                    self.waiting.push(number, seq);
                    self.streamed.send_replace(seq);
                }
                Appended::Staged => {}
            }
        }
        Ok(())
    }

    fn events(&self, rows: Vec<ChangeRow>) -> Result<Vec<Event>, CaptureError> {
        let mut events = Vec::with_capacity(rows.len());
        let through = self.mark.transaction;
        for row in rows {
            let seq = row.seq;
            let Some(change) = row.change else { continue };
            let mut event = Event {
                number: Number::ZERO,
                source: Name::clone(&self.source.settings.name),
                position: Position { commit: seq, index: 0 },
                committed_at: self.mark.committed_at,
                transaction: through,
                last_of_transaction: false,
                late: false,
                body: Body::Change(change),
            };
            if !fit(&mut event, self.source.record_bytes) {
                return Err(CaptureError::KeyTooLarge { table: table_of(&event), seq });
            }
            events.push(event);
        }
        Ok(events)
    }

    /// Makes the triggers anew when the schema changed.
    async fn follow_schema(&mut self) -> Result<(), CaptureError> {
        if self.reader.schema_version().await? == self.schema_version {
            return Ok(());
        }
        let mut writer = connect::open(&self.path).await?;
        let installed = install::install(&mut writer, &self.source.settings).await?;
        if let Some(reason) = &installed.gap {
            self.source.tell_gap(reason).await?;
            install::settle_gap(&mut writer).await?;
        }
        writer.close().await?;
        self.adopt(installed);
        // What the installation itself wrote is there to be read.
        self.source.bell.notify_one();
        Ok(())
    }

    /// Another file may have been put in this one's place.
    fn check_file(&self) -> Result<(), CaptureError> {
        match Identity::of(&self.path) {
            Ok(identity) if identity == self.identity => Ok(()),
            Ok(_) => Err(CaptureError::Replaced(self.path.clone())),
            Err(_) => Err(CaptureError::Missing(self.path.clone(), "make it")),
        }
    }

    pub(crate) async fn close(self) {
        self.reader.close().await;
    }
}
