//! Rings a source's bell when another process writes to the database: it watches the WAL's file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// Rings as long as it lives.
pub(crate) struct Wake {
    _watcher: Option<RecommendedWatcher>,
}

impl Wake {
    /// Watches the WAL of a database that has been read from (so that the file is there). Where the
    /// system can't watch, the poll remains.
    ///
    /// The file is watched and not its folder: the journal, which is written to all the time, is
    /// often beside it.
    pub(crate) fn new(database: &Path, bell: &Arc<Notify>) -> Self {
        let bell = Arc::clone(bell);
        let ring = move |event: notify::Result<notify::Event>| match event.map(|event| event.kind) {
            // Our own reads must not wake us.
            Ok(EventKind::Access(_)) => {}
            _ => bell.notify_one(),
        };
        let wal = wal(database);
        let watcher = notify::recommended_watcher(ring).and_then(|mut watcher| {
            watcher.watch(&wal, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        let watcher = watcher
            .inspect_err(|error| {
                tracing::warn!(%error, file = %wal.display(), "can't watch the WAL: changes of other processes are found by polling alone");
            })
            .ok();
        Self { _watcher: watcher }
    }
}

fn wal(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}
