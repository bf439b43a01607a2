//! The lock file: keeps a second process out, and remembers which run the journal was last in, so that
//! a backup that was put in its place is noticed even after it grew.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use super::JournalError;

const FILE: &str = "journal.lock";

/// How the file says whether the last run came to a clean end.
const OPEN: &str = "open  ";
const CLOSED: &str = "closed";
/// Not: a sync failed, and nobody has looked yet what the disk has.
const FAILED: &str = "failed";

/// Held for as long as the journal is open; the system lets go of it when the process ends.
pub(crate) struct Lock {
    file: File,
    /// The present run.
    run: String,
    /// What the file said when it was opened: the last run, the one before it, and how it ended.
    said: Vec<String>,
}

/// Who has the journal of a folder open.
pub(super) enum Use {
    Running,
    /// Nobody; as long as the file is held nobody can. None: there is no lock file.
    Stopped(Option<File>),
}

/// Looks who has the journal in a folder open. Makes no file.
pub(super) fn look(folder: &Path) -> std::io::Result<Use> {
    let file = match File::open(folder.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Use::Stopped(None)),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Use::Stopped(Some(file))),
        Err(TryLockError::WouldBlock) => Ok(Use::Running),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether a process has the journal in a folder open. Makes no file.
pub(crate) fn in_use(folder: &Path) -> bool {
    matches!(look(folder), Ok(Use::Running))
}

impl Lock {
    /// # Errors
    /// `Locked` if another process has it.
    pub(crate) fn take(folder: &Path) -> Result<Self, JournalError> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(folder.join(FILE))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Locked(folder.into())),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let mut said = Vec::new();
        (&file).take(1024).read_to_end(&mut said)?;
        let said = String::from_utf8_lossy(&said).split_whitespace().map(str::to_owned).collect();
        Ok(Self { file, run: uuid::Uuid::new_v4().simple().to_string(), said })
    }

    pub(super) fn run(&self) -> &str {
        &self.run
    }

    /// Whether a journal whose last run was `run`, and stopped `clean` or not, is another one than was
    /// here last.
    pub(super) fn other(&self, run: &str, clean: bool) -> bool {
        let ended = self.said.get(2).is_some_and(|end| end == CLOSED);
        !self.said.iter().take(2).any(|said| said == run) || (ended && !clean)
    }

    /// Whether a sync failed in the last run.
    pub(super) fn sync_failed(&self) -> bool {
        self.said.get(2).is_some_and(|end| end == FAILED)
    }

    /// Before the journal is written to: whether we are killed before or after the run stands in it, the
    /// next start knows it.
    pub(super) fn begin(&self, before: Option<&str>) -> std::io::Result<()> {
        // A start that fails before it has a new epoch leaves that to the next one.
        self.write(before.unwrap_or(&self.run), if self.sync_failed() { FAILED } else { OPEN })
    }

    /// After the run stands in the journal, durably.
    pub(super) fn begun(&self) -> std::io::Result<()> {
        self.write(&self.run, OPEN)
    }

    /// After a clean stop.
    pub(super) fn end(&self) -> std::io::Result<()> {
        self.write(&self.run, CLOSED)
    }

    /// After a sync that failed. It is enough that this stands in the system's memory: where that is lost the
    /// machine's boot is another one.
    pub(super) fn fail(&self) -> std::io::Result<()> {
        self.write(&self.run, FAILED)
    }

    /// Always of the same length, within one sector: never half written.
    fn write(&self, before: &str, end: &str) -> std::io::Result<()> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(format!("{} {before} {end}\n", self.run).as_bytes())?;
        file.sync_data()
    }
}
