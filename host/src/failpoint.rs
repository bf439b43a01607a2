//! Crash points for the kill tests, around append, commit, send and acknowledge.
//!
//! Compiled in with the feature `failpoints` only. `RELEVO_FAILPOINT=NAME=kill@N` kills the process
//! with SIGKILL when the point is passed for the N-th time; `stop` in the place of `kill` stops it with SIGSTOP until
//! somebody sends it SIGCONT; `full` has the point fail from the N-th time on, as where the disk is full, if it is one
//! that can. Several are separated by commas.
//!
//! For the power tests: `RELEVO_SYNCED=FILE` keeps what of the journal's WAL is on the disk in a file, and
//! `RELEVO_BOOT_ID` stands for the machine's own.

/// Whether points do anything.
pub const ARMED: bool = cfg!(feature = "failpoints");

pub const APPEND_BEFORE: &str = "append.before";
pub const APPEND_AFTER: &str = "append.after";
/// A chunk of a transaction of which more comes.
pub const CHUNK_BEFORE: &str = "chunk.before";
pub const CHUNK_AFTER: &str = "chunk.after";
/// A chunk of a snapshot of which more comes is in the journal.
pub const ROWS_AFTER: &str = "rows.after";
pub const COMMIT_BEFORE: &str = "commit.before";
pub const COMMIT_AFTER: &str = "commit.after";
pub const SEND_BEFORE: &str = "send.before";
pub const SEND_AFTER: &str = "send.after";
pub const ACKNOWLEDGE_BEFORE: &str = "acknowledge.before";
pub const ACKNOWLEDGE_AFTER: &str = "acknowledge.after";
/// Before the journal's WAL is synced; it can fail.
pub const SYNC: &str = "sync";
/// A backup has the plugins and not yet the journal; it has the journal and not yet what came meanwhile.
pub const BACKUP_BEGUN: &str = "backup.begun";
pub const BACKUP_COPIED: &str = "backup.copied";
/// A restore has copied and checked everything, and put nothing in its place; it has put everything but the journal;
/// it has put the journal, too.
pub const RESTORE_COPIED: &str = "restore.copied";
pub const RESTORE_PLACED: &str = "restore.placed";
pub const RESTORE_DONE: &str = "restore.done";

/// A checkpoint of the journal's WAL has moved its first page into the file, and not synced it.
pub const CHECKPOINT_AMID: &str = "checkpoint.amid";

#[cfg(feature = "failpoints")]
mod checkpoint;

/// Kills in the midst of a checkpoint of this database, if [`CHECKPOINT_AMID`] is armed. Does nothing without the
/// feature.
#[inline]
pub fn watch_checkpoints(database: &std::path::Path) {
    #[cfg(feature = "failpoints")]
    checkpoint::watch(database, CHECKPOINT_AMID);
    #[cfg(not(feature = "failpoints"))]
    let _ = database;
}

/// Passes a point. Does nothing without the feature.
#[inline]
pub fn hit(point: &str) {
    #[cfg(feature = "failpoints")]
    armed::hit(point);
    #[cfg(not(feature = "failpoints"))]
    let _ = point;
}

/// Passes a point that can fail. Does nothing without the feature.
///
/// # Errors
/// As a full disk's, where that is wanted.
#[inline]
pub fn pass(point: &str) -> std::io::Result<()> {
    #[cfg(feature = "failpoints")]
    if armed::is_full(point) {
        return Err(std::io::ErrorKind::StorageFull.into());
    }
    hit(point);
    Ok(())
}

/// How far the WAL of a database is written; taken before a sync, kept after it. Does nothing without the feature.
#[inline]
pub fn written(database: &std::path::Path) -> Written {
    #[cfg(feature = "failpoints")]
    return Written(power::written(database));
    #[cfg(not(feature = "failpoints"))]
    {
        let _ = database;
        Written()
    }
}

/// See [`written`].
#[derive(Debug, Clone, Copy)]
pub struct Written(#[cfg(feature = "failpoints")] Option<power::Wal>);

impl Written {
    /// A sync that began after this was taken has ended well.
    #[inline]
    pub fn is_synced(self) {
        #[cfg(feature = "failpoints")]
        power::synced(self.0);
    }
}

/// The machine's boot as a test has it; None without the feature.
#[inline]
pub fn boot_id() -> Option<String> {
    #[cfg(feature = "failpoints")]
    return std::env::var("RELEVO_BOOT_ID").ok();
    #[cfg(not(feature = "failpoints"))]
    None
}

#[cfg(feature = "failpoints")]
mod power {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;
    use std::path::Path;
    use std::sync::OnceLock;

    /// The salts of the WAL's header, which tell one filling of the file from the next, and how many frames of it
    /// are committed: as SQLite's shared index has them, byte for byte.
    pub(super) type Wal = [u8; 12];

    /// Where they stand in the index's header: `mxFrame` and `aSalt` of SQLite's `WalIndexHdr`.
    const FRAMES: u64 = 16;
    const SALTS: u64 = 32;

    fn kept() -> Option<&'static File> {
        static KEPT: OnceLock<Option<File>> = OnceLock::new();
        KEPT.get_or_init(|| {
            let path = std::env::var_os("RELEVO_SYNCED")?;
            let opened = File::options().create(true).truncate(false).write(true).open(&path);
            Some(opened.unwrap_or_else(|error| {
                // A power test that keeps nothing proves nothing: stop at once.
                eprintln!("RELEVO_SYNCED={}: {error}", path.display());
                std::process::exit(2);
            }))
        })
        .as_ref()
    }

    /// Never closed: with the handle SQLite's own locks on the file would go.
    fn index(database: &Path) -> Option<&'static File> {
        static INDEX: OnceLock<Option<File>> = OnceLock::new();
        INDEX
            .get_or_init(|| {
                let mut path = database.as_os_str().to_owned();
                path.push("-shm");
                File::open(path).ok()
            })
            .as_ref()
    }

    pub(super) fn written(database: &Path) -> Option<Wal> {
        kept()?;
        let index = index(database)?;
        let mut wal = Wal::default();
        index.read_exact_at(&mut wal[..8], SALTS).ok()?;
        index.read_exact_at(&mut wal[8..], FRAMES).ok()?;
        Some(wal)
    }

    pub(super) fn synced(wal: Option<Wal>) {
        if let (Some(wal), Some(kept)) = (wal, kept())
            && let Err(error) = kept.write_all_at(&wal, 0)
        {
            eprintln!("RELEVO_SYNCED: {error}");
            std::process::exit(2);
        }
    }
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    enum Act {
        Send(Signal),
        Full,
    }

    struct Armed {
        point: String,
        act: Act,
        at: u64,
        passed: AtomicU64,
    }

    fn parse(text: &str) -> Option<Armed> {
        let (point, (how, at)) = text.split_once('=').and_then(|(point, how)| Some((point, how.split_once('@')?)))?;
        let act = match how {
            "kill" => Act::Send(Signal::KILL),
            "stop" => Act::Send(Signal::STOP),
            "full" => Act::Full,
            _ => return None,
        };
        Some(Armed { point: point.into(), act, at: at.parse().ok()?, passed: AtomicU64::new(0) })
    }

    fn armed() -> &'static [Armed] {
        static ARMED: OnceLock<Vec<Armed>> = OnceLock::new();
        ARMED.get_or_init(|| {
            let Ok(text) = std::env::var("RELEVO_FAILPOINT") else { return Vec::new() };
            text.split(',').map(parse).collect::<Option<_>>().unwrap_or_else(|| {
                // A kill test that doesn't kill proves nothing: stop at once.
                eprintln!("RELEVO_FAILPOINT={text}: allowed is NAME=kill@N, NAME=stop@N or NAME=full@N");
                std::process::exit(2);
            })
        })
    }

    /// At which pass a point is armed.
    pub(super) fn at(point: &str) -> Option<u64> {
        armed().iter().find(|armed| armed.point == point).map(|armed| armed.at)
    }

    pub(super) fn kill() {
        let _ = kill_process(getpid(), Signal::KILL);
    }

    pub(super) fn is_full(point: &str) -> bool {
        let mut fails = armed().iter().filter(|armed| armed.point == point && matches!(armed.act, Act::Full));
        fails.any(|armed| armed.passed.fetch_add(1, Ordering::Relaxed) + 1 >= armed.at)
    }

    pub(super) fn hit(point: &str) {
        for armed in armed().iter().filter(|armed| armed.point == point) {
            let Act::Send(signal) = armed.act else { continue };
            if armed.passed.fetch_add(1, Ordering::Relaxed) + 1 == armed.at {
                let _ = kill_process(getpid(), signal);
            }
        }
    }
}
