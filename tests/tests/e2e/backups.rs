//! `relevo backup` while the server runs and is written to, `relevo restore`, and what clients are told after it.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use relevo_tests::client::{Client, Connect, assert_rising_without_doubles};
use relevo_tests::follower::Follower;
use relevo_tests::frame::{Frame, Place};
use relevo_tests::oracle::{Expected, assert_same, expected, seen};
use relevo_tests::panel;
use relevo_tests::random::Random;
use relevo_tests::server::{Ended, Process, Server};
use relevo_tests::wait::SOON;
use relevo_tests::workload::{CliWriter, OwnWriter, PREPARE, in_order, transactions};
use relevo_tests::world::World;
use serde_json::Value;

fn stop(server: Server) {
    let ended = server.stop(SOON);
    assert!(ended.status.success(), "{}", ended.log);
}

/// The folder's path as text, for arguments.
fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Where a test keeps its backups: beside the data folder.
fn place(world: &World, name: &str) -> PathBuf {
    world.data().with_file_name(name)
}

/// Runs a command that must succeed.
fn done(world: &World, arguments: &[&str]) -> String {
    let ended = world.run(arguments);
    assert!(ended.status.success(), "{arguments:?} ended with {}:\n{}", ended.status, ended.log);
    ended.log
}

/// Runs a command that must fail, and say this.
fn refused(world: &World, arguments: &[&str], why: &str) -> Ended {
    let ended = world.run(arguments);
    assert_eq!(ended.status.code(), Some(1), "{arguments:?}:\n{}", ended.log);
    assert!(ended.log.contains(why), "{arguments:?} should say {why:?}:\n{}", ended.log);
    ended
}

/// The same world with an empty data folder; its database stays where it is.
fn elsewhere(world: World) -> World {
    let (database, data) = (format!("sqlite:{}", world.database().display()), place(&world, "restored"));
    world.set_environment("RELEVO_DATABASE_URL", &database).set_environment("RELEVO_DATA", text(&data))
}

/// A client's place after it has seen a change with this title.
fn place_after_change(world: &World, server: &Server, title: &str) -> Place {
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks"));
    world.sql(&format!("update tareas set titulo = '{title}' where id = 1"));
    client.expect(title, |f| f.is_of("tasks") && f.data()["task_data"]["titulo"] == title);
    client.place
}

#[test]
fn a_backup_of_a_running_server_is_put_back_and_clients_are_told_of_a_new_epoch() {
    let world = World::new().unset_environment("RELEVO_JWT_SECRET");
    let world = world.set_environment("RELEVO_JWT_SECRET", relevo_tests::token::SECRET);
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
