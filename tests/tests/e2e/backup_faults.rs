//! What goes on beside a backup or a restore, or breaks it off: versions that take over meanwhile, a second backup,
//! a full disk, a restore that is killed.

use std::path::Path;

use relevo_tests::server::{Process, Server};
use relevo_tests::small_disk::SmallDisk;
use relevo_tests::wait::{SOON, until};
use relevo_tests::world::World;
use rustix::process::Signal;

use super::backups::{done, elsewhere, place, place_after_change, refused, stop, text};
use super::swaps;

/// A backup that stands still at the points where it is to.
struct Stopped(Process);

impl Stopped {
    /// Starts it, and waits until it stands at the first point.
    fn start(world: &World, into: &Path, points: &[&str]) -> Self {
        let mut command = world.command(&["backup", text(into)]);
        let armed: Vec<String> = points.iter().map(|point| format!("{point}=stop@1")).collect();
        command.env("RELEVO_FAILPOINT", armed.join(","));
        let mut backup = Self(Process::start(command));
        backup.wait_stopped();
        backup
    }

    fn wait_stopped(&mut self) {
        until("the backup to stand still", SOON, || {
            assert!(self.0.runs(), "it ended:\n{}", self.0.log.text());
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.pid())).expect("Linux's /proc");
            let (_, state) = stat.rsplit_once(") ").expect("a state behind the name");
            state.starts_with('T').then_some(())
        });
    }

    /// To its next point.
    fn go_on(&mut self) {
        self.0.signal(Signal::CONT);
        self.wait_stopped();
    }

    /// To its end: whether it succeeded, and what it said.
    fn end(self) -> (bool, String) {
        self.0.signal(Signal::CONT);
        let ended = self.0.wait(SOON);
        (ended.status.success(), ended.log)
    }
}

fn deploy(world: &World, server: &Server, stamp: &str) {
    let file = swaps::version(world, stamp, "");
    done(world, &["plugin", "deploy", "--url", &format!("http://{}", server.address), text(&file)]);
}

/// The version of the plugin `stamp` that serves.
fn serving(server: &Server) -> String {
    let view = swaps::view(server);
    view["pipelines"][0]["versions"][0][1].as_str().unwrap_or_else(|| panic!("{view}")).to_owned()
}

#[test]
fn versions_that_take_over_while_a_backup_is_taken_are_in_it() {
    let world = swaps::world();
    let server = world.serve();
    let into = place(&world, "backup");
    let mut backup = Stopped::start(&world, &into, &["backup.begun", "backup.copied"]);
    deploy(&world, &server, "v1");
    let then = serving(&server);
    backup.go_on();
    deploy(&world, &server, "v2");
    assert_ne!(serving(&server), then);
    let (succeeded, log) = backup.end();
    assert!(succeeded, "{log}");
    stop(server);
    let world = elsewhere(world);
    done(&world, &["restore", text(&into)]);
    // Without the folder, which only knows v0.
    std::fs::remove_file(place(&world, "restored").join("plugins/stamp.wasm")).unwrap();
    let server = world.serve();
    assert_eq!(serving(&server), then, "the version that served when the journal was copied");
}

#[test]
fn a_backup_that_lacks_a_version_because_many_came_and_went_is_refused() {
    let world = swaps::world().set("plugins.keep_versions = 2");
    let server = world.serve();
    let into = place(&world, "backup");
    let mut backup = Stopped::start(&world, &into, &["backup.begun", "backup.copied"]);
    deploy(&world, &server, "v1");
    backup.go_on();
    ["v2", "v3", "v4", "v5"].iter().for_each(|stamp| deploy(&world, &server, stamp));
    let (succeeded, log) = backup.end();
    assert!(!succeeded && log.contains("needs stamp") && log.contains("run the backup again"), "{log}");
    assert!(!into.exists() && !place(&world, "backup.incomplete").exists(), "nothing is left");
    done(&world, &["backup", text(&into)]);
}

#[test]
fn two_backups_at_once_into_one_place_are_one_and_into_two_places_are_two() {
    let world = World::new();
    let server = world.serve();
    place_after_change(&world, &server, "before");
    let (one, two) = (place(&world, "one"), place(&world, "two"));
    let first = Stopped::start(&world, &one, &["backup.begun"]);
    let second = Stopped::start(&world, &two, &["backup.begun"]);
    refused(&world, &["backup", text(&one)], "another `relevo backup` writes to");
    // Both copy the journal now.
    first.0.signal(Signal::CONT);
    let ended = [second.end(), first.end()];
    assert!(ended.iter().all(|(succeeded, _)| *succeeded), "{ended:?}");
    refused(&world, &["backup", text(&one)], "is there already");
    stop(server);
    for backup in [one, two] {
        let to = backup.with_extension("restored");
        let mut restore = world.command(&["restore", text(&backup)]);
        restore.env("RELEVO_DATA", &to);
        let ended = Process::start(restore).wait(SOON);
        assert!(ended.status.success(), "{}", ended.log);
        done(&world, &["journal", "check", text(&to)]);
    }
}

/// What files and folders take in pages of 4 KiB, in bytes.
fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { size(&path) } else { path.metadata().unwrap().len().next_multiple_of(4096) })
        .sum()
}

#[test]
fn a_backup_without_room_says_so_and_leaves_nothing() {
    let world = World::new();
    let server = world.serve();
    place_after_change(&world, &server, "before");
    let small = place(&world, "small");
    std::fs::create_dir(&small).unwrap();
    let Some(disk) = SmallDisk::mount(&small, "64k") else {
        println!("backup without room: NOT TESTED, as this user may not mount a small file system");
        return;
    };
    let into = small.join("backup");
    let nothing = || assert_eq!(std::fs::read_dir(&small).unwrap().count(), 0, "nothing is left");
    refused(&world, &["backup", text(&into)], "there is no room for the copy");
    nothing();
    // The plugins fit, the journal doesn't: that is known before it is copied.
    let plugins = size(&world.data().join("plugins")) + size(&world.data().join("versions"));
    disk.resize(&format!("{}k", plugins / 1024 + 32));
    refused(&world, &["backup", text(&into)], "a copy of the journal needs");
    nothing();
    // Somebody takes the room when all but the last files are there.
    disk.resize("64m");
    let full = Stopped::start(&world, &into, &["backup.copied"]);
    std::fs::write(small.join("ballast"), vec![1; 64 << 20]).unwrap_err();
    let (succeeded, log) = full.end();
    assert!(!succeeded && log.contains("there is no room for the copy"), "{log}");
    std::fs::remove_file(small.join("ballast")).unwrap();
    nothing();
    done(&world, &["backup", text(&into)]);
    done(&elsewhere(world), &["restore", text(&into)]);
    drop(server);
}

#[test]
fn no_server_starts_on_a_restore_that_was_killed_until_it_is_made_again() {
    let world = World::new();
    let server = world.serve();
    let old = place_after_change(&world, &server, "before");
    let backup = place(&world, "backup");
    done(&world, &["backup", text(&backup)]);
    stop(server);
    let world = elsewhere(world);
    let data = place(&world, "restored");
    for point in ["restore.copied", "restore.placed", "restore.done"] {
        world.kill_at(point, &["restore", text(&backup)]);
        let journal = data.join("journal.db").exists();
        assert_eq!(journal, point == "restore.done");
        for command in [["serve"].as_slice(), &["backup", text(&place(&world, "of-half"))]] {
            refused(&world, command, "make it again with `relevo restore DIR`");
        }
        assert_eq!(data.join("journal.db").exists(), journal, "{point}: no empty journal is begun");
        // One that fails doesn't take the mark away with half of a backup behind it.
        let whole = std::fs::read(backup.join("journal.db")).unwrap();
        std::fs::write(backup.join("journal.db"), &whole[1..]).unwrap();
        refused(&world, &["restore", text(&backup)], "journal.db");
        std::fs::write(backup.join("journal.db"), whole).unwrap();
        if point != "restore.copied" {
            refused(&world, &["serve"], "a restore into");
        }
    }
    let mut doctor = world.command(&["doctor"]);
    let config = data.with_file_name("relevo.toml");
    let ended = Process::start({
        doctor.arg("--config").arg(config);
        doctor
    })
    .wait(SOON);
    assert!(ended.log.contains("PROBLEM  restore: a restore into"), "{}", ended.log);
    done(&world, &["restore", text(&backup)]);
    let server = world.serve();
    let epoch = place_after_change(&world, &server, "after").epoch;
    assert_ne!(epoch, old.epoch);
    refused(&world, &["restore", text(&backup)], "in use by another relevo process");
}
