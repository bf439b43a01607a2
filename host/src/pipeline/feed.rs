//! A pipeline's way through the journal: the records behind its cursor, from memory where they are.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;

use crate::event::Number;
use crate::journal::{Journal, JournalError, Record};

/// What is read ahead, in bytes of records before compression.
const AHEAD: usize = 1 << 20;

/// Commits, of which nothing is wanted, wake nobody before so long; then all are passed at once.
const COMMITS_WAIT: Duration = Duration::from_millis(20);

pub(super) struct Feed {
    journal: Journal,
    handle: Handle,
    /// What the thread waits in: its timers are its own, and wake no other thread.
    clock: Option<Runtime>,
    /// Commits are wanted, too.
    commits: bool,
    /// Read, and not yet passed as a whole.
    records: VecDeque<Arc<Record>>,
    /// The bytes of `records`.
    bytes: usize,
    /// Everything up to here is passed.
    at: Number,
    /// Everything up to here is read.
    end: Number,
}

impl Feed {
    /// For whoever has no use for commits: some may be left out.
    pub(super) fn new(journal: &Journal, handle: &Handle, at: Number) -> Self {
        let (journal, handle) = (journal.clone(), handle.clone());
        Self { journal, handle, clock: None, commits: false, records: VecDeque::new(), bytes: 0, at, end: at }
    }

    /// With all commits.
    pub(super) fn whole(journal: &Journal, handle: &Handle, at: Number) -> Self {
        Self { commits: true, ..Self::new(journal, handle, at) }
    }

    pub(super) fn at(&self) -> Number {
        self.at
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.records.iter()
    }

    /// Whether the journal has more than was read.
    pub(super) fn more(&self) -> bool {
        self.end < self.journal.head()
    }

    /// Reads on, if there is something to read and room for it.
    pub(super) fn fill(&mut self) -> Result<(), JournalError> {
        if self.records.is_empty() {
            // What was left out lies in between.
            self.at = self.at.max(self.end);
        }
        if self.bytes >= AHEAD || !self.more() {
            return Ok(());
        }
        let (read, through) = if self.commits {
            let read = self.handle.block_on(self.journal.read(self.end, AHEAD))?;
            let through = read.last().map_or(self.end, |record| record.last);
            (read, through)
        } else {
            self.handle.block_on(self.journal.read_events(self.end, AHEAD))?
        };
        for record in read {
            self.bytes += record.bytes;
            self.records.push_back(record);
        }
        self.end = self.end.max(through);
        Ok(())
    }

    /// Passes everything up to `number`.
    pub(super) fn pass(&mut self, number: Number) {
        self.at = self.at.max(number);
        while let Some(record) = self.records.front()
            && record.last <= self.at
        {
            self.bytes -= record.bytes;
            self.records.pop_front();
        }
    }

    /// Passes all that was read, of which nothing is wanted.
    pub(super) fn pass_all(&mut self) -> Number {
        self.pass(self.end);
        self.at
    }

    /// Waits until there is something to read, at most `longest`, or until `stopping`.
    ///
    /// # Errors
    /// If the system gives no timers.
    pub(super) fn wait(
        &mut self,
        stopping: &mut watch::Receiver<bool>,
        longest: Option<Duration>,
    ) -> Result<(), JournalError> {
        let (mut events, mut head) = (self.journal.watch_events(), self.journal.watch_head());
        if *events.borrow_and_update() > self.end {
            return Ok(());
        }
        let commits = async {
            if !self.commits {
                tokio::time::sleep(COMMITS_WAIT).await;
            }
            head.wait_for(|head| *head > self.end).await
        };
        let timeout = async {
            match longest {
                Some(longest) => tokio::time::sleep(longest).await,
                None => std::future::pending().await,
            }
        };
        let clock = match self.clock.take() {
            Some(clock) => clock,
            None => tokio::runtime::Builder::new_current_thread().enable_time().build()?,
        };
        clock.block_on(async {
            tokio::select! {
                // An error is the journal's end, which the next call to it will say.
                _ = events.changed() => {}
                _ = commits => {}
                _ = stopping.wait_for(|stop| *stop) => {}
                () = timeout => {}
            }
        });
        self.clock = Some(clock);
        Ok(())
    }
}
