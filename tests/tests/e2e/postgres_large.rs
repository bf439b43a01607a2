//! One large transaction in PostgreSQL goes through the whole server, also one that is killed in the midst of it,
//! and it needs no more memory than for a small one.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use relevo_tests::client::{Client, Connect, assert_rising_without_doubles};
use relevo_tests::follower::Follower;
use relevo_tests::frame::Frame;
use relevo_tests::oracle::{Expected, assert_same, expected, seen};
use relevo_tests::panel;
use relevo_tests::postgres::Postgres;
use relevo_tests::random::Random;
use relevo_tests::wait::SOON;
use relevo_tests::witness::database;
use relevo_tests::workload::{Op, postgres_transaction};
use relevo_tests::world::World;
use serde_json::Value;

const ROWS: usize = 100_000;

/// A transaction that fits into every queue on the way.
const FEW: usize = 10_000;

/// More than what those few rows need: the allocator's slack, for each thread. The rows as events take several times that.
const MARGIN: u64 = 48 << 20;

#[test]
fn a_transaction_of_100_000_rows_comes_whole_and_in_order_in_the_memory_that_10_000_need() {
    let [few, many] = [FEW, ROWS].map(most_memory_for);
    assert!(many < few + MARGIN, "{} MiB for {ROWS} rows, {} MiB for {FEW}", many >> 20, few >> 20);
}

/// The most memory that a server holds while so many rows of one transaction go through it.
fn most_memory_for(rows: usize) -> u64 {
    // What the journal keeps in memory would hide what else is held.
    let world = World::over(Postgres::start(), |world| world.set("journal.memory = \"4MiB\""));
    let server = world.serve();
    let how = Connect::by("2", "LEVEL_1").to("tasks");
    let mut client = Client::connect(server.address, &how);
    panel::assert_equals_a_count(&world, &server);
    server.forget_most_memory();
    let begun = Instant::now();
    let mut writer = database(&world).meanwhile(&format!(
        "insert into tareas (id, uuid, codigo, titulo, descripcion, tipo, prioridad, estado, creado_por_usuario_id)
         select n, 'l-' || n, 'L-' || n, 'large ' || n, repeat('x', 500), 'PATRULLAJE', 'LOW', 'PROGRAMMED', 1
         from generate_series(1000, {}) as n;
         update tareas set titulo = 'the end' where id = 1;",
        999 + rows
    ));
    let (mut came, mut offset, mut connections) = (0, 0, 1);
    loop {
        if client.find(SOON * 4, |frame| frame.is_of("tasks")).is_none() {
            // Too slow: it comes back with its place.
            assert!(client.ended.is_some(), "no more messages after {came}");
            client = Client::connect(server.address, &how.clone().after(&client.place));
            connections += 1;
            continue;
        }
        let frame = client.frames.pop().expect("the message");
        // All of them are more than this process should hold.
        client.frames.clear();
        assert!(frame.offset() > offset, "after offset {offset} came {}", frame.raw);
        offset = frame.offset();
        let title = &frame.data()["task_data"]["titulo"];
        // What would come twice comes before this.
        if title == "the end" {
            break;
        }
        assert_eq!(title, &format!("large {}", 1000 + came), "in the order of the rows");
        came += 1;
    }
    let most = server.most_memory();
    assert!(writer.wait().expect("psql ends").success());
    assert_eq!(came, rows, "none lost, none doubled");
    println!(
        "a large transaction: {rows} changes, {came} messages in {:.1?}, {connections} connections; at most {} MiB",
        begun.elapsed(),
        most >> 20
    );
    most
}

/// Changes that one transaction tries; some find no row.
const CHANGES: usize = 8_000;

/// Where the server dies: at which chunk of a transaction.
const DEATHS: [(&str, u64); 4] = [("chunk.after", 1), ("chunk.after", 3), ("chunk.before", 4), ("chunk.after", 6)];

#[test]
fn relevo_killed_within_a_large_transaction_shows_no_part_of_it_and_goes_on_where_it_was() {
    let world = World::postgres();
    let mut random = Random::from_environment("large transaction");
    let follower = Follower::start(Connect::by("2", "LEVEL_1").to("tasks"));
    let server = world.serve();
    follower.server_is_at(server.address);
    follower.wait_connected(1, SOON);
    assert!(server.stop(SOON).status.success());
    let (mut log, mut told, mut shown) = (Vec::new(), 0, 0);
    for (point, nth) in DEATHS {
        let mut process = world.start_with_failpoint(point, nth);
        let line = process.wait_for_line("listening on ws://", SOON).expect("the server listens");
        let (_, address) = line.split_once("ws://").expect("an address");
        follower.server_is_at(address.split('/').next().and_then(|a| a.parse().ok()).expect("an address"));
        let ops = (0..CHANGES).map(|_| Op::random(&mut random)).collect();
        let (sql, more) = postgres_transaction(log.len() as u64 + 1, ops);
        log.extend(more);
        // A heartbeat right before: a place that the journal doesn't have yet when the first chunk is full.
        let sql = format!("select pg_logical_emit_message(true, 'relevo', '');\n{sql}");
        assert!(database(&world).meanwhile(&sql).wait().expect("psql ends").success());
        assert_eq!(process.wait(SOON).status.signal(), Some(9), "{point} kills with SIGKILL");
        assert_eq!(changes(&world).len(), told, "{point}, pass {nth}: a part of the transaction can be read");
        let died_at = sound(&world)["head"].as_u64().expect("a number");

        let server = world.serve();
        follower.server_is_at(server.address);
        let expected: Vec<Expected> = expected(&log).into_iter().filter(|e| e.channel == "tasks").collect();
        follower.wait_messages("tasks", expected.len(), Duration::from_secs(120));
        assert!(server.stop(SOON).status.success());
        let frames = follower.frames();
        let messages: Vec<&Frame> = frames.iter().filter(|frame| frame.is_of("tasks")).collect();
        assert_same("tasks", &messages.iter().map(|frame| seen(frame)).collect::<Vec<_>>(), &expected);
        assert!(messages[shown..].iter().all(|frame| frame.offset() > died_at), "none was seen before the kill");
        assert_rising_without_doubles(&frames);
        let numbers = changes(&world);
        let of_it = &numbers[told..];
        assert!(of_it.len() >= 6_000, "{} changes are no large transaction", of_it.len());
        assert_eq!(of_it[of_it.len() - 1] - of_it[0] + 1, of_it.len() as u64, "it came at one stroke");
        println!("killed at {point}, pass {nth}: {} changes, {} messages", of_it.len(), messages.len() - shown);
        (told, shown) = (numbers.len(), messages.len());
    }
    sound(&world);
}

/// The numbers of all changes that can be read in the journal.
fn changes(world: &World) -> Vec<u64> {
    let exported = world.command(&["journal", "export", "--kind", "event"]).output().expect("the command runs");
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    let lines: Vec<Value> =
        exported.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let changes = lines.iter().filter(|line| line["event"] == "change" && line["operation"] != "snapshot");
    changes.map(|line| line["number"].as_u64().expect("a number")).collect()
}

/// What `relevo journal check` says of a sound journal.
fn sound(world: &World) -> Value {
    let report = world.command(&["journal", "check", "--json"]).output().expect("the command runs");
    let text = String::from_utf8_lossy(&report.stdout);
    assert!(report.status.success(), "the journal is damaged: {text}");
    serde_json::from_str(&text).expect("a report in JSON")
}
