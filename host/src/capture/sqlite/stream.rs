//! One session with a watched database: from where the journal stands to the newest change, and on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::event::{Body, Event, Micros, Name, Number, Position};
use crate::journal::{Append, Appended, fit};

use super::super::SourceState;
use super::change::ChangeRow;
use super::connect::{self, Identity};
use super::error::CaptureError;
use super::install::{self, Installed, Watched};
use super::place::{MOVED_BACK, Mark, Place, place, tell_gap};
use super::prune::{self, Waiting};
use super::reader::{End, Reader};
use super::snapshot::{Snapshot, chunk_bytes};
use super::wake::Wake;
use super::{CHUNK_EVENTS, Source};

/// A source whose database is open.
pub(crate) struct Session<'a> {
    source: &'a Source,
    path: PathBuf,
    identity: Identity,
    reader: Reader,
    incarnation: Name,
    tables: Arc<[Watched]>,
    schema_version: i64,
    position: u64,
    mark: Mark,
    /// The position up to which whole transactions are appended; snapshots wait for it.
    streamed: watch::Sender<u64>,
    waiting: Arc<Waiting>,
    /// Pruning and snapshots; they end with the session.
    tasks: JoinSet<Option<Taken>>,
    /// Snapshots that are being taken, by pipeline.
    taking: BTreeMap<Name, (Number, tokio::task::AbortHandle)>,
    problems: Vec<String>,
    /// When schema and file were last looked at.
    checked: Instant,
    _wake: Wake,
}

impl<'a> Session<'a> {
    /// Opens the database, makes its triggers, and finds the place where the journal stands.
    pub(crate) async fn open(source: &'a Source) -> Result<Self, CaptureError> {
        let path = connect::path(&source.settings.url, &source.data)?;
        let mut writer = connect::open(&path).await?;
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
            tables: Arc::default(),
            schema_version: 0,
            position,
            mark,
            streamed: watch::Sender::new(streamed),
            waiting,
            tasks,
            taking: BTreeMap::new(),
            problems: Vec::new(),
            checked: Instant::now(),
            _wake: wake,
        };
        session.adopt(installed);
        Ok(session)
    }

    fn adopt(&mut self, installed: Installed) {
        self.tables = installed.tables.into();
        self.schema_version = installed.schema_version;
        for problem in installed.problems.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::error!(source = %self.source.settings.name, "{problem}");
        }
        self.problems = installed.problems;
        // One must not believe that all is captured while a table isn't.
        self.source.say(match self.problems.as_slice() {
            [] => SourceState::Running,
            problems => SourceState::Failed { reason: problems.join("; ").into() },
        });
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
            let Some(change) = row.into_change() else { continue };
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
                return Err(too_large(&event));
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
            tell_gap(self.source, reason).await?;
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
            Err(_) => Err(CaptureError::Missing(self.path.clone())),
        }
    }

    /// Begins the snapshots that are asked for and not begun; a newer request of a pipeline takes the
    /// place of its older one.
    fn serve(&mut self) {
        let requests: Vec<_> = self.source.requests.borrow().values().cloned().collect();
        for request in requests {
            if let Some((number, older)) = self.taking.get(&request.pipeline) {
                if *number == request.number {
                    continue;
                }
                older.abort();
            }
            let (pipeline, number) = (Name::clone(&request.pipeline), request.number);
            let snapshot = Snapshot {
                path: self.path.clone(),
                tables: Arc::clone(&self.tables),
                source: Name::clone(&self.source.settings.name),
                incarnation: Name::clone(&self.incarnation),
                journal: self.source.journal.clone(),
                record_bytes: self.source.record_bytes,
                streamed: self.streamed.subscribe(),
            };
            let task = self.tasks.spawn(async move {
                let taken = snapshot.take(&request).await;
                if let Err(error) = &taken {
                    tracing::error!(source = %snapshot.source, pipeline = %request.pipeline, %error, "a snapshot failed; it is taken anew");
                    tokio::time::sleep(AGAIN).await;
                }
                Some(Taken { pipeline: request.pipeline, number: request.number, complete: taken.is_ok() })
            });
            self.taking.insert(pipeline, (number, task));
        }
    }

    /// A snapshot came to an end; one that failed is begun again by [`Self::serve`].
    fn finish(&mut self, taken: Option<Taken>) {
        let Some(taken) = taken else { return };
        if self.taking.get(&taken.pipeline).is_some_and(|(taking, _)| *taking == taken.number) {
            self.taking.remove(&taken.pipeline);
        }
        self.source.requests.send_if_modified(|waiting| {
            let answered = taken.complete && waiting.get(&taken.pipeline).is_some_and(|r| r.number == taken.number);
            if answered {
                waiting.remove(&taken.pipeline);
            }
            answered
        });
    }

    pub(crate) async fn close(self) {
        self.reader.close().await;
    }
}

/// How a snapshot ended.
struct Taken {
    pipeline: Name,
    number: Number,
    complete: bool,
}

/// Before a snapshot that failed is taken again.
const AGAIN: Duration = Duration::from_secs(1);

/// The error of an event that no record holds, whatever is left out of it.
pub(crate) fn too_large(event: &Event) -> CaptureError {
    let table = match &event.body {
        Body::Change(change) => change.table.to_string(),
        _ => String::new(),
    };
    CaptureError::KeyTooLarge { table, seq: event.position.commit }
}
