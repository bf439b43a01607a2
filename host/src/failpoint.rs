//! Crash points for the kill tests, around append, commit, send and acknowledge.
//!
//! Compiled in with the feature `failpoints` only. `RELEVO_FAILPOINT=NAME=kill@N` kills the process
//! with SIGKILL when the point is passed for the N-th time.
//!
//! For the power tests: `RELEVO_SYNCED=FILE` keeps what of the journal's WAL is on the disk in a file, and
//! `RELEVO_BOOT_ID` stands for the machine's own.

pub const APPEND_BEFORE: &str = "append.before";
pub const APPEND_AFTER: &str = "append.after";
/// A chunk of a transaction of which more comes.
pub const CHUNK_BEFORE: &str = "chunk.before";
pub const CHUNK_AFTER: &str = "chunk.after";
pub const COMMIT_BEFORE: &str = "commit.before";
pub const COMMIT_AFTER: &str = "commit.after";
pub const SEND_BEFORE: &str = "send.before";
pub const SEND_AFTER: &str = "send.after";
pub const ACKNOWLEDGE_BEFORE: &str = "acknowledge.before";
pub const ACKNOWLEDGE_AFTER: &str = "acknowledge.after";
/// A backup has the journal and not yet the rest; a restore has put everything but the journal.
pub const BACKUP_COPIED: &str = "backup.copied";
pub const RESTORE_PLACED: &str = "restore.placed";

/// Passes a point. Does nothing without the feature.
#[inline]
pub fn hit(point: &str) {
    #[cfg(feature = "failpoints")]
    armed::hit(point);
    #[cfg(not(feature = "failpoints"))]
    let _ = point;
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

    struct Armed {
        point: String,
        at: u64,
        passed: AtomicU64,
    }

    fn armed() -> Option<&'static Armed> {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        ARMED
            .get_or_init(|| {
                let text = std::env::var("RELEVO_FAILPOINT").ok()?;
                let parsed = text.split_once("=kill@").and_then(|(point, at)| Some((point, at.parse().ok()?)));
                let Some((point, at)) = parsed else {
                    // A kill test that doesn't kill proves nothing: stop at once.
                    eprintln!("RELEVO_FAILPOINT={text}: allowed is NAME=kill@N");
                    std::process::exit(2);
                };
                Some(Armed { point: point.into(), at, passed: AtomicU64::new(0) })
            })
            .as_ref()
    }

    pub(super) fn hit(point: &str) {
        let Some(armed) = armed() else { return };
        if armed.point == point && armed.passed.fetch_add(1, Ordering::Relaxed) + 1 == armed.at {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}
