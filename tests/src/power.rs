//! The power fails: what of the journal's files was not on the disk is gone, and the machine starts anew. The server
//! keeps for it (with the feature `failpoints`) how far the WAL was synced. The same is gone after a sync that failed.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::random::Random;
use crate::server::{Process, Server};
use crate::world::World;

/// SQLite's own: the header of a WAL, that of a frame, and our page size.
const HEADER: u64 = 32;
const FRAME: u64 = 24 + 4096;

/// A frame's own header.
const FRAME_HEADER: u64 = 24;
const PAGE: usize = 4096;

/// Where the salts stand in the WAL's header.
const SALTS: u64 = 16;

/// In the shared index: how many frames are committed (`mxFrame`), how many are in the database file, synced
/// (`nBackfill`), and how many a checkpoint moves there (`nBackfillAttempted`), which first syncs them in the WAL.
const COMMITTED: u64 = 16;
const MOVED: u64 = 96;
const MOVING: u64 = 128;

/// A machine on which a world's server runs.
#[derive(Debug, Default)]
pub struct Machine {
    boots: u32,
}

/// What a power failure took.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Bytes of the WAL that were written and not synced, and how many of them are gone.
    pub unsynced: u64,
    pub gone: u64,
    /// Whether a checkpoint had moved frames of this filling of the WAL, or had begun a new one since the sync.
    pub moved: bool,
    /// Pages that a checkpoint was about to move, how many of them it had written, and how many are torn.
    pub moving: usize,
    pub written: usize,
    pub torn: usize,
    pub begun_anew: bool,
}

impl Machine {
    /// Starts the server of a world on this boot of the machine.
    pub fn serve(&self, world: &World) -> Server {
        Server::listening(Process::start(self.command(world))).ready()
    }

    /// Starts the server on this boot; its syncs fail from the `nth` on, as where the disk is full.
    pub fn serve_with_failing_sync(&self, world: &World, nth: u64) -> Server {
        let mut command = self.command(world);
        command.env("RELEVO_FAILPOINT", format!("sync=full@{nth}"));
        Server::listening(Process::start(command)).ready()
    }

    /// Starts a server that dies in the midst of its `nth` checkpoint, or of a later one. None: it died before it was
    /// ready.
    pub fn serve_into_checkpoint(&self, world: &World, nth: u64) -> Option<Server> {
        let mut command = self.command(world);
        command.env("RELEVO_FAILPOINT", format!("checkpoint.amid=kill@{nth}"));
        Server::ready_unless_it_ends(Process::start(command))
    }

    fn command(&self, world: &World) -> Command {
        let mut command = world.command(&["serve"]);
        command.env("RELEVO_SYNCED", synced(world)).env("RELEVO_BOOT_ID", format!("boot-{}", self.boots));
        command
    }

    /// The power fails under a server. Of what was not synced the disk has all up to a random place: nothing of it
    /// in every other failure, since that is the worst.
    ///
    /// # Panics
    /// If the server's binary doesn't keep how far it synced.
    pub fn power_fails(&mut self, world: &World, server: Server, random: &mut Random) -> Cut {
        server.kill();
        self.power_is_lost(world, random)
    }

    /// As [`Self::power_fails`]; the server has died by itself.
    ///
    /// # Panics
    /// As [`Self::power_fails`].
    pub fn power_is_lost(&mut self, world: &World, random: &mut Random) -> Cut {
        self.boots += 1;
        let worst = self.boots % 2 == 1;
        Self::lose(world, worst, random)
    }

    /// What was not synced is gone: all of it, or what is behind a random place. No server runs.
    ///
    /// # Panics
    /// As [`Self::power_fails`].
    pub fn lose(world: &World, all: bool, random: &mut Random) -> Cut {
        let wal = world.journal_file("journal.db-wal");
        let index = world.journal_file("journal.db-shm");
        let file = File::options().read(true).write(true).open(&wal).expect("the WAL");
        let length = file.metadata().expect("its length").len();
        let mut kept = [0; 12];
        let keeps = File::open(synced(world)).and_then(|synced| synced.read_exact_at(&mut kept, 0));
        keeps.expect("the server is built with --features failpoints and keeps how far it synced");
        let mut salts = [0; 8];
        let has_header = length >= HEADER && file.read_exact_at(&mut salts, SALTS).is_ok();
        let count = |at| {
            let mut count = [0; 4];
            File::open(&index).and_then(|index| index.read_exact_at(&mut count, at)).expect("the WAL's index");
            u64::from(u32::from_ne_bytes(count))
        };
        let (committed, moved, moving) = (count(COMMITTED), count(MOVED), count(MOVING));
        let database = File::options().read(true).write(true).open(world.journal_file("journal.db"));
        let pages = Pages::of(&file, moved..moving, database.expect("the journal"));
        let written = pages.written();
        // The checkpoint syncs the WAL before it writes its first page.
        let synced_by_it = if written > 0 { moving } else { moved };
        // The WAL begins anew only when the database file has, synced, all that was in it.
        let begun_anew = !has_header || salts != kept[..8];
        let frames = if begun_anew { 0 } else { u64::from(u32::from_ne_bytes(kept[8..].try_into().expect("4 bytes"))) };
        // Behind what is committed stands what an earlier filling has left.
        let synced = (HEADER + frames.max(synced_by_it) * FRAME).min(length);
        let unsynced = (HEADER + committed * FRAME).min(length).saturating_sub(synced);
        let gone = if all { unsynced } else { random.below(unsynced + 1) };
        file.set_len(synced + unsynced - gone).expect("the WAL can be cut");
        // Memory of the machine that is off.
        std::fs::remove_file(index).expect("the WAL's index can go");
        let torn = if written > 0 { pages.tear(random) } else { 0 };
        Cut { unsynced, gone, moved: moving > 0, moving: pages.newest.len(), written, torn, begun_anew }
    }
}

fn synced(world: &World) -> PathBuf {
    world.data().with_file_name("synced")
}

/// The pages that a checkpoint was about to move when the power failed.
struct Pages {
    database: File,
    /// By page: what its newest frame holds.
    newest: BTreeMap<u32, Vec<u8>>,
}

impl Pages {
    fn of(wal: &File, frames: Range<u64>, database: File) -> Self {
        let mut newest = BTreeMap::new();
        for frame in frames {
            let (mut number, mut page) = ([0; 4], vec![0; PAGE]);
            let at = HEADER + frame * FRAME;
            wal.read_exact_at(&mut number, at)
                .and_then(|()| wal.read_exact_at(&mut page, at + FRAME_HEADER))
                .expect("a frame");
            newest.insert(u32::from_be_bytes(number), page);
        }
        Self { database, newest }
    }

    fn place(page: u32) -> u64 {
        u64::from(page - 1) * PAGE as u64
    }

    fn written(&self) -> usize {
        let is_written = |(page, new): &(&u32, &Vec<u8>)| {
            let mut there = vec![0; PAGE];
            self.database.read_exact_at(&mut there, Self::place(**page)).is_ok() && there == **new
        };
        self.newest.iter().filter(is_written).count()
    }

    /// None of them was synced: behind its first sector every other one is anything.
    fn tear(&self, random: &mut Random) -> usize {
        let torn = self.newest.keys().filter(|_| random.below(2) == 0);
        torn.map(|page| self.database.write_all_at(&[0xa5; PAGE - 512], Self::place(*page) + 512).expect("a page"))
            .count()
    }
}
