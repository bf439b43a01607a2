//! The journal has no room while tasks are written: the server says so and waits, and goes on by itself when there
//! is room again; everything comes once and in order.

use relevo_tests::client::{Client, Connect};
use relevo_tests::frame::Frame;
use relevo_tests::postgres::Postgres;
use relevo_tests::server::{Process, Server};
use relevo_tests::small_disk::SmallDisk;
use relevo_tests::token::token;
use relevo_tests::wait::SOON;
use relevo_tests::witness::{Witness, rounds};
use relevo_tests::world::World;
use serde_json::json;

/// Begins a server that may have no room, so that it need not become ready.
fn begin(world: &World) -> Server {
    Server::listening(Process::start(world.command(&["serve"])))
}

/// Waits until the server says that it has no room, in all ways that it has.
fn says_that_there_is_no_room(server: &Server) {
    let why = server.wait_readyz("no room", |status, body| status == 503 && body.contains("no room for the journal"));
    assert!(why.contains("journal.max_bytes") && why.contains("make room"), "it says what to do: {why}");
    let metrics = server.get_as("/metrics", "900", "ADMIN").1;
    assert!(metrics.contains("relevo_journal_no_room 1"), "the metric stays too");
    let headers = [format!("Authorization: Bearer {}", token("900", "ADMIN")), "Content-Type: application/json".into()];
    // Larger than what a page's rest may still take.
    let body = json!({"level": "info", "title": "x", "content": noise(12_000)}).to_string();
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
    let mut world = World::over(Postgres::start(), |world| world.set("journal.max_bytes = \"1MiB\""));
    // Ready first: what is written before its pipelines have the rows is in these, and no message.
    let mut server = world.serve();
    let mut witness = Witness::of("journal full", &world, &server);
    let rounds = rounds(3);
    for round in 1..=rounds {
        says_that_there_is_no_room(&server);
        let connections = witness.follower.connections();
        says_that_there_is_no_room(&server);
        assert_eq!(witness.follower.connections(), connections, "who was connected stays so");
        server.kill();
        witness.fault("kill -9 while full");
        server = begin(&world);
        witness.server_is_at(server.address);
        says_that_there_is_no_room(&server);
        server.stop(SOON);
        witness.fault("stopped while full");
        // Room for what has gathered, and not much more; in the end for everything.
        let largest = if round == rounds { 256 } else { 1 + 2 * round };
        world = world.set(&format!("journal.max_bytes = \"{largest}MiB\""));
        server = begin(&world);
        witness.server_is_at(server.address);
        witness.sees(50);
    }
    witness.judge(&world, &server);
}

/// What fills the data folder.
fn ballast(world: &World) -> std::path::PathBuf {
    world.data().join("ballast")
}

/// Ends where there is no room any more.
fn fill(world: &World) {
    let filled = std::fs::write(ballast(world), vec![1; 128 << 20]);
    assert!(filled.is_err(), "the file system is full");
}

fn make_room(world: &World) {
    std::fs::remove_file(ballast(world)).expect("the ballast goes");
}

/// A world over a PostgreSQL whose data folder is a small file system of its own. None: this user may not mount one.
fn small_world() -> Option<(World, SmallDisk)> {
    let mut small = None;
    let world = World::over(Postgres::start(), |world| {
        small = SmallDisk::mount(&world.data(), "128m");
        for plugin in ["tareas", "efectivos", "panel"].iter().filter(|_| small.is_some()) {
            world.install(plugin);
        }
        world
    });
    if small.is_none() {
        println!("file system full: NOT TESTED, as this user may not mount a small file system");
    }
    small.map(|small| (world, small))
}

/// Publishes more than what a page's rest may still take.
fn publish(client: &mut Client) -> Frame {
    client.ask(json!({"type": "publish", "channel": "system", "event_type": "alert", "data": noise(12_000)}))
}

#[test]
fn a_full_file_system_is_waited_for_and_what_came_meanwhile_comes_when_there_is_room() {
    let Some((world, _small)) = small_world() else { return };
    let server = world.serve();
    let mut witness = Witness::of("file system full", &world, &server);
    let mut operator = Client::connect(server.address, &Connect::admin().to("system:operators"));
    for _ in 0..rounds(3) {
        witness.sees(20);
        fill(&world);
        says_that_there_is_no_room(&server);
        let refused = publish(&mut operator);
        assert_eq!((refused.kind(), refused.text("name")), ("error", "not_published"), "{}", refused.raw);
        assert!(refused.text("message").contains("no room"), "{}", refused.raw);
        let connections = witness.follower.connections();
        witness.fault("full while it runs");
        make_room(&world);
        server.wait_readyz("room again", |status, _| status == 200);
        let published = publish(&mut operator);
        assert_eq!(published.kind(), "published", "{}", published.raw);
        for code in ["journal_full", "journal_room"] {
            let told = |frame: &Frame| frame.is_of("system:operators") && frame.data()["code"] == code;
            // Not again for a while: what flaps doesn't flood.
            if !operator.frames.iter().any(told) {
                operator.expect(code, told);
            }
        }
        witness.sees(50);
        assert_eq!(witness.follower.connections(), connections, "who was connected stays so");
    }
    witness.judge(&world, &server);
}

/// Starts a server that can't before there is room.
fn wait_to_start(world: &World) -> Server {
    let mut process = Process::start(world.command(&["serve"]));
    let said = process.wait_for_line("the start waits for room", SOON);
    let said = said.unwrap_or_else(|| panic!("the server doesn't wait:\n{}", process.log.text()));
    let address = said.split("http://").nth(1).and_then(|rest| rest.split('/').next()?.parse().ok());
    let address = address.unwrap_or_else(|| panic!("no address in {said:?}"));
    Server { process, address }
}

#[test]
fn a_start_on_a_full_file_system_waits_and_goes_on_by_itself() {
    let Some((world, _small)) = small_world() else { return };
    fill(&world);
    println!("the first start of all");
    let server = wait_to_start(&world);
    server.wait_readyz("why it waits", |status, body| status == 503 && body.contains("make room"));
    assert_eq!(server.get("/healthz").0, 200);
    let answer = server.http("GET", "/api/v1/ws/connect", &[], "");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{}", answer.body);
    make_room(&world);
    server.wait_readyz("room", |status, _| status == 200);
    let mut witness = Witness::of("start while full", &world, &server);
    witness.sees(20);
    server.stop(SOON);
    fill(&world);
    witness.fault("started while full");
    let server = wait_to_start(&world);
    make_room(&world);
    server.wait_readyz("room", |status, _| status == 200);
    witness.server_is_at(server.address);
    witness.sees(20);
    fill(&world);
    says_that_there_is_no_room(&server);
    server.kill();
    witness.fault("kill -9 while full");
    // What the killed one held may be room enough.
    let process = Process::start(world.command(&["serve"]));
    make_room(&world);
    let server = Server::listening(process).ready();
    witness.server_is_at(server.address);
    witness.sees(50);
    witness.judge(&world, &server);
}
