//! Is a journal sound? Reads every record, and compares the indexes with what applying the records in order gives,
//! as far as retention left them. `relevo journal check` and backups call this; it changes nothing.
//!
//! While a server has the journal open, records are read in short transactions, so that its checkpoints go on; only
//! the last of them, with the comparison, are read in one.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::JournalError;
use super::outside::Outside;
use crate::event::{Micros, Number};

mod expected;
mod parts;
mod walk;

type Result<T> = std::result::Result<T, JournalError>;

/// How many problems of one part are told; the rest is counted.
const TOLD: usize = 20;

/// A running server's file up to this size is checked by SQLite too: its check holds the WAL as long as it lasts.
const SMALL: u64 = 256 << 20;

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) sound: bool,
    pub(crate) path: PathBuf,
    /// A server had it open.
    pub(crate) running: bool,
    pub(crate) format: i64,
    pub(crate) epoch: String,
    pub(crate) head: Number,
    /// All events and controls after this number should be there.
    pub(crate) kept_after: Number,
    pub(crate) records: Counts,
    pub(crate) parts: Vec<Part>,
}

/// How many records of each kind there are.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Counts {
    pub(crate) appends: u64,
    pub(crate) events: u64,
    pub(crate) commits: u64,
    pub(crate) messages: u64,
    pub(crate) controls: u64,
    pub(crate) bytes: u64,
    /// When the newest was applied.
    pub(crate) newest: Option<Micros>,
}

/// One part of the check.
#[derive(Debug, Serialize)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// What was looked at, where nothing is wrong.
    pub(crate) found: String,
    /// At most [`TOLD`].
    pub(crate) problems: Vec<String>,
    /// Problems that aren't told.
    pub(crate) more: u64,
}

impl Part {
    fn new(name: &'static str) -> Self {
        Self { name, found: String::new(), problems: Vec::new(), more: 0 }
    }

    fn wrong(&mut self, problem: impl Into<String>) {
        if self.problems.len() < TOLD {
            self.problems.push(problem.into());
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// None: there is no journal in the folder.
///
/// # Errors
/// It could not be checked: another format, or a file that can't be read. Damage is no error.
pub(crate) async fn check(folder: &Path) -> Result<Option<Report>> {
    let path = folder.join(super::open::FILE);
    let mut report = Report {
        sound: false,
        path,
        running: false,
        format: super::open::FORMAT,
        epoch: String::new(),
        head: Number::ZERO,
        kept_after: Number::ZERO,
        records: Counts::default(),
        parts: Vec::new(),
    };
    let mut journal = match Outside::open(folder).await {
        Ok(Some(journal)) => journal,
        Ok(None) => return Ok(None),
        Err(JournalError::Corrupt { why, .. }) => {
            let mut file = Part::new("file");
            file.wrong(why);
            report.parts.push(file);
            return Ok(Some(report));
        }
        Err(error) => return Err(error),
    };
    (report.running, report.format) = (journal.running, journal.format);
    if report.format < super::open::FORMAT {
        return Err(JournalError::Older { path: report.path, found: report.format, becomes: super::open::FORMAT });
    }
    match examine(&mut journal, &mut report).await {
        Ok(()) => {}
        // What SQLite itself calls damaged ends the check where it was met.
        Err(JournalError::Corrupt { why, .. }) => {
            let mut file = Part::new("file");
            file.wrong(format!("{why}; what comes after it was not checked"));
            report.parts.push(file);
        }
        Err(error) => return Err(error),
    }
    // A file that is damaged may not even be closed well.
    let _ = journal.close().await;
    report.sound = report.parts.iter().all(Part::is_sound);
    Ok(Some(report))
}

async fn examine(journal: &mut Outside, report: &mut Report) -> Result<()> {
    report.parts.push(parts::file(journal).await?);
    report.epoch = journal.meta("epoch").await?.unwrap_or_default();
    report.kept_after = journal.kept_after().await?;
    report.head = journal.head().await?;
    let walked = walk::walk(journal).await;
    // What was found before SQLite met damage is told too.
    let (walk, done) = match walked {
        (walk, Ok(())) => (walk, Ok(())),
        (walk, Err(error)) => (walk, Err(error)),
    };
    report.records = walk.counts;
    report.parts.extend(walk.into_parts());
    done?;
    report.kept_after = journal.kept_after().await?;
    report.head = journal.head().await?;
    Ok(())
}
