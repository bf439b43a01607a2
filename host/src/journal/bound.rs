//! Keeps the WAL within its bound (`journal.wal_bytes`): tells when the checkpointer has something to do, and when the
//! writer itself pauses for a checkpoint.
//!
//! From half the bound on the writer takes the first moment at which nearly everything is in the database file, and
//! moves the rest: a few pages, and it waits for no reader. SQLite then writes the WAL from its beginning again. Only
//! where no such moment came until the bound (readers, or a checkpointer that is slower than we are) does it move
//! whatever there is, and wait for readers, for [`PATIENCE`]; where they stay, again after each quarter of the bound.
//!
//! The WAL's file keeps its size: cutting it takes longer than a commit may. Only one of more than twice the bound is
//! cut, as somebody who read for long (a backup) leaves it.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use super::wal::{self, Filling, Mode};
use super::writer::Writer;

/// A checkpoint is due after this much was written to the WAL, in bytes; SQLite's own default is as much.
const EVERY: u64 = 4 << 20;

/// What the writer moves in a pause, at most, while the WAL is within its bound, in bytes: 128 pages, which should
/// take less than the two syncs around it (reckoned, not measured).
const LITTLE: u64 = 512 << 10;

/// How long the writer waits for readers when the WAL is over its bound. Our own read transactions are shorter; a
/// backup's is not, and all commits would stand still behind this.
const PATIENCE: Duration = Duration::from_millis(200);

/// How full the WAL is is asked after so many transactions, or bytes of records: a question is a statement of its own. Where
/// the bound is small, it is asked after each transaction.
const LOOK: (u64, u64) = (16, 256 << 10);

/// Whether the WAL is so full that the writer looks for a moment to start it over.
pub(super) fn is_near(filling: Filling, bound: u64) -> bool {
    filling.used >= bound / 2
}

/// What the writer does about the WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    /// A checkpoint that waits for nobody.
    Short(Mode),
    /// One that waits for readers, and for a checkpoint that is under way.
    Long(Mode),
}

pub(super) struct Bound {
    wal: Arc<File>,
    /// `journal.wal_bytes`.
    bytes: u64,
    /// How much is used when the next long pause is due: more than `bytes` where the last one was in vain.
    long: u64,
    /// How much is used when the next short one may be: none comes again at once where one was in vain.
    short: u64,
    /// How much is used when the checkpointer is woken again.
    wake: u64,
    /// Since the last look.
    transactions: u64,
    written: u64,
}

impl Bound {
    pub(super) fn new(wal: Arc<File>, bytes: u64) -> Self {
        Self { wal, bytes, long: bytes, short: 0, wake: EVERY.min(bytes / 2), transactions: 0, written: 0 }
    }

    fn little(&self) -> u64 {
        LITTLE.min(self.bytes / 8)
    }

    /// Whether it is time to ask how full the WAL is. `written`: bytes, by the last transaction.
    fn looks(&mut self, written: u64) -> bool {
        self.transactions += 1;
        self.written += written;
        // As many as 64 MiB, the default, allow for.
        let (transactions, bytes) = (LOOK.0.min(self.bytes >> 22), LOOK.1.min(self.bytes >> 8));
        if self.transactions < transactions && self.written < bytes {
            return false;
        }
        (self.transactions, self.written) = (0, 0);
        true
    }

    /// Whether the checkpointer has something to do.
    fn wakes(&mut self, filling: Filling) -> bool {
        let step = if is_near(filling, self.bytes) { self.little() } else { EVERY.min(self.bytes / 2) };
        // It was started over.
        self.wake = self.wake.min(filling.used + step);
        if filling.used < self.wake || filling.rest == 0 {
            return false;
        }
        self.wake = filling.used + step;
        true
    }

    fn pause(&mut self, filling: Filling, file: u64) -> Option<Pause> {
        if filling.used < self.bytes {
            self.long = self.bytes;
        }
        self.short = self.short.min(filling.used + self.little());
        let far = file > 2 * self.bytes;
        if filling.used >= self.long {
            return Some(Pause::Long(if far { Mode::Truncate } else { Mode::Restart }));
        }
        let due = filling.rest <= self.little() && filling.used >= self.short;
        (due && (far || is_near(filling, self.bytes))).then_some(Pause::Short(if far {
            Mode::Truncate
        } else {
            Mode::Passive
        }))
    }

    /// A pause is over. `left`: how full the WAL is; None: somebody was in its way.
    fn paused(&mut self, pause: Pause, before: Filling, left: Option<Filling>) {
        let done = left.is_some_and(|left| left.rest == 0);
        self.short = before.used + self.little();
        if let Pause::Long(_) = pause {
            self.long = if done { self.bytes } else { before.used + self.bytes / 4 };
        }
    }
}

impl Writer {
    /// After each transaction, of so many bytes.
    pub(super) async fn bound_wal(&mut self, written: usize) {
        if !self.bound.looks(written as u64) || self.shared.check().is_err() {
            return;
        }
        let looked = wal::look(&mut self.conn).await;
        let (Ok(filling), Ok(file)) = (looked, self.bound.wal.metadata()) else { return };
        if let Some(pause) = self.bound.pause(filling, file.len()) {
            let shared = self.shared.clone();
            let _one = match pause {
                Pause::Long(_) => shared.checkpointing.lock().await,
                Pause::Short(_) => match shared.checkpointing.try_lock() {
                    Ok(one) => one,
                    Err(_) => return,
                },
            };
            // The checkpointer's sync may have failed while we waited for it.
            if shared.check().is_err() {
                return;
            }
            let left = self.checkpoint(pause).await;
            let left = left.unwrap_or_else(|error| {
                wal::failed(&shared, &self.lock, &error);
                None
            });
            self.bound.paused(pause, filling, left);
        } else if self.bound.wakes(filling) {
            self.shared.wake_checkpointer.notify_one();
        }
    }

    async fn checkpoint(&mut self, pause: Pause) -> Result<Option<Filling>, sqlx::Error> {
        let (mode, patience) = match pause {
            Pause::Short(mode) => (mode, Duration::ZERO),
            Pause::Long(mode) => (mode, PATIENCE),
        };
        if mode == Mode::Passive {
            return wal::checkpoint(&mut self.conn, mode).await;
        }
        let wait = |time: Duration| sqlx::AssertSqlSafe(format!("PRAGMA busy_timeout = {}", time.as_millis()));
        sqlx::query(wait(patience)).execute(&mut self.conn).await?;
        let left = wal::checkpoint(&mut self.conn, mode).await;
        sqlx::query(wait(super::open::BUSY)).execute(&mut self.conn).await?;
        left
    }
}
