//! The one writer: takes whatever waits into one SQL transaction, a savepoint for each, so that a bad
//! one doesn't fail its neighbours.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::SqliteConnection;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::apply::{self, Visible};
use super::bound::Bound;
use super::codec::{Piece, PreparedAppend, PreparedCommit};
use super::index::{Cursor, Index, StagedKey};
use super::lock::Lock;
use super::prune::Prune;
use super::script::Script;
use super::shared::{Batch, Outcome, Reply, Shared};
use super::sync::Publisher;
use super::{JournalError, append, commit, unfinished, wal};
use crate::event::{Name, Number};
use crate::failpoint;

/// What the writer is asked to do.
pub(super) enum Work {
    Append(PreparedAppend),
    Commit(PreparedCommit),
    Control(Piece),
    /// Marks a pipeline that retention passed; the control record that says so.
    Gap(Name, Piece),
    /// Drops the chunks of unfinished snapshots like these.
    Discard(unfinished::Like),
    /// Hands an unfinished snapshot over to another request.
    TakeOver(StagedKey, Number),
    KeepPipelines(Vec<Name>),
    /// Nothing: its answer says that all that was asked before is done.
    Turn,
    Prune(Prune),
    /// Whether there is room for so many bytes.
    Probe(usize),
    Close,
}

pub(super) struct Command {
    pub(super) work: Work,
    pub(super) reply: Reply,
}

/// How much goes into one transaction: more would only delay those who wait for its first.
const GROUP_COMMANDS: usize = 128;
const GROUP_BYTES: usize = 4 << 20;

/// How long a cursor that moved without output may wait for the disk.
const SAVE_CURSORS_WITHIN: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    pub(super) conn: SqliteConnection,
    pub(super) index: Index,
    pub(super) shared: Arc<Shared>,
    pub(super) publisher: Publisher,
    /// Since when a cursor waits to be saved.
    pub(super) unsaved: Option<Instant>,
    pub(super) bound: Bound,
    pub(super) lock: Arc<Lock>,
}

/// What happened to one command inside a transaction.
enum Failure {
    /// It alone failed.
    Refused(JournalError),
    /// The whole transaction is gone.
    Broken(JournalError),
}

impl Writer {
    /// Runs until it is told to close, or all handles are gone.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut closing = None;
        let mut probing = None;
        while closing.is_none() {
            let save_at = self.unsaved.map(|since| since + SAVE_CURSORS_WITHIN);
            let first = tokio::select! {
                command = commands.recv() => command,
                () = wait_until(save_at) => {
                    self.save_cursors().await;
                    continue;
                }
            };
            let Some(first) = first else { break };
            let mut group = Vec::new();
            let mut bytes = 0;
            let mut next = Some(first);
            while let Some(command) = next {
                match command.work {
                    Work::Close => {
                        closing = Some(command.reply);
                        break;
                    }
                    Work::Probe(bytes) => {
                        probing = Some((bytes, command.reply));
                        break;
                    }
                    _ => {
                        bytes += command.work.bytes();
                        group.push(command);
                    }
                }
                let full = group.len() >= GROUP_COMMANDS || bytes >= GROUP_BYTES;
                next = if full { None } else { commands.try_recv().ok() };
            }
            if !group.is_empty() {
                self.group(group, bytes).await;
                self.move_recent().await;
                self.bound_wal(bytes).await;
            }
            if let Some((bytes, reply)) = probing.take() {
                let probed = self.probe(bytes).await;
                let _ = reply.send(probed.map(|()| Outcome::Done));
            }
        }
        commands.close();
        self.finish(closing).await;
    }

    /// One transaction.
    async fn group(&mut self, group: Vec<Command>, bytes: usize) {
        let before = self.index.unwritten();
        let alone = group.len() == 1;
        let largest = group.iter().map(|command| command.work.bytes()).max().unwrap_or_default();
        let mut open = false;
        let mut batch = Batch::default();
        let mut points = Vec::new();
        let mut broken = None;
        for Command { work, reply } in group {
            if let Some(error) = &broken {
                let _ = reply.send(Err(again(error)));
                continue;
            }
            let point = work.failpoint();
            match self.one(work, &mut open, alone).await {
                Ok((outcome, visible)) => {
                    points.extend(point);
                    batch.visible.push(visible);
                    batch.replies.push((reply, outcome));
                }
                Err(Failure::Refused(error)) => {
                    self.refused(&error, largest);
                    let _ = reply.send(Err(error));
                }
                Err(Failure::Broken(error)) => {
                    let _ = reply.send(Err(again(&error)));
                    broken = Some(error);
                }
            }
        }
        if open && !alone && broken.is_none() {
            points.iter().for_each(|(before, _)| failpoint::hit(before));
            if let Err(error) = self.execute("COMMIT").await {
                broken = Some(error);
            }
        }
        if let Some(error) = broken {
            self.refused(&error, largest);
            self.undo(before).await;
            for (reply, _) in batch.replies {
                let _ = reply.send(Err(again(&error)));
            }
            return;
        }
        if open {
            points.iter().for_each(|(_, after)| failpoint::hit(after));
            self.shared.grown.fetch_add(bytes as u64, Ordering::Relaxed);
            self.shared.notice_growth();
        }
        *self.shared.known() = self.index.known.clone();
        self.shared.applied(self.index.at);
        if !self.index.known.cursors.values().all(Cursor::is_saved) {
            self.unsaved.get_or_insert_with(Instant::now);
        }
        if open {
            self.publisher.publish(&self.shared, batch);
        } else {
            // Nothing was written that a sync could make durable.
            self.shared.publish(batch);
        }
    }

    /// One command inside the transaction, which it begins if it is the first that needs one, and ends if it is alone.
    async fn one(&mut self, work: Work, open: &mut bool, alone: bool) -> Result<(Outcome, Visible), Failure> {
        self.shared.check().map_err(Failure::Refused)?;
        if let Work::Append(prepared) = &work {
            append::fence(&self.index, prepared).map_err(Failure::Refused)?;
        }
        if let Work::Commit(prepared) = &work {
            commit::fence(&self.index, prepared).map_err(Failure::Refused)?;
            if prepared.pieces.is_empty() {
                return Ok(self.only_cursor(prepared));
            }
        }
        let before = self.index.unwritten();
        let mut script = Script::new(&mut self.conn);
        if !std::mem::replace(open, true) {
            script.add("BEGIN IMMEDIATE");
        }
        if !alone {
            script.add("SAVEPOINT one");
        }
        let point = work.failpoint().filter(|_| alone);
        let done = async {
            let done = apply::work(&mut script, &mut self.index, &self.shared, work).await?;
            if let Some((before, _)) = point.filter(|_| failpoint::ARMED) {
                // Killed here, the transaction has all but its COMMIT.
                script.run().await?;
                failpoint::hit(before);
            }
            script.add(if alone { "COMMIT" } else { "RELEASE one" });
            script.run().await?;
            Ok(done)
        };
        let error = match done.await {
            Ok(done) => return Ok(done),
            Err(error) => self.shared.classified(error),
        };
        // SQLite may have rolled back all by itself, as it does where there is no room.
        if alone || self.execute("ROLLBACK TO one").await.is_err() {
            return Err(Failure::Broken(error));
        }
        self.execute("RELEASE one").await.map_err(Failure::Broken)?;
        // What the command changed in memory goes too; its neighbours' is in the transaction.
        self.reload(before).await.map_err(Failure::Broken)?;
        Err(Failure::Refused(error))
    }

    /// A cursor moved and nothing else: kept in memory for a while.
    fn only_cursor(&mut self, commit: &PreparedCommit) -> (Outcome, Visible) {
        let cursor = self.index.known.cursors.entry(commit.pipeline.clone());
        let cursor = cursor.or_insert(Cursor { number: commit.cursor, saved: None, gap: None });
        cursor.number = commit.cursor;
        cursor.gap = cursor.gap_after(commit.cursor);
        (Outcome::Number(crate::event::Number(self.index.next - 1)), Visible::default())
    }

    pub(super) async fn execute(&mut self, sql: &'static str) -> Result<(), JournalError> {
        sqlx::query(sql).execute(&mut self.conn).await.map_err(|e| self.shared.storage(e))?;
        Ok(())
    }

    /// Saves cursors that moved without output.
    pub(super) async fn save_cursors(&mut self) {
        self.unsaved = None;
        let waiting = self.index.known.cursors.iter().filter(|(_, c)| !c.is_saved());
        let waiting: Vec<(Name, Cursor)> = waiting.map(|(n, c)| (n.clone(), *c)).collect();
        if waiting.is_empty() || self.shared.check().is_err() {
            return;
        }
        let saved = async {
            let mut script = Script::new(&mut self.conn);
            script.add("BEGIN IMMEDIATE");
            for (name, cursor) in &waiting {
                commit::save_cursor(&mut script, name, cursor.number, cursor.gap);
            }
            script.add("COMMIT");
            script.run().await
        };
        if let Err(error) = saved.await.map_err(|error| self.shared.storage(error)) {
            self.refused(&error, 0);
            tracing::warn!(%error, "cursors could not be saved; trying again");
            let _ = self.execute("ROLLBACK").await;
            self.unsaved = Some(Instant::now());
            return;
        }
        for (name, cursor) in waiting {
            self.index.known.cursors.insert(name, Cursor { saved: Some(cursor.number), ..cursor });
        }
        *self.shared.known() = self.index.known.clone();
    }

    /// Writes what waits; with `closing`, marks the stop as clean and answers.
    async fn finish(mut self, closing: Option<Reply>) {
        self.save_cursors().await;
        let Self { mut conn, shared, publisher, lock, .. } = self;
        publisher.finish().await;
        if let Err(error) = shared.check() {
            // The last connection moves what the WAL holds when it is closed: after a failed sync it must not.
            std::mem::forget(conn);
            if let Some(reply) = closing {
                let _ = reply.send(Err(error));
            }
            return;
        }
        let Some(reply) = closing else { return };
        let clean = async {
            sqlx::query("UPDATE meta SET value = '1' WHERE name = 'clean'").execute(&mut conn).await?;
            // Syncs the WAL, then the file.
            wal::truncate(&mut conn).await?;
            Ok::<_, sqlx::Error>(())
        };
        let clean = clean.await;
        let closed = match &clean {
            Err(error) if wal::is_of_sync(error) => {
                wal::failed(&shared, &lock, error);
                // As above.
                std::mem::forget(conn);
                Ok(())
            }
            _ => sqlx::Connection::close(conn).await,
        };
        if clean.is_ok() {
            shared.durable.send_replace(shared.head());
        }
        let _ = reply.send(clean.and(closed).map(|()| Outcome::Done).map_err(JournalError::Storage));
    }
}

impl Work {
    fn bytes(&self) -> usize {
        let pieces = match self {
            Self::Append(append) => append.pieces.as_slice(),
            Self::Commit(commit) => commit.pieces.as_slice(),
            _ => &[],
        };
        pieces.iter().map(|p| p.body.len()).sum::<usize>() + 256
    }

    fn failpoint(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Append(_) => Some((failpoint::APPEND_BEFORE, failpoint::APPEND_AFTER)),
            Self::Commit(commit) if !commit.pieces.is_empty() => {
                Some((failpoint::COMMIT_BEFORE, failpoint::COMMIT_AFTER))
            }
            _ => None,
        }
    }
}

/// The same error for another who waits.
fn again(error: &JournalError) -> JournalError {
    match error {
        JournalError::Corrupt { path, why } => JournalError::Corrupt { path: path.clone(), why: why.clone() },
        JournalError::NoRoom { path, why } => JournalError::NoRoom { path: path.clone(), why: why.clone() },
        other => JournalError::Storage(sqlx::Error::Protocol(other.to_string())),
    }
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
