//! Kills the process in the midst of a checkpoint of the WAL: its first page is in the file, and the others are not
//! synced. SQLite has no hook there, so a thread watches the WAL's shared index and the file.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use super::armed;

/// SQLite's own: header of a WAL, header of a frame, our page size.
const HEADER: u64 = 32;
const FRAME: u64 = 24;
const PAGE: usize = 4096;

/// In the shared index, `WalCkptInfo`: frames that are in the file, synced (`nBackfill`), and those that a checkpoint
/// moves (`nBackfillAttempted`, which it sets before it syncs the WAL).
const MOVED: u64 = 96;
const MOVING: u64 = 128;

/// The files, never closed: with a handle SQLite's own locks on them would go.
struct Watched {
    file: File,
    wal: File,
    index: File,
}

/// Watches, if the point is armed: the N-th checkpoint from now on, or the next one that it catches.
pub(super) fn watch(database: &Path, point: &'static str) {
    let Some(nth) = armed::at(point) else { return };
    let beside = |end: &str| {
        let mut path = database.as_os_str().to_owned();
        path.push(end);
        File::open(path)
    };
    match (beside(""), beside("-wal"), beside("-shm")) {
        (Ok(file), Ok(wal), Ok(index)) => {
            std::thread::spawn(move || Watched { file, wal, index }.kill_in(nth));
        }
        // A kill test that doesn't kill proves nothing: stop at once.
        _ => {
            eprintln!("{point}: {} can't be watched", database.display());
            std::process::exit(2);
        }
    }
}

impl Watched {
    fn kill_in(&self, nth: u64) {
        let mut seen = 0;
        loop {
            if let Some(first) = self.begun() {
                seen += 1;
                while self.begun().is_some() {
                    if seen >= nth && self.is_moved(first) {
                        armed::kill();
                    }
                }
            }
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    /// The lowest page that the checkpoint moves, which it does first, and its newest frame. None: there is none now.
    fn begun(&self) -> Option<(u32, u64)> {
        let (moved, moving) = (number(&self.index, MOVED)?, number(&self.index, MOVING)?);
        let frames = u64::from(moved)..u64::from(moving);
        let page = |frame: u64| {
            let mut page = [0; 4];
            self.wal.read_exact_at(&mut page, HEADER + frame * (FRAME + PAGE as u64)).ok()?;
            Some((u32::from_be_bytes(page), frame))
        };
        frames.filter_map(page).min_by_key(|(page, frame)| (*page, u64::MAX - frame))
    }

    fn is_moved(&self, (page, frame): (u32, u64)) -> bool {
        let (mut new, mut there) = ([0; PAGE], [0; PAGE]);
        let at = HEADER + frame * (FRAME + PAGE as u64) + FRAME;
        let place = u64::from(page.saturating_sub(1)) * PAGE as u64;
        self.wal.read_exact_at(&mut new, at).is_ok()
            && self.file.read_exact_at(&mut there, place).is_ok()
            && new == there
    }
}

fn number(index: &File, at: u64) -> Option<u32> {
    let mut number = [0; 4];
    index.read_exact_at(&mut number, at).ok()?;
    Some(u32::from_ne_bytes(number))
}
