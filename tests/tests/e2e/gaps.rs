//! Only the server declares a gap, and it does so whenever a client's place can't be honoured.

use std::path::PathBuf;

use relevo_tests::client::{Client, Connect};
use relevo_tests::frame::Place;
use relevo_tests::server::Server;
use relevo_tests::wait::{SOON, until};
use relevo_tests::world::World;
use serde_json::json;

fn stop(server: Server) {
    let ended = server.stop(SOON);
    assert!(ended.status.success(), "{}", ended.log);
}

/// A client's place after it has seen a change with this title.
fn place_after_change(world: &World, server: &Server, title: &str) -> Place {
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks"));
    world.sql(&format!("update tareas set titulo = '{title}' where id = 1"));
    client.expect(title, |f| f.is_of("tasks") && f.data()["task_data"]["titulo"] == title);
    client.place
}

/// Connects with a place that can't be honoured; checks that the server says so before any message,
/// and that the place which the gap gives works.
fn assert_gap(server: &Server, world: &World, old: &Place) {
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks").after(old));
    if !client.frames.iter().any(|f| f.kind() == "gap") {
        client.expect("gap", |f| f.kind() == "gap");
    }
    let first = client.frames.iter().find(|f| f.kind() == "gap" || f.is_of("tasks")).unwrap();
    assert_eq!(first.kind(), "gap", "a message came before the gap: {}", first.raw);
    assert!(!first.text("reason").is_empty(), "a gap says why: {}", first.raw);
    if !client.frames.iter().any(|f| f.kind() == "subscribed") {
        // At the head: where retention is busy, what it has just left may go next.
        client.expect("the head", |f| f.kind() == "subscribed");
    }
    if client.place == *old {
        // A gap of one channel leaves the number to what comes behind it.
        client.expect("a place that works", |f| f.kind() == "position" || f.is_of("tasks"));
    }
    let now = client.place.clone();
    assert_ne!(&now, old, "a gap moves the client to a place that works: {:?}", client.frames);
    drop(client);
    let mut again = Client::connect(server.address, &Connect::admin().to("tasks").after(&now));
    world.sql("update tareas set titulo = 'after the gap' where id = 2");
    again.expect("the change", |f| f.is_of("tasks") && f.data()["task_data"]["titulo"] == "after the gap");
    assert!(again.frames.iter().all(|f| f.kind() != "gap"), "the place that the gap gave works: {:?}", again.frames);
}

#[test]
fn a_single_message_that_retention_removed_is_a_gap_before_and_after_a_restart() {
    let world = World::configured(|world| world.channel("pattern = \"tasks\"\nread = [\"*\"]\nkeep_for = \"1s\""));
    let server = world.serve();
    let old = place_after_change(&world, &server, "first");
    place_after_change(&world, &server, "second");
    let told = |server: &Server| {
        let mut client = Client::connect(server.address, &Connect::admin().to("tasks").after(&old));
        client.expect("the head", |f| f.kind() == "subscribed");
        let gap = client.frames.iter().any(|f| f.kind() == "gap" && f.text("channel") == "tasks");
        let message = client.messages("tasks").len() == 1;
        assert!(gap || message, "neither the message nor a gap: {:?}", client.frames);
        gap
    };
    until("a gap for the first place", SOON, || told(&server).then_some(()));
    stop(server);
    let server = world.serve();
    assert!(told(&server));
}

#[test]
fn an_offset_that_retention_removed_is_a_gap() {
    let world = World::configured(|world| {
        world
            .set("journal.keep_for = \"1s\"")
            .set("journal.keep_bytes = \"256KiB\"")
            .channel("pattern = \"tasks\"\nread = [\"*\"]\nkeep_for = \"1s\"\nkeep_bytes = \"64KiB\"")
    });
    let server = world.serve();
    let old = place_after_change(&world, &server, "early");
    let mut n = 0;
    until("a gap for the early offset", SOON * 2, || {
        n += 1;
        world.sql(&format!(
            "with recursive r(i) as (select 1 union all select i + 1 from r where i < 500)
             insert into tareas (id, uuid, codigo, titulo, descripcion, tipo, prioridad, estado, creado_por_usuario_id,
               efectivos_asignados, created_at, updated_at)
             select i + {n} * 1000, 'g-{n}-' || i, 'G-{n}-' || i, 'relleno', hex(zeroblob(500)), 'PATRULLAJE', 'LOW',
               'PROGRAMMED', 1, '[]', '2026', '2026' from r"
        ));
        let mut client = Client::connect(server.address, &Connect::admin().to("tasks").after(&old));
        // Either the early offset is honoured (then its next message is the first of the fill) or not.
        let at = client.find(SOON, |f| f.kind() == "gap" || f.is_of("tasks"));
        let said = client.frames.iter().find(|f| f.kind() == "gap" || f.is_of("tasks"));
        assert!(at.is_some() || said.is_some(), "neither messages nor a gap");
        (said.unwrap().kind() == "gap").then_some(())
    });
    assert_gap(&server, &world, &old);
}

#[test]
fn a_journal_that_is_gone_is_a_new_epoch_and_a_gap() {
    let world = World::new();
    let server = world.serve();
    let old = place_after_change(&world, &server, "in the first life");
    stop(server);
    for file in world.journal_files() {
        std::fs::remove_file(file).unwrap();
    }
    let server = world.serve();
    let client = Client::connect(server.address, &Connect::admin());
    assert_ne!(client.place.epoch, old.epoch, "a new journal has a new epoch");
    assert_gap(&server, &world, &old);
}

#[test]
fn a_restored_backup_of_the_journal_is_a_gap() {
    let world = World::new();
    // The lock file belongs to the place, not to a backup: by it a journal that came back is noticed.
    let journal = || world.journal_files().into_iter().filter(|file| !file.ends_with("journal.lock"));
    let server = world.serve();
    place_after_change(&world, &server, "before the backup");
    stop(server);
    let backup: Vec<(PathBuf, Vec<u8>)> = journal().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect();
    let server = world.serve();
    let old = place_after_change(&world, &server, "after the backup");
    stop(server);
    for file in journal() {
        std::fs::remove_file(file).unwrap();
    }
    for (file, bytes) in backup {
        std::fs::write(file, bytes).unwrap();
    }
    let server = world.serve();
    assert_gap(&server, &world, &old);
}

#[test]
fn an_offset_beyond_the_head_is_a_gap() {
    let world = World::new();
    let server = world.serve();
    let mut old = place_after_change(&world, &server, "now");
    old.offset += 1_000_000;
    assert_gap(&server, &world, &old);
}

#[test]
fn a_subscription_with_a_place_of_another_epoch_is_told_of_the_gap_on_that_channel_alone() {
    let world = World::new();
    let server = world.serve();
    place_after_change(&world, &server, "now");
    let mut client = Client::connect(server.address, &Connect::admin());
    let before = client.place.clone();
    let answer =
        client.ask(json!({"type": "subscribe", "channel": "tasks", "after": {"epoch": "another-life", "offset": 1}}));
    assert_eq!(answer.kind(), "subscribed", "{}", answer.raw);
    if !client.frames.iter().any(|f| f.kind() == "gap") {
        client.expect("the gap", |f| f.kind() == "gap");
    }
    let gap = client.frames.iter().find(|f| f.kind() == "gap").unwrap();
    assert_eq!(gap.channel(), "tasks", "{}", gap.raw);
    assert!(client.place.offset >= before.offset, "the number that all channels share doesn't go back");
}

#[test]
fn a_pipeline_that_left_the_settings_and_came_back_is_a_gap() {
    const STAMP: &str = "[[pipeline]]\nname = \"stamp\"\nplugins = [\"stamp\"]";
    let world = World::configured(|world| {
        world.install("stamp");
        let world = world.set("plugins.grants = \"open\"").append(STAMP);
        world.append("[[channel]]\npattern = \"stamped\"\nread = [\"*\"]")
    });
    let change = |world: &World| world.sql("update tareas set titulo = titulo || '.' where id = 1");
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("stamped"));
    change(&world);
    client.expect("the first change", |f| f.is_of("stamped"));
    let old = client.place.clone();
    stop(server);

    let world = world.replace(STAMP, "");
    let server = world.serve();
    change(&world);
    stop(server);

    let world = world.replace("", STAMP);
    let server = world.serve();
    change(&world);
    let mut client = Client::connect(server.address, &Connect::admin().to("stamped").after(&old));
    let gap = client.expect("the gap", |f| f.kind() == "gap");
    assert!(gap.text("detail").contains("pipeline stamp was taken out of the settings"), "{}", gap.raw);
    let first = client.frames.iter().find(|f| f.kind() == "gap" || f.is_of("stamped")).unwrap();
    assert_eq!(first.kind(), "gap", "{}", first.raw);
}
