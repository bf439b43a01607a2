//! The journal has no room while tasks are written: the server says so and waits, and goes on by itself when there
//! is room again; everything comes once and in order.

use relevo_tests::postgres::Postgres;
use relevo_tests::server::{Process, Server, wait_for};
use relevo_tests::small_disk::SmallDisk;
use relevo_tests::token::token;
use relevo_tests::wait::SOON;
use relevo_tests::witness::Witness;
use relevo_tests::world::World;

/// Begins a server that may have no room, so that it need not become ready.
fn begin(world: &World) -> Server {
    Server::listening(Process::start(world.command(&["serve"])))
}

/// Waits until the server says that it has no room, in all ways that it has.
fn says_that_there_is_no_room(server: &Server) {
    let why = server.wait_readyz("no room", |status, body| status == 503 && body.contains("no room for the journal"));
    assert!(why.contains("journal.max_bytes") && why.contains("make room"), "it says what to do: {why}");
    // What is small may still find room in between.
    wait_for("the metric", || {
        server.get_as("/metrics", "900", "ADMIN").1.contains("relevo_journal_no_room 1").then_some(())
    });
    let headers = [format!("Authorization: Bearer {}", token("900", "ADMIN")), "Content-Type: application/json".into()];
    // Larger than what a page's rest may still take.
    let body = serde_json::json!({"level": "info", "title": "x", "content": noise(12_000)}).to_string();
    let answer = server.http("POST", "/api/v1/events", &headers, &body);
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.body.contains("no_room"), "{}", answer.body);
    assert!(answer.header("retry-after").is_some(), "it says when to ask again");
}

/// Text that can't be compressed to nothing.
fn noise(length: usize) -> String {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + u8::try_from(state % 90).expect("below 90"))
    };
    (0..length).map(|_| next()).filter(|c| *c != '"' && *c != '\\').collect()
}

#[test]
fn a_journal_at_its_largest_waits_even_when_killed_and_goes_on_when_it_may_be_larger() {
    let world = World::over(Postgres::start(), |world| world.set("journal.max_bytes = \"1MiB\""));
    // Ready first: what is written before its pipelines have the rows is in these, and no message.
    let server = world.serve();
    let mut witness = Witness::of("journal full", &world, &server);
    says_that_there_is_no_room(&server);
    let connections = witness.follower.connections();
    says_that_there_is_no_room(&server);
    assert_eq!(witness.follower.connections(), connections, "who was connected stays so");
    server.kill();
    witness.fault("kill -9 while full");
    let server = begin(&world);
    witness.server_is_at(server.address);
    says_that_there_is_no_room(&server);
    server.stop(SOON);
    witness.fault("stopped while full");
    let world = world.set("journal.max_bytes = \"256MiB\"");
    let server = world.serve();
    witness.server_is_at(server.address);
    witness.sees(50);
    witness.judge(&world, &server);
}

#[test]
fn a_full_file_system_is_waited_for_and_what_came_meanwhile_comes_when_there_is_room() {
    let mut small = None;
    let world = World::over(Postgres::start(), |world| {
        small = SmallDisk::mount(&world.data(), "128m");
        for plugin in ["tareas", "efectivos", "panel"].iter().filter(|_| small.is_some()) {
            world.install(plugin);
        }
        world
    });
    let Some(_small) = small else {
        println!("file system full: NOT TESTED, as this user may not mount a small file system");
        return;
    };
    let ballast = world.data().join("ballast");
    let server = world.serve();
    let mut witness = Witness::of("file system full", &world, &server);
    witness.sees(20);
    // Ends where there is no room any more.
    let filled = std::fs::write(&ballast, vec![1; 128 << 20]);
    assert!(filled.is_err(), "the file system is full");
    says_that_there_is_no_room(&server);
    let connections = witness.follower.connections();
    witness.fault("full while it runs");
    std::fs::remove_file(&ballast).expect("the ballast goes");
    server.wait_readyz("room again", |status, _| status == 200);
    witness.sees(50);
    assert_eq!(witness.follower.connections(), connections, "who was connected stays so");
    witness.judge(&world, &server);
}
