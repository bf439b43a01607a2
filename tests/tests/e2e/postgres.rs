//! PostgreSQL as the source: from a committed row to every client, through the plugins, whatever crashes.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use relevo_tests::binary;
use relevo_tests::client::{Client, Connect};
use relevo_tests::frame::Frame;
use relevo_tests::panel;
use relevo_tests::postgres::{DATABASE, Postgres};
use relevo_tests::server::{Process, Server};
use relevo_tests::wait::{SOON, until};
use relevo_tests::world::{self, World};

fn next_on(client: &mut Client, channel: &str) -> Frame {
    client.expect("a message", |f| f.is_of(channel))
}

#[test]
fn changes_of_rows_reach_clients_through_all_three_plugins() {
    let world = World::postgres();
    let server = world.serve();
    let how = Connect::admin().to("tasks").to("efectivos").to("dashboard:kpis");
    let mut client = Client::connect(server.address, &how);
    world.sql("update tareas set estado = 'PAUSED', titulo = 'Otra' where id = 2");
    let frame = next_on(&mut client, "tasks");
    let task = &frame.data()["task_data"];
    assert_eq!(frame.event_type(), "task_status_changed", "{}", frame.raw);
    assert_eq!((task["old_status"].as_str(), task["new_status"].as_str()), (Some("en_curso"), Some("pausada")));
    assert_eq!(task["titulo"], "Otra", "{}", frame.raw);
    world.sql("update efectivos set estado_disponibilidad = 'FUERA_SERVICIO' where id = 2");
    next_on(&mut client, "efectivos");
    panel::assert_equals_a_count(&world, &server);
    world.sql("update usuarios set hashed_password = 'geheim-neu', nombre = 'Anastasia' where id = 1; delete from tareas where id = 2");
    client.expect("the task is deleted", |f| f.is_of("tasks") && f.event_type() == "task_deleted");
    assert!(server.stop(SOON).status.success());
    assert!(world.journal_holds("Anastasia") && !world.journal_holds("geheim"), "an excluded column never enters");
}

#[test]
fn a_role_that_may_not_make_tables_is_told_which_grant_it_lacks() {
    let postgres = Postgres::start();
    postgres.sql("create role \"the app\" login; revoke create on schema public from public");
    let url = postgres.url(DATABASE).replace("//relevo@", "//the%20app@");
    let world = World::bare().set_environment("RELEVO_DATABASE_URL", &url);
    let ended = world.run(&["migrate"]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    let grant = ended.log.split_once("run in that database: ").unwrap_or_else(|| panic!("{}", ended.log)).1;
    assert_eq!(grant.trim(), "GRANT CREATE ON SCHEMA public TO \"the app\";");
    postgres.sql("alter role \"the app\" set search_path = nowhere");
    let ended = world.run(&["migrate"]);
    assert!(ended.log.contains("may use no schema of its search_path (nowhere)"), "{}", ended.log);
    postgres.sql("alter role \"the app\" reset search_path");
    postgres.sql(grant);
    world.migrate();
}

const BOARDS: [&str; 2] = ["tasks:board", "efectivos:board"];

#[test]
fn a_table_that_is_truncated_is_told_and_leaves_every_board_empty() {
    let world = World::postgres();
    let server = world.serve();
    // A board sends all its keys before it says that it is subscribed.
    let on_boards = |server: &Server| {
        let mut client = Client::connect(server.address, &Connect::admin().to("tasks").to("efectivos"));
        BOARDS.iter().for_each(|board| drop(client.subscribe(board)));
        client
    };
    let keys = |client: &Client| {
        let rows = client.frames.iter().filter(|f| BOARDS.iter().any(|board| f.is_of(board)) && !f.is_deleted());
        rows.count()
    };
    panel::assert_equals_a_count(&world, &server);
    let mut client = on_boards(&server);
    assert_eq!(keys(&client), 4, "two tasks and two efectivos: {:?}", client.frames);
    world.sql("truncate tareas, efectivos");
    let (mut told, mut gone) = (BTreeSet::new(), 0);
    while told.len() < 2 || gone < 4 {
        let of = |f: &Frame| f.is_of("tasks") || f.is_of("efectivos") || f.is_deleted();
        let frame = client.expect("what was deleted", of);
        if frame.is_deleted() {
            gone += 1;
        } else {
            assert!(frame.data()["task_id"].is_null() && frame.data()["efectivo_id"].is_null(), "{}", frame.raw);
            told.insert(frame.event_type().to_owned());
        }
    }
    assert_eq!(told, ["efectivo_deleted".to_owned(), "task_deleted".to_owned()].into());
    panel::assert_equals_a_count(&world, &server);
    assert_eq!(keys(&on_boards(&server)), 0);
    world.sql(world::TASKS);
    client.expect("a task again", |f| f.is_of("tasks") && f.event_type() == "task_created");
    panel::assert_equals_a_count(&world, &server);
}

#[test]
fn the_demo_runs_on_a_throw_away_postgres_that_goes_with_the_server_even_if_that_is_killed() {
    let world = World::bare();
    let temporary = tempfile::tempdir().unwrap();
    // Another account may run the database's server.
    std::fs::set_permissions(temporary.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let serve = world.command(&["serve", "--demo"]);
    // What `cargo xtask run --postgres` does with the optimised server.
    let mut command = Command::new(binary::scratch_postgres());
    command.arg(serve.get_program()).args(serve.get_args()).current_dir(world.data());
    for (name, value) in serve.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("TMPDIR", temporary.path());
    let server = Server::listening(Process::start(command)).ready();
    let mut client = Client::connect(server.address, &Connect::admin().to("efectivos").to("dashboard:kpis"));
    client.expect("the simulated day", |f| f.is_of("efectivos"));
    let database = || Some(std::fs::read_dir(temporary.path()).unwrap().next()?.unwrap().path());
    let folder = database().expect("the database's folder");
    let server_id = std::fs::read_to_string(folder.join("data/postmaster.pid")).unwrap();
    let postmaster = Path::new("/proc").join(server_id.lines().next().unwrap());
    assert!(postmaster.exists());
    server.kill();
    until("the database's end", SOON, || (!postmaster.join("cwd").exists() && database().is_none()).then_some(()));
}
