//! `relevo backup` while the server runs and is written to, `relevo restore`, and what clients are told after it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use relevo_tests::client::{Client, Connect};
use relevo_tests::frame::Place;
use relevo_tests::panel;
use relevo_tests::server::{Ended, Server};
use relevo_tests::wait::SOON;
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
