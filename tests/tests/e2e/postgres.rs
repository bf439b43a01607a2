//! PostgreSQL as the source: from a committed row to every client, through the plugins, whatever crashes.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use relevo_tests::binary;
use relevo_tests::client::{Client, Connect, assert_rising_without_doubles};
use relevo_tests::follower::Follower;
use relevo_tests::frame::Frame;
use relevo_tests::oracle::{Expected, assert_same, expected, seen};
use relevo_tests::panel;
use relevo_tests::postgres::{Postgres, Stop};
use relevo_tests::random::Random;
use relevo_tests::server::{Process, Server};
use relevo_tests::wait::{SOON, until};
use relevo_tests::workload::{CliWriter, Logged, Op, PREPARE, in_order, transactions};
use relevo_tests::world::{World, file_contains};

/// Of each of the two writers, in a round.
const CHANGES: usize = 200;
const CATCH_UP: Duration = Duration::from_secs(180);

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
    let holds = |text: &str| world.own_files().iter().any(|file| file_contains(file, text));
    assert!(holds("Anastasia") && !holds("geheim"), "an excluded column never enters");
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

/// When a round's server dies.
#[derive(Debug)]
enum Death {
    Failpoint(&'static str, u64),
    /// When the client has got this many more messages.
    Received(usize),
}

const FAILPOINTS: [&str; 6] =
    ["append.before", "append.after", "commit.after", "send.before", "acknowledge.before", "acknowledge.after"];

#[test]
fn every_message_comes_once_and_in_order_however_often_server_and_database_are_killed() {
    let mut random = Random::from_environment("postgres kill");
    let mut world = World::postgres();
    world.sql(PREPARE);
    let follower = Follower::start(Connect::by("2", "LEVEL_1").to("tasks"));
    let first = world.serve();
    follower.server_is_at(first.address);
    follower.wait_connected(1, SOON);
    first.kill();

    let began = Instant::now();
    let mut log = Vec::new();
    for round in 0..8 {
        let death = if round % 2 == 0 {
            Death::Failpoint(FAILPOINTS[(round / 2) % FAILPOINTS.len()], random.between(1, 10))
        } else {
            Death::Received(usize::try_from(random.between(1, 300)).unwrap())
        };
        log.extend(kill_round(&world, &follower, &death, &mut random));
        if round % 4 == 3 {
            let postgres = world.postgres.as_mut().unwrap();
            postgres.down(Stop::Immediate);
            postgres.up();
        }
        println!("round {round}: {death:?}; {} changes, {:.1?}", log.len(), began.elapsed());
    }
    let server = world.serve();
    follower.server_is_at(server.address);
    let last = Op::Replace { id: 150, state: "PROGRAMMED", priority: "LOW" };
    log.extend(CliWriter::start_postgres(database(&world), vec![vec![last]]).finish());
    let log = in_order(log);
    let all = expected(&log);
    let of = |channel: &str| -> Vec<Expected> { all.iter().filter(|e| e.channel == channel).cloned().collect() };
    follower.wait_messages("tasks", of("tasks").len(), CATCH_UP);
    let frames = follower.frames();
    for channel in ["tasks", "user:2"] {
        let got: Vec<Expected> = frames.iter().filter(|f| f.is_of(channel)).map(seen).collect();
        assert_same(channel, &got, &of(channel));
    }
    assert_rising_without_doubles(&frames);
    assert!(frames.iter().all(|f| f.kind() != "gap"), "a killed process loses nothing, so there is no gap");
    panel::assert_equals_a_count(&world, &server);
    println!("{} changes, {} messages on tasks, {} connections", log.len(), of("tasks").len(), follower.connections());
}

fn database(world: &World) -> &Postgres {
    world.postgres.as_ref().expect("a world over PostgreSQL")
}

/// One start, two writers, one death. Returns what was written.
fn kill_round(world: &World, follower: &Follower, death: &Death, random: &mut Random) -> Vec<Logged> {
    let plans = [transactions(random, CHANGES), transactions(random, CHANGES)];
    let write = || plans.map(|plan| CliWriter::start_postgres(database(world), plan));
    let finish = |writers: [CliWriter; 2]| writers.into_iter().flat_map(CliWriter::finish).collect::<Vec<_>>();
    match death {
        Death::Failpoint(point, nth) => {
            let mut process = world.start_with_failpoint(point, *nth);
            let writers = write();
            if let Some(line) = process.wait_for_line("listening on ws://", SOON) {
                let (_, rest) = line.split_once("ws://").expect("an address");
                follower.server_is_at(rest.split('/').next().and_then(|a| a.parse().ok()).expect("an address"));
            }
            let mut log = finish(writers);
            let deadline = Instant::now() + SOON;
            while process.runs() {
                assert!(Instant::now() < deadline, "{point} was never passed:\n{}", process.log.text());
                log.extend(CliWriter::start_postgres(database(world), transactions(random, 20)).finish());
            }
            assert_eq!(process.wait(SOON).status.signal(), Some(9), "the failpoint kills with SIGKILL");
            log
        }
        Death::Received(n) => {
            let mut server = world.serve();
            follower.server_is_at(server.address);
            let before = follower.count("tasks");
            let writers = write();
            follower.wait_messages("tasks", before + n, CATCH_UP);
            assert!(server.process.runs(), "the server died by itself:\n{}", server.process.log.text());
            server.kill();
            finish(writers)
        }
    }
}
