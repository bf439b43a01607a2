//! One large transaction in PostgreSQL goes through the whole server, also one that is killed in the midst of it,
//! and it needs no more memory for it.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use relevo_tests::client::{Connect, assert_rising_without_doubles};
use relevo_tests::follower::Follower;
use relevo_tests::frame::Frame;
use relevo_tests::oracle::{Expected, assert_same, expected, seen};
use relevo_tests::random::Random;
use relevo_tests::wait::SOON;
use relevo_tests::witness::database;
use relevo_tests::workload::{Op, postgres_transaction};
use relevo_tests::world::World;
use serde_json::Value;

const ROWS: usize = 100_000;

/// Over what an idle server has held: the journal's and the client's queues, and the allocator's slack. The rows
/// as events take several times that.
const GROWTH: u64 = 256 << 20;

#[test]
fn a_transaction_of_100_000_rows_comes_whole_and_in_order_in_bounded_memory() {
    let world = World::postgres();
    let server = world.serve();
    let follower = Follower::start(Connect::by("2", "LEVEL_1").to("tasks"));
    follower.server_is_at(server.address);
    follower.wait_connected(1, SOON);
    let before = server.most_memory();
    let begun = Instant::now();
    world.sql(&format!(
        "insert into tareas (id, uuid, codigo, titulo, descripcion, tipo, prioridad, estado, creado_por_usuario_id)
         select n, 'l-' || n, 'L-' || n, 'large ' || n, repeat('x', 300), 'PATRULLAJE', 'LOW', 'PROGRAMMED', 1
         from generate_series(1000, {}) as n",
        999 + ROWS
    ));
    follower.wait_messages("tasks", ROWS, Duration::from_secs(120));
    let took = begun.elapsed();
    // What would come twice comes before this.
    world.sql("update tareas set titulo = 'the end' where id = 1");
    let is_end = |frame: &Frame| frame.is_of("tasks") && frame.data()["task_data"]["titulo"] == "the end";
    follower.wait_for("the end", SOON, is_end);
    let grown = server.most_memory().saturating_sub(before);
    let frames = follower.frames();
    let seen: Vec<String> = frames
        .iter()
        .filter(|frame| frame.is_of("tasks") && !is_end(frame))
        .map(|frame| frame.data()["task_data"]["titulo"].as_str().unwrap_or_default().to_owned())
        .collect();
    println!(
        "a large transaction: {ROWS} changes, {} messages in {took:.1?}, {} connections; most memory grew by {} MiB",
        seen.len(),
        follower.connections(),
        grown >> 20
    );
    assert_eq!(seen.len(), ROWS, "none lost, none doubled");
    for (at, title) in seen.iter().enumerate() {
        assert_eq!(title, &format!("large {}", 1000 + at), "in the order of the rows");
    }
    assert_rising_without_doubles(&frames);
    assert!(grown < GROWTH, "the server's most memory grew by {} MiB", grown >> 20);
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
