//! The first start on rows that are there, and a start on a database that is no longer what it was.

use std::collections::{BTreeMap, BTreeSet};

use relevo_tests::client::{Client, Connect};
use relevo_tests::panel::assert_equals_a_count;
use relevo_tests::server::Server;
use relevo_tests::wait::SOON;
use relevo_tests::world::World;

/// The board as a new subscriber gets it: each key's title.
fn board(client: &mut Client, keys: usize) -> BTreeMap<String, String> {
    let mut board = BTreeMap::new();
    while board.len() < keys {
        let frame = client.expect("a key of the board", |f| f.is_of("tasks:board"));
        assert!(!frame.is_deleted(), "a new subscriber needs no tombstone: {}", frame.raw);
        board.insert(frame.key().to_owned(), frame.raw.clone());
    }
    board
}

fn stop(server: Server) {
    let ended = server.stop(SOON);
    assert!(ended.status.success(), "{}", ended.log);
}

#[test]
fn rows_that_were_there_before_the_first_start_are_on_the_board() {
    let world = World::new();
    world.sql(
        "with recursive n(i) as (select 100 union all select i + 1 from n where i < 2599)
         insert into tareas (id, uuid, codigo, titulo, tipo, prioridad, estado, creado_por_usuario_id,
           efectivos_asignados, created_at, updated_at)
         select i, 'b-' || i, 'B-' || i, 'fila ' || i, 'PATRULLAJE', 'LOW', 'PROGRAMMED', 1, '[]', '2026', '2026' from n",
    );
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks:board"));
    let board = board(&mut client, 2502);
    assert!(board["2599"].contains("fila 2599"), "{}", board["2599"]);
    assert_equals_a_count(&world, &server);
}

#[test]
fn the_first_start_brings_no_stream_messages_of_old_rows() {
    let world = World::new();
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks"));
    let mut everything = client.place.clone();
    everything.offset = 0;
    world.sql("update tareas set titulo = 'the first change' where id = 1");
    client.expect("the change", |f| f.is_of("tasks"));
    let mut late = Client::connect(server.address, &Connect::admin().to("tasks").after(&everything));
    let first = late.frames.iter().find(|f| f.is_of("tasks")).cloned();
    let first = first.unwrap_or_else(|| late.expect("history", |f| f.is_of("tasks")));
    assert_eq!(first.data()["task_data"]["titulo"], "the first change", "{}", first.raw);
}

#[test]
fn changes_made_while_the_server_was_down_are_seen_after_its_start() {
    let world = World::new();
    let server = world.serve();
    let client = Client::connect(server.address, &Connect::admin().to("tasks"));
    let place = client.place.clone();
    stop(server);
    for n in 0..30 {
        world.sql(&format!("update tareas set titulo = 'nobody watched {n}' where id = 1"));
    }
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks").after(&place));
    for n in 0..30 {
        let title = format!("nobody watched {n}");
        let frame = client
            .frames
            .iter()
            .filter(|f| f.is_of("tasks"))
            .nth(n)
            .cloned()
            .unwrap_or_else(|| client.expect("a change", |f| f.is_of("tasks")));
        assert_eq!(frame.data()["task_data"]["titulo"], title.as_str(), "{}", frame.raw);
    }
}

#[test]
fn a_restored_database_is_a_gap_and_everything_is_rebuilt() {
    let world = World::new();
    let server = world.serve();
    assert_equals_a_count(&world, &server);
    stop(server);
    world.sql("pragma wal_checkpoint(truncate)");
    let backup = std::fs::read(world.database()).unwrap();

    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks").to("tasks:board"));
    world.sql(
        "insert into tareas (id, uuid, codigo, titulo, tipo, prioridad, estado, creado_por_usuario_id,
           efectivos_asignados, created_at, updated_at)
         values (50, 't-50', 'T-050', 'after the backup', 'PATRULLAJE', 'HIGH', 'IN_PROGRESS', 1, '[]', '2026', '2026');
         update tareas set titulo = 'changed after the backup' where id = 1;",
    );
    client.expect("the update", |f| f.is_of("tasks") && f.event_type() == "task_updated");
    assert_equals_a_count(&world, &server);
    let place = client.place.clone();
    stop(server);

    for ending in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{ending}", world.database().display()));
    }
    std::fs::write(world.database(), backup).unwrap();
    // As many changes as were lost: sequence numbers alone would show nothing.
    world.sql("update tareas set titulo = 'other history' where id = 1; update tareas set titulo = 'other history' where id = 2;");
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks").to("tasks:board").after(&place));
    if !client.frames.iter().any(|f| f.kind() == "gap") {
        client.expect("gap", |f| f.kind() == "gap");
    }
    assert_equals_a_count(&world, &server);
    // The board of somebody new shows the restored rows, and no row that the backup hasn't.
    let mut new = Client::connect(server.address, &Connect::admin().to("tasks:board"));
    let board = board(&mut new, 2);
    assert_eq!(board.keys().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(["1", "2"]));
    assert!(board["1"].contains("other history"), "{}", board["1"]);
    world.sql("update tareas set titulo = 'life goes on' where id = 2");
    client.expect("the change", |f| f.is_of("tasks") && f.data()["task_data"]["titulo"] == "life goes on");
}
