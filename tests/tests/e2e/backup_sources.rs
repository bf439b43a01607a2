//! What a restored server has of its source: what the source still has is captured again, and what it no longer has is a gap.

use relevo_tests::cli::sqlite3;
use relevo_tests::client::{Client, Connect, assert_rising_without_doubles};
use relevo_tests::follower::Follower;
use relevo_tests::frame::{Frame, Place};
use relevo_tests::holes::assert_one_for_each_gap;
use relevo_tests::oracle::{Expected, Tally, assert_same, expected, seen};
use relevo_tests::panel;
use relevo_tests::random::Random;
use relevo_tests::server::Server;
use relevo_tests::wait::{SOON, until};
use relevo_tests::workload::{CliWriter, Logged, OwnWriter, PREPARE, in_order, transactions};
use relevo_tests::world::World;
use serde_json::Value;

use super::backups::{done, elsewhere, place, place_after_change, stop, text};

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
    // What the backup had read and not yet made messages of comes behind the gap.
    let holes = assert_one_for_each_gap(&frames, &["tasks"], &all);
    let before_the_restore = holes.iter().all(|hole| hole.at + hole.lost <= first);
    assert!(before_the_restore, "changes after the restore are missing: {holes:?}, {first} before it");
    panel::assert_equals_a_count(&world, &server);
    println!(
        "backup: {} bytes, {meanwhile} changes while it was taken; {} changes, {} of {} messages, {gaps} gaps: {}; before the gap {before}",
        said["bytes"],
        log.len(),
        messages.len(),
        all.len(),
        Tally::of(&messages, &all)
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
    let tally = assert_same("all of it", &there, &tasks_of(&log));
    panel::assert_equals_a_count(&world, &server);
    println!("backup: {first} messages before it, {} after it: {tally}", there.len() - first);
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
