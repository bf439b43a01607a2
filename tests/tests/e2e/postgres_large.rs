//! One large transaction in PostgreSQL goes through the whole server, and it needs no more memory for it.

use std::time::{Duration, Instant};

use relevo_tests::client::{Connect, assert_rising_without_doubles};
use relevo_tests::follower::Follower;
use relevo_tests::frame::Frame;
use relevo_tests::wait::SOON;
use relevo_tests::world::World;

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
