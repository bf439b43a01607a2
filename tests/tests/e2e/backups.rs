//! `relevo backup` while the server runs and is written to, `relevo restore`, and what clients are told after it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use relevo_tests::cli::sqlite3;
use relevo_tests::client::{Client, Connect, assert_rising_without_doubles};
use relevo_tests::follower::Follower;
use relevo_tests::frame::{Frame, Place};
use relevo_tests::oracle::{Expected, assert_same, expected, seen};
use relevo_tests::panel;
use relevo_tests::random::Random;
use relevo_tests::server::{Ended, Server};
use relevo_tests::wait::{SOON, until};
use relevo_tests::workload::{CliWriter, Logged, OwnWriter, PREPARE, in_order, transactions};
use relevo_tests::world::World;
use serde_json::Value;

pub(super) fn stop(server: Server) {
    let ended = server.stop(SOON);
    assert!(ended.status.success(), "{}", ended.log);
}

/// The folder's path as text, for arguments.
pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Where a test keeps its backups: beside the data folder.
pub(super) fn place(world: &World, name: &str) -> PathBuf {
    world.data().with_file_name(name)
}

/// Runs a command that must succeed.
pub(super) fn done(world: &World, arguments: &[&str]) -> String {
    let ended = world.run(arguments);
    assert!(ended.status.success(), "{arguments:?} ended with {}:\n{}", ended.status, ended.log);
    ended.log
}

/// Runs a command that must fail, and say this.
pub(super) fn refused(world: &World, arguments: &[&str], why: &str) -> Ended {
    let ended = world.run(arguments);
    assert_eq!(ended.status.code(), Some(1), "{arguments:?}:\n{}", ended.log);
    assert!(ended.log.contains(why), "{arguments:?} should say {why:?}:\n{}", ended.log);
    ended
}

/// The same world with an empty data folder; its database stays where it is.
pub(super) fn elsewhere(world: World) -> World {
    let (database, data) = (format!("sqlite:{}", world.database().display()), place(&world, "restored"));
    world.set_environment("RELEVO_DATABASE_URL", &database).set_environment("RELEVO_DATA", text(&data))
}

/// A client's place after it has seen a change with this title.
pub(super) fn place_after_change(world: &World, server: &Server, title: &str) -> Place {
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks"));
    world.sql(&format!("update tareas set titulo = '{title}' where id = 1"));
    client.expect(title, |f| f.is_of("tasks") && f.data()["task_data"]["titulo"] == title);
    client.place
}

#[test]
fn a_backup_of_a_running_server_is_put_back_and_clients_are_told_of_a_new_epoch() {
    let world = World::new();
    let server = world.serve();
    let before = place_after_change(&world, &server, "before the backup");
    let backup = place(&world, "backup");
    let said: Value = serde_json::from_str(&done(&world, &["backup", text(&backup), "--json"])).unwrap();
    assert_eq!(said["epoch"], before.epoch, "{said}");
    assert!(said["offset"].as_u64().unwrap() >= before.offset, "{said}");
    let after = place_after_change(&world, &server, "after the backup");
    stop(server);

    let world = elsewhere(world);
    let told = done(&world, &["restore", text(&backup)]);
    assert!(told.contains("a new epoch begins at the next start"), "{told}");
    let server = world.serve();
    for old in [&before, &after] {
        let mut client = Client::connect(server.address, &Connect::admin().to("tasks").after(old));
        if !client.frames.iter().any(|f| f.kind() == "gap") {
            client.expect("gap", |f| f.kind() == "gap");
        }
        let first = client.frames.iter().find(|f| f.kind() == "gap" || f.is_of("tasks")).unwrap();
        assert_eq!((first.kind(), first.text("reason")), ("gap", "epoch"), "{}", first.raw);
        assert_ne!(client.place.epoch, old.epoch);
    }
    panel::assert_equals_a_count(&world, &server);
    // The new epoch is one: a restart goes on with it.
    let now = place_after_change(&world, &server, "in the new epoch");
    stop(server);
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks").after(&now));
    world.sql("update tareas set titulo = 'after the restart' where id = 1");
    client.expect("the change", |f| f.is_of("tasks") && f.data()["task_data"]["titulo"] == "after the restart");
    assert!(client.frames.iter().all(|f| f.kind() != "gap"), "{:?}", client.frames);
}

/// Of each of the two writers, in each part.
const CHANGES: usize = 300;

/// Two writers that put their changes into the database, one of them in a process of its own.
struct Load {
    theirs: CliWriter,
    own: OwnWriter,
}

impl Load {
    fn start(world: &World, random: &mut Random) -> Self {
        let theirs = CliWriter::start(&world.database(), transactions(random, CHANGES));
        Self { theirs, own: OwnWriter::start(world.database(), transactions(random, CHANGES)) }
    }

    /// What they committed, one after the other.
    fn finish(self) -> Vec<Logged> {
        self.theirs.finish().into_iter().chain(self.own.finish()).collect()
    }
}

const END: &str = "insert into tareas (id, uuid, codigo, titulo, tipo, prioridad, estado, creado_por_usuario_id, efectivos_asignados, created_at, updated_at) values (9999, 'w', 'W', 'the end', 'PATRULLAJE', 'LOW', 'PAUSED', 1, '[]', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z')";

/// Everything that the channel `tasks` has in the journal from its beginning, with the gaps in it, up to a task that
/// is made here.
fn whole_history(world: &World, server: &Server) -> Vec<Frame> {
    world.sql(END);
    let epoch = Client::connect(server.address, &Connect::admin()).place.epoch;
    let from_the_beginning = Place { epoch, offset: 0 };
    // Its end shows that all that was written before is there; what came twice would be before it.
    let is_end = |f: &Frame| f.is_of("tasks") && f.data()["task_data"]["titulo"] == "the end";
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks").after(&from_the_beginning));
    if !client.frames.iter().any(is_end) {
        client.expect("the end", is_end);
    }
    drop(client);
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks").after(&from_the_beginning));
    if !client.frames.iter().any(is_end) {
        client.expect("the end", is_end);
    }
    client.frames.into_iter().filter(|f| (f.is_of("tasks") && !is_end(f)) || f.kind() == "gap").collect()
}

/// What the channel `tasks` must get of all that was committed.
fn tasks_of(log: &[Logged]) -> Vec<Expected> {
    expected(&in_order(log.iter().cloned())).into_iter().filter(|e| e.channel == "tasks").collect()
}

#[test]
fn what_the_source_no_longer_has_is_one_gap_and_every_other_change_is_there_once() {
    let mut random = Random::from_environment("backup");
    let world = World::new();
    world.sql(PREPARE);
    let server = world.serve();
    let follower = Follower::start(Connect::admin().to("tasks"));
    follower.server_is_at(server.address);
    follower.wait_connected(1, SOON);
    let load = Load::start(&world, &mut random);
    follower.wait_messages("tasks", 50, SOON);
    let backup = place(&world, "backup");
    let written = load.own.committed();
    let said: Value = serde_json::from_str(&done(&world, &["backup", text(&backup), "--json"])).unwrap();
    let meanwhile = load.own.committed() - written;
    let mut log = load.finish();
    let first = tasks_of(&log).len();
    follower.wait_messages("tasks", first, SOON);
    let got: Vec<Expected> = follower.frames().iter().filter(|f| f.is_of("tasks")).map(seen).collect();
    assert_same("before the restore", &got, &tasks_of(&log));
    // From here on the source no longer has what the backup stands at; the newest change alone is always kept.
    world.sql("update usuarios set nombre = 'Otra' where id = 1");
    let stands_at = sqlite3(&backup.join("journal.db"), "select pos_commit from source where name = 'gad'");
    let there = format!("select count(*) from _relevo_changes where seq = {}", stands_at.trim());
    until("the change table is trimmed", SOON, || (world.sql(&there).trim() == "0").then_some(()));
    server.kill();

    let world = elsewhere(world);
    done(&world, &["restore", text(&backup)]);
    let server = world.serve();
    // What is written before it has the rows is in the rows, and no message.
    until("the rebuild", SOON, || {
        let rebuilt = |line: &String| line.contains("the state is made of") && line.contains("pipeline=tareas");
        server.process.log.lines().iter().any(rebuilt).then_some(())
    });
    log.extend(Load::start(&world, &mut random).finish());
    let all = tasks_of(&log);
    let frames = whole_history(&world, &server);
    assert_rising_without_doubles(&frames);
    let gaps = frames.iter().filter(|f| f.kind() == "gap").count();
    let messages: Vec<Expected> = frames.iter().filter(|f| f.is_of("tasks")).map(seen).collect();
    let before = frames.iter().take_while(|f| f.kind() != "gap").count();
    assert_eq!(gaps, 1, "the database is one place behind, so there is one gap");
    assert!(messages.len() <= all.len(), "{} messages of {}", messages.len(), all.len());
    // One hole, told before its place: what the backup had read and not yet made messages of comes behind the gap.
    let hole = messages.iter().zip(&all).take_while(|(got, wanted)| got == wanted).count();
    let after = messages.len() - hole;
    assert_same("behind the hole", &messages[hole..], &all[all.len() - after..]);
    assert!(before <= hole, "the hole is at {hole}, the gap at {before}");
    assert!(after >= all.len() - first, "changes after the restore are missing: {after} of {}", all.len() - first);
    panel::assert_equals_a_count(&world, &server);
    println!(
        "backup: {} bytes, {meanwhile} changes while it was taken; {} changes, {} of {} messages, {gaps} gaps; before the gap {before}",
        said["bytes"],
        log.len(),
        messages.len(),
        all.len()
    );
}

#[test]
fn what_the_source_still_has_is_captured_again_under_the_new_epoch_without_a_gap() {
    let mut random = Random::from_environment("backup-again");
    let world = World::new();
    world.sql(PREPARE);
    let server = world.serve();
    let mut log = Load::start(&world, &mut random).finish();
    let first = tasks_of(&log).len();
    place_after_change(&world, &server, "the last one");
    stop(server);
    let backup = place(&world, "backup");
    done(&world, &["backup", text(&backup)]);
    log.extend(Load::start(&world, &mut random).finish());

    let world = elsewhere(world);
    done(&world, &["restore", text(&backup)]);
    let server = world.serve();
    let frames = whole_history(&world, &server);
    assert_rising_without_doubles(&frames);
    assert!(frames.iter().all(|f| f.kind() != "gap"), "nothing is missing in the new epoch");
    let messages: Vec<Expected> = frames.iter().filter(|f| f.is_of("tasks")).map(seen).collect();
    let (there, again): (Vec<_>, Vec<_>) = messages.into_iter().partition(|e| e.title != "the last one");
    assert_eq!(again.len(), 1);
    assert_same("all of it", &there, &tasks_of(&log));
    panel::assert_equals_a_count(&world, &server);
    println!("backup: {first} messages before it, {} after it: lost 0, doubled 0", there.len() - first);
}

#[test]
fn a_backup_that_is_killed_leaves_no_backup_and_the_next_one_takes_its_place() {
    let world = World::new();
    let server = world.serve();
    let before = place_after_change(&world, &server, "before");
    let backup = place(&world, "backup");
    world.kill_at("backup.copied", &["backup", text(&backup)]);
    let incomplete = place(&world, "backup.incomplete");
    assert!(!backup.exists() && incomplete.join("journal.db").exists());
    refused(&elsewhere(World::bare()), &["restore", text(&incomplete)], "is no backup");
    std::fs::write(incomplete.join("versions").join("left"), "over").unwrap();
    // The server noticed nothing.
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks").after(&before));
    world.sql("update tareas set titulo = 'meanwhile' where id = 1");
    client.expect("the change", |f| f.is_of("tasks") && f.data()["task_data"]["titulo"] == "meanwhile");
    done(&world, &["backup", text(&backup)]);
    assert!(backup.join("backup.json").exists() && !incomplete.exists() && !backup.join("versions/left").exists());
    refused(&world, &["backup", text(&backup)], "is there already");
}

#[test]
fn a_restore_that_is_killed_can_be_made_again() {
    let world = World::new();
    let server = world.serve();
    let old = place_after_change(&world, &server, "before");
    let backup = place(&world, "backup");
    done(&world, &["backup", text(&backup)]);
    stop(server);
    let world = elsewhere(world);
    world.kill_at("restore.placed", &["restore", text(&backup)]);
    let data = place(&world, "restored");
    assert!(data.join("versions").exists() && !data.join("journal.db").exists());
    done(&world, &["restore", text(&backup)]);
    assert!(!data.join("restore.incomplete").exists());
    refused(&world, &["restore", text(&backup)], "journal.db is there already");
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks").after(&old));
    if !client.frames.iter().any(|f| f.kind() == "gap") {
        client.expect("gap", |f| f.kind() == "gap" && f.text("reason") == "epoch");
    }
    refused(&world, &["restore", text(&backup)], "in use by another relevo process");
}

#[test]
fn a_byte_that_flipped_in_a_backup_is_found_and_its_file_is_named() {
    let world = World::new();
    std::fs::write(world.data().join("jwt.secret"), relevo_tests::token::SECRET).unwrap();
    std::fs::set_permissions(world.data().join("jwt.secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let world = world.unset_environment("RELEVO_JWT_SECRET");
    let server = world.serve();
    let old = place_after_change(&world, &server, "before");
    let backup = place(&world, "backup");
    done(&world, &["backup", text(&backup)]);
    stop(server);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&backup), mode(&backup.join("jwt.secret"))), (0o700, 0o600));
    let manifest: Value = serde_json::from_slice(&std::fs::read(backup.join("backup.json")).unwrap()).unwrap();
    let mut names: Vec<String> = manifest["files"].as_object().unwrap().keys().cloned().collect();
    for wanted in ["journal.db", "jwt.secret", "relevo.toml", "plugins/tareas.wasm"] {
        assert!(names.iter().any(|name| name == wanted), "{wanted} is in it: {names:?}");
    }
    assert!(names.iter().any(|name| name.starts_with("versions/tareas/") && name.ends_with("component.wasm")));
    let world = elsewhere(world);
    names.push("backup.json".into());
    for name in &names {
        let path = backup.join(name);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        // In the manifest a digit of a hash.
        let at = whole.windows(10).position(|w| w == b"\"sha256\": ").map_or(whole.len() / 2, |at| at + 12);
        flipped[at] ^= 1;
        std::fs::write(&path, &flipped).unwrap();
        refused(&world, &["restore", text(&backup)], name);
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        refused(&world, &["restore", text(&backup)], name);
        std::fs::write(&path, &whole).unwrap();
    }
    std::fs::rename(backup.join("jwt.secret"), backup.join("away")).unwrap();
    refused(&world, &["restore", text(&backup)], "it is missing");
    std::fs::rename(backup.join("away"), backup.join("jwt.secret")).unwrap();
    let data = place(&world, "restored");
    assert!(!data.join("journal.db").exists() && !data.join("versions").exists());
    done(&world, &["restore", text(&backup)]);
    assert_eq!(mode(&data.join("jwt.secret")), 0o600);
    // The tokens of before are good: the secret is the same.
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks").after(&old));
    if !client.frames.iter().any(|f| f.kind() == "gap") {
        client.expect("gap", |f| f.kind() == "gap");
    }
    println!("backup: {} files, each flipped and each cut, all found", names.len());
}

#[test]
fn a_backup_s_journal_put_in_place_by_hand_begins_a_new_epoch_too() {
    let world = World::new();
    let server = world.serve();
    let old = place_after_change(&world, &server, "before");
    let backup = place(&world, "backup");
    done(&world, &["backup", text(&backup)]);
    place_after_change(&world, &server, "after the backup");
    server.kill();
    refused(&world, &["restore", text(&backup)], "is there already");
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(world.data().join(format!("journal.db{end}")));
    }
    // journal.lock knows the run in which the backup was taken: by that alone it would be the same journal.
    std::fs::copy(backup.join("journal.db"), world.data().join("journal.db")).unwrap();
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks").after(&old));
    if !client.frames.iter().any(|f| f.kind() == "gap") {
        client.expect("gap", |f| f.kind() == "gap");
    }
    let gap = client.frames.iter().find(|f| f.kind() == "gap").unwrap();
    assert_eq!(gap.text("reason"), "epoch", "{}", gap.raw);
}

#[test]
fn a_slot_that_moved_on_after_the_backup_is_a_gap_and_what_is_shown_is_what_is_there() {
    let world = World::postgres();
    let server = world.serve();
    let before = place_after_change(&world, &server, "before the backup");
    let backup = place(&world, "backup");
    done(&world, &["backup", text(&backup)]);
    place_after_change(&world, &server, "after the backup");
    world.sql("update tareas set estado = 'COMPLETED' where id = 2");
    panel::assert_equals_a_count(&world, &server);
    // A clean stop acknowledges what was read.
    stop(server);
    let world = world.set_environment("RELEVO_DATA", text(&backup.with_file_name("restored")));
    done(&world, &["restore", text(&backup)]);
    let server = world.serve();
    panel::assert_equals_a_count(&world, &server);
    let epoch = Client::connect(server.address, &Connect::admin()).place.epoch;
    assert_ne!(epoch, before.epoch);
    let mut client =
        Client::connect(server.address, &Connect::admin().to("tasks").after(&Place { epoch, offset: before.offset }));
    if !client.frames.iter().any(|f| f.kind() == "gap") {
        client.expect("gap", |f| f.kind() == "gap");
    }
    world.sql("update tareas set titulo = 'after the restore' where id = 1");
    client.expect("the change", |f| f.is_of("tasks") && f.data()["task_data"]["titulo"] == "after the restore");
    let told: Vec<(&str, &str)> = client
        .frames
        .iter()
        .filter(|f| f.kind() == "gap" || f.is_of("tasks"))
        .map(|f| {
            if f.kind() == "gap" {
                ("gap", f.text("reason"))
            } else {
                ("task", f.data()["task_data"]["titulo"].as_str().unwrap())
            }
        })
        .collect();
    assert_eq!(told, [("gap", "source"), ("task", "after the restore")]);
}

#[test]
fn a_place_that_will_not_do_is_refused_before_anything_is_copied() {
    let world = World::new();
    stop(world.serve());
    std::fs::create_dir_all(world.data().join("backups/of-relevo")).unwrap();
    for folder in ["", "plugins", "versions", "backups/of-relevo"] {
        let within = world.data().join(folder).join("backup");
        refused(&world, &["backup", text(&within)], "outside of the data folder");
        assert!(!within.with_extension("incomplete").exists());
    }
    let nowhere = place(&world, "nowhere").join("backup");
    refused(&world, &["backup", text(&nowhere)], "isn't there; make it");
    let foreign = place(&world, "foreign.incomplete");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("diary.txt"), "mine").unwrap();
    refused(&world, &["backup", text(&foreign.with_extension(""))], "diary.txt");
    assert_eq!(std::fs::read_to_string(foreign.join("diary.txt")).unwrap(), "mine");
    let slash = format!("{}/", text(&place(&world, "slash")));
    done(&world, &["backup", &slash]);
    assert!(place(&world, "slash").join("backup.json").exists());
}
