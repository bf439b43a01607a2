//! Every kind of change that another process makes is seen with the right rows before and after.

use relevo_tests::client::{Client, Connect};
use relevo_tests::frame::Frame;
use relevo_tests::server::Server;
use relevo_tests::wait::{SOON, until};
use relevo_tests::world::World;

/// A world, its server, and a client that reads `tasks`.
fn watched() -> (World, Server, Client) {
    let world = World::new();
    let server = world.serve();
    let client = Client::connect(server.address, &Connect::admin().to("tasks"));
    (world, server, client)
}

/// The one message that a statement must bring: whatever comes next on the channel.
fn next_task_event(client: &mut Client) -> Frame {
    client.expect("a message on tasks", |f| f.is_of("tasks"))
}

fn assert_event(frame: &Frame, event_type: &str, task: u64) {
    assert_eq!(frame.event_type(), event_type, "{}", frame.raw);
    assert_eq!(frame.kind(), "task_event", "{}", frame.raw);
    assert_eq!(frame.data()["task_id"], task, "{}", frame.raw);
}

fn assert_status(frame: &Frame, old: &str, new: &str) {
    let task = &frame.data()["task_data"];
    assert_eq!((task["old_status"].as_str(), task["new_status"].as_str()), (Some(old), Some(new)), "{}", frame.raw);
}

const INSERT: &str = "insert into tareas (id, uuid, codigo, titulo, tipo, prioridad, estado, creado_por_usuario_id,
      efectivos_asignados, created_at, updated_at)
    values (7, 't-7', 'T-007', 'Nueva', 'PATRULLAJE', 'HIGH', 'PROGRAMMED', 1, '[]', '2026-01-01', '2026-01-01')";

#[test]
fn an_inserted_row_is_a_created_task() {
    let (world, _server, mut client) = watched();
    world.sql(INSERT);
    let frame = next_task_event(&mut client);
    assert_event(&frame, "task_created", 7);
    assert_eq!(frame.data()["task_data"]["titulo"], "Nueva", "{}", frame.raw);
}

#[test]
fn an_updated_row_is_an_updated_task() {
    let (world, _server, mut client) = watched();
    world.sql("update tareas set titulo = 'Otra' where id = 1");
    let frame = next_task_event(&mut client);
    assert_event(&frame, "task_updated", 1);
    assert_eq!(frame.data()["task_data"]["titulo"], "Otra", "{}", frame.raw);
}

#[test]
fn a_changed_state_is_shown_with_the_old_and_the_new_one() {
    let (world, _server, mut client) = watched();
    world.sql("update tareas set estado = 'PAUSED' where id = 2");
    let frame = next_task_event(&mut client);
    assert_event(&frame, "task_status_changed", 2);
    assert_status(&frame, "en_curso", "pausada");
}

#[test]
fn a_deleted_row_is_a_deleted_task() {
    let (world, _server, mut client) = watched();
    world.sql("delete from tareas where id = 1");
    let frame = next_task_event(&mut client);
    assert_event(&frame, "task_deleted", 1);
    assert_eq!(frame.data()["task_data"]["titulo"], "Patrulla norte", "{}", frame.raw);
}

#[test]
fn a_soft_deleted_row_is_a_deleted_task() {
    let (world, _server, mut client) = watched();
    world.sql("update tareas set deleted_at = '2026-02-02T00:00:00Z' where id = 2");
    assert_event(&next_task_event(&mut client), "task_deleted", 2);
}

#[test]
fn insert_or_replace_of_a_known_key_is_a_change_with_the_exact_row_before() {
    let (world, _server, mut client) = watched();
    world.sql(&INSERT.replace("insert into", "insert or replace into").replace("(7,", "(2,"));
    let frame = next_task_event(&mut client);
    assert_event(&frame, "task_status_changed", 2);
    assert_status(&frame, "en_curso", "programada");
    world.sql("update tareas set titulo = 'mark' where id = 1");
    let next = next_task_event(&mut client);
    assert_eq!(next.data()["task_data"]["titulo"], "mark", "the replacement brought two messages: {}", next.raw);
}

#[test]
fn an_upsert_of_a_known_key_is_an_update() {
    let (world, _server, mut client) = watched();
    world.sql(&format!("{} on conflict (id) do update set estado = 'COMPLETED'", INSERT.replace("(7,", "(2,")));
    let frame = next_task_event(&mut client);
    assert_event(&frame, "task_status_changed", 2);
    assert_status(&frame, "en_curso", "finalizada");
}

#[test]
fn a_row_that_takes_the_place_of_another_through_a_unique_column_deletes_that_one() {
    let (world, _server, mut client) = watched();
    // Row 9 conflicts with row 2 by its uuid: SQLite deletes row 2 without firing its delete trigger.
    world.sql(&INSERT.replace("insert into", "insert or replace into").replace("(7, 't-7'", "(9, 't-2'"));
    let mut got = [next_task_event(&mut client), next_task_event(&mut client)];
    got.sort_by_key(|frame| frame.data()["task_id"].as_u64());
    assert_event(&got[0], "task_deleted", 2);
    assert_event(&got[1], "task_created", 9);
}

#[test]
fn a_row_with_a_blob_can_be_written_and_is_seen() {
    let world = World::new();
    world.sql("alter table tareas add column foto blob");
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks"));
    // json_object() refuses BLOBs: a careless trigger would fail the user's own statement.
    world.sql("update tareas set foto = x'00ff10', titulo = 'con blob' where id = 1");
    let frame = next_task_event(&mut client);
    assert_event(&frame, "task_updated", 1);
    assert_eq!(frame.data()["task_data"]["titulo"], "con blob", "{}", frame.raw);
    world.sql("delete from tareas where id = 1");
    assert_event(&next_task_event(&mut client), "task_deleted", 1);
}

#[test]
fn one_statement_that_changes_many_rows_brings_all_of_them_in_order() {
    let (world, _server, mut client) = watched();
    world.sql(
        "with recursive n(i) as (select 1000 union all select i + 1 from n where i < 3499)
         insert into tareas (id, uuid, codigo, titulo, tipo, prioridad, estado, creado_por_usuario_id,
           efectivos_asignados, created_at, updated_at)
         select i, 'm-' || i, 'M-' || i, 'masa', 'PATRULLAJE', 'LOW', 'PROGRAMMED', 1, '[]', '2026', '2026' from n",
    );
    for id in 1000..3500_u64 {
        assert_event(&next_task_event(&mut client), "task_created", id);
    }
}

#[test]
fn a_column_added_while_the_server_runs_is_captured() {
    let (world, _server, mut client) = watched();
    world.sql("alter table tareas add column zona text");
    // The statement that adds the column is not awaited. A change before the triggers are made anew comes
    // as itself or as a gap, never in silence; later ones show the column.
    let mut n = 0;
    until("the new column's value in the journal", SOON, || {
        n += 1;
        world.sql(&format!("update tareas set zona = 'zona-nueva-{n}', titulo = 'z {n}' where id = 1"));
        let is_it = |f: &Frame| f.is_of("tasks") && f.data()["task_data"]["titulo"] == format!("z {n}");
        let frame = client.expect("the update, or a gap", |f| is_it(f) || f.kind() == "gap");
        if frame.kind() == "gap" {
            return None;
        }
        assert_event(&frame, "task_updated", 1);
        world.journal_holds(&format!("zona-nueva-{n}")).then_some(())
    });
}

#[test]
fn an_excluded_column_reaches_neither_the_wire_nor_the_journal() {
    let world = World::new();
    let server = world.serve();
    let how = Connect::admin().to("tasks").to("tasks:board").to("efectivos").to("efectivos:board");
    let mut client = Client::connect(server.address, &how);
    world.sql(
        "update usuarios set hashed_password = 'geheim-neu', nombre = 'Anastasia' where id = 1;
         update tareas set titulo = 'danach' where id = 1;",
    );
    client.expect("the change after", |f| f.is_of("tasks") && f.data()["task_data"]["titulo"] == "danach");
    assert!(server.stop(SOON).status.success());
    assert!(world.journal_holds("Anastasia"), "the search itself must find what is there");
    assert!(!world.journal_holds("geheim"), "a password's hash is in the journal");
    for frame in &client.frames {
        assert!(!frame.raw.contains("geheim"), "{}", frame.raw);
    }
}
