//! One session with a PostgreSQL source: from where the journal stands to the newest commit, and on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use sqlx::PgConnection;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::event::{Micros, Name, Number};
use crate::failpoint;
use crate::journal::{Appended, Appending, JournalError};

use super::super::error::CaptureError;
use super::super::source::Source;
use super::super::taking::{Taken, Taking};
use super::super::waiting::Waiting;
use super::catalog::{Table, Types};
use super::connect::Address;
use super::parts::Parts;
use super::publication::{Carried, Published};
use super::relation::Relation;
use super::server::Server;
use super::silence::Silence;
use super::transaction::Transactions;
use super::transport::{Received, Transport};

/// How often a position without events is written to the journal: each is a record.
const SAVE: Duration = Duration::from_secs(5);

/// Between two looks at the tables.
pub(super) const LOOK: Duration = Duration::from_secs(10);

/// The shortest time between two heartbeats.
pub(super) const FASTEST: Duration = Duration::from_millis(100);

/// So many rows that wait are a flood, which is gathered: an append costs much the same for one row and for hundreds.
const FLOOD: usize = 32;

/// The least time between two appends of a flood, and how long the thread sleeps where none of it has come meanwhile. A
/// flood's rows wait longer than that anyway. A server fills its socket (208 KiB on Linux) in about that time, and stands
/// still then: with 1 ms there were 12 % fewer changes a second.
const GATHER: Duration = Duration::from_millis(4);
const TAKE_IN: Duration = Duration::from_micros(400);

/// Whole transactions that were handed to the journal.
pub(super) struct OnItsWay {
    appending: Appending,
    /// When it is done: what may be acknowledged once it is durable, and where all is in the journal.
    kept: u64,
    streamed: u64,
}

/// A source whose database is open.
pub(crate) struct Session<'a, T> {
    pub(super) source: &'a Source,
    pub(super) address: Address,
    pub(super) server: Server,
    /// For the catalog.
    pub(super) db: PgConnection,
    pub(super) transport: T,
    /// Those that are watched.
    pub(super) tables: Vec<Arc<Table>>,
    pub(super) types: Types,
    /// The publication, when it was looked at last.
    pub(super) published: Published,
    /// Tables whose form the journal has, by OID, with what carried their changes.
    pub(super) formed: HashMap<u32, Carried>,
    /// By OID, as the stream described them last; None for tables that aren't ours.
    pub(super) relations: HashMap<u32, Option<Arc<Relation>>>,
    pub(super) parts: Parts,
    /// No lock was in the way when the publication was looked at last: the next one may be waited for.
    pub(super) patient: bool,
    /// OIDs of tables that were watched and aren't: what still comes of them is not told.
    pub(super) unwatched: HashSet<u32>,
    /// OIDs of tables that the open transaction has emptied, and written nothing to since.
    pub(super) emptied: HashSet<u32>,
    pub(super) transactions: Transactions,
    pub(super) waiting: Waiting,
    /// What the journal is taking in while the stream is read on.
    pub(super) appending: Option<OnItsWay>,
    /// When the last append began.
    pub(super) begun: Instant,
    pub(super) durable: watch::Receiver<Number>,
    /// All transactions whose commit is before this LSN are in the journal; snapshots wait for it.
    pub(super) streamed: watch::Sender<u64>,
    /// Asks for a heartbeat.
    pub(super) beat: Arc<Notify>,
    pub(super) danger: watch::Receiver<Option<String>>,
    pub(super) silence: Silence,
    pub(super) saved: Instant,
    pub(super) looked: Instant,
    pub(super) tasks: JoinSet<Option<Taken>>,
    pub(super) taking: Taking,
    /// What keeps tables from being watched.
    pub(super) problems: Vec<String>,
    /// Some of it keeps all of them: what would have stopped the start.
    pub(super) blocked: bool,
    /// What keeps pipelines from getting the rows that they want.
    pub(super) unmet: Vec<String>,
}

impl<T: Transport> Session<'_, T> {
    /// Delivers changes until told to stop, or until nothing comes any more.
    ///
    /// # Errors
    /// Ends the session; [`CaptureError::remedy`] says what then.
    pub(crate) async fn run(&mut self, shutdown: &mut watch::Receiver<bool>) -> Result<(), CaptureError> {
        const MOST_DOUBLED: u32 = 6;
        let silence = self.silence.clone();
        // A server may have to read through much WAL that isn't for us, and says nothing meanwhile: the next
        // connection gets more time for it.
        let doubled = self.source.silent.load(Ordering::Relaxed).min(MOST_DOUBLED);
        let limit = self.source.settings.silence * (1 << doubled);
        tokio::select! {
            ended = self.deliver(shutdown) => ended,
            // Wherever it waits: for the stream, or for an answer of the catalog.
            () = silence.lasts(limit) => Err(CaptureError::Silent { seconds: limit.as_secs() }),
        }
    }

    async fn deliver(&mut self, shutdown: &mut watch::Receiver<bool>) -> Result<(), CaptureError> {
        let mut requests = self.source.requests.subscribe();
        self.serve();
        let mut dry = false;
        loop {
            let received = match self.transport.next().now_or_never() {
                Some(received) => {
                    dry = false;
                    received?
                }
                None => {
                    self.rest().await?;
                    requests.borrow_and_update();
                    self.serve();
                    if self.floods() {
                        if *shutdown.borrow() {
                            return Ok(());
                        }
                        self.gather(dry).await?;
                        dry = true;
                        continue;
                    }
                    tokio::select! {
                        biased;
                        _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
                        received = self.transport.next() => received?,
                        appended = appended(&mut self.appending), if self.appending.is_some() => {
                            self.appended(appended)?;
                            continue;
                        }
                        Some(taken) = self.tasks.join_next() => {
                            self.finish(taken.ok().flatten());
                            continue;
                        }
                        _ = requests.changed() => continue,
                        _ = self.durable.changed() => continue,
                        Ok(()) = self.danger.changed() => {
                            self.say();
                            continue;
                        }
                        // What is due then, `rest` does.
                        () = tokio::time::sleep(self.source.settings.tick.max(FASTEST)) => continue,
                    }
                }
            };
            self.take(received).await?;
            if self.transactions.full() {
                self.append_full().await?;
                // There may be no rest for long.
                self.rest().await?;
                requests.borrow_and_update();
                self.serve();
                if *shutdown.borrow() {
                    return Ok(());
                }
            }
        }
    }

    async fn take(&mut self, received: Received) -> Result<(), CaptureError> {
        self.silence.heard();
        match received {
            Received::Begin { commit, xid, committed_at } => {
                if self.transactions.begin(commit, xid, committed_at).is_err() {
                    return Err(self.strange().await?);
                }
            }
            Received::Data(bytes) => self.message(&bytes).await?,
            Received::Commit => {
                self.source.silent.store(0, Ordering::Relaxed);
                if !self.emptied.is_empty() {
                    self.pass_emptied().await?;
                }
                self.transactions.commit();
            }
            Received::Alive { end, answer } => {
                if answer && self.transactions.reached(end) {
                    self.append_done().await?;
                } else if self.is_through() {
                    self.streamed.send_if_modified(|streamed| {
                        let news = end > *streamed;
                        *streamed = end.max(*streamed);
                        news
                    });
                }
            }
            Received::Nothing => {}
        }
        Ok(())
    }

    /// The stream does not go on where the journal stands.
    async fn strange(&self) -> Result<CaptureError, CaptureError> {
        let reason = "the database was restored or replaced, or the journal is an older copy: the last transaction that was read is no longer in it";
        self.source.lose_place(reason).await?;
        Ok(CaptureError::Mismatch(reason.into()))
    }

    /// Nothing more has come: what is whole is appended, and what is due is done. While an append is on its way,
    /// what comes gathers for the next.
    async fn rest(&mut self) -> Result<(), CaptureError> {
        let due = self.transactions.has_events() || (self.transactions.has_news() && self.saved.elapsed() >= SAVE);
        if due && !self.gathers() {
            self.begin_append().await?;
        } else {
            self.acknowledge();
        }
        if self.is_through() {
            let behind = self.silence.behind(self.transactions.reach(), 2 * self.source.settings.tick.max(FASTEST));
            self.source.at(self.transactions.committed_at(), behind);
        }
        while let Some(taken) = self.tasks.try_join_next() {
            self.finish(taken.ok().flatten());
        }
        if self.danger.has_changed().unwrap_or(false) {
            self.danger.mark_unchanged();
            self.say();
        }
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            self.look().await?;
        }
        Ok(())
    }

    /// Lets more of a flood come. `dry`: the connection's task had its turn, and nothing came.
    async fn gather(&mut self, dry: bool) -> Result<(), CaptureError> {
        if let Some(appended) = appended(&mut self.appending).now_or_never() {
            return self.appended(appended);
        }
        if dry {
            // The thread itself, which is the source's own: a server sends row by row, and each would wake the runtime.
            std::thread::sleep(TAKE_IN);
        }
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Whether what comes waits for more: while an append is on its way, and of a flood for a while.
    fn gathers(&self) -> bool {
        self.appending.is_some() || self.floods()
    }

    /// Whether so much has come that more is waited for.
    fn floods(&self) -> bool {
        let wait = self.appending.is_some() || self.begun.elapsed() < GATHER;
        wait && self.transactions.waiting() >= FLOOD
    }

    /// Whether the journal has all that was received.
    fn is_through(&self) -> bool {
        self.appending.is_none() && self.transactions.waiting() == 0 && self.transactions.behind().is_none()
    }

    /// Appends as much as makes room.
    async fn append_full(&mut self) -> Result<(), CaptureError> {
        if let Some(at) = self.transactions.behind() {
            let age = Micros::now().0.saturating_sub(at.0);
            self.source.lags(Duration::from_micros(age), self.transactions.waiting() as u64);
        }
        if self.transactions.has_events() {
            self.begin_append().await?;
        }
        if self.transactions.full()
            && let Some(chunk) = self.transactions.take_chunk()
        {
            self.settle_append().await?;
            failpoint::hit(failpoint::CHUNK_BEFORE);
            self.silence.while_busy(self.source.journal.append(chunk)).await?;
            failpoint::hit(failpoint::CHUNK_AFTER);
        }
        Ok(())
    }

    /// Appends the whole transactions, and waits until the journal has them.
    pub(super) async fn append_done(&mut self) -> Result<(), CaptureError> {
        self.begin_append().await?;
        self.settle_append().await
    }

    /// Hands the whole transactions to the journal, behind what is on its way there.
    async fn begin_append(&mut self) -> Result<(), CaptureError> {
        self.settle_append().await?;
        let Some(append) = self.transactions.take_done() else { return Ok(()) };
        let (kept, streamed) = (self.transactions.kept(), self.transactions.streamed());
        self.begun = Instant::now();
        let appending = self.silence.while_busy(self.source.journal.hand_in_append(append)).await?;
        self.appending = Some(OnItsWay { appending, kept, streamed });
        Ok(())
    }

    /// Waits for what is on its way to the journal.
    async fn settle_append(&mut self) -> Result<(), CaptureError> {
        if self.appending.is_some() {
            let done = self.silence.clone().while_busy(appended(&mut self.appending)).await;
            self.appended(done)?;
        }
        Ok(())
    }

    /// The journal has what was on its way there.
    fn appended(&mut self, done: Result<(Appended, OnItsWay), JournalError>) -> Result<(), CaptureError> {
        let (appended, OnItsWay { kept, streamed, .. }) = done?;
        if let Appended::Applied { last, .. } | Appended::Already(last) = appended {
            self.waiting.push(last, kept);
        }
        self.saved = Instant::now();
        self.streamed.send_replace(streamed);
        self.acknowledge();
        Ok(())
    }

    /// Lets the server forget what the journal keeps durably.
    fn acknowledge(&mut self) {
        let durable = *self.durable.borrow_and_update();
        if let Some(lsn) = self.waiting.take(durable) {
            failpoint::hit(failpoint::ACKNOWLEDGE_BEFORE);
            self.transport.acknowledge(lsn);
            failpoint::hit(failpoint::ACKNOWLEDGE_AFTER);
        }
    }

    pub(super) fn incarnation(&self) -> Name {
        Name::clone(self.transactions.incarnation())
    }
}

/// Waits for what is on its way to the journal, and takes it out when that is done. For ever if nothing is.
async fn appended(on_its_way: &mut Option<OnItsWay>) -> Result<(Appended, OnItsWay), JournalError> {
    let Some(waiting) = on_its_way else { return std::future::pending().await };
    let done = waiting.appending.done().await;
    match on_its_way.take() {
        Some(was) => done.map(|appended| (appended, was)),
        None => Err(JournalError::Closed),
    }
}
