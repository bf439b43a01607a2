//! Relevo and PostgreSQL are killed while tasks are written: everything comes once and in order.

use std::os::unix::process::ExitStatusExt;
use std::time::Instant;

use relevo_tests::postgres::Stop;
use relevo_tests::wait::SOON;
use relevo_tests::witness::{Witness, rounds};
use relevo_tests::world::World;

const FAILPOINTS: [&str; 8] = [
    "append.before",
    "append.after",
    "commit.before",
    "commit.after",
    "send.before",
    "send.after",
    "acknowledge.before",
    "acknowledge.after",
];

#[test]
fn relevo_killed_sixteen_times_under_writes_loses_nothing_and_doubles_nothing() {
    let world = World::postgres();
    let first = world.serve();
    let mut witness = Witness::of("kill -9", &world, &first);
    first.kill();
    // Each failpoint once, and a random moment behind each.
    for round in 0..rounds(2 * FAILPOINTS.len()) {
        if round % 2 == 0 {
            let (point, nth) = (FAILPOINTS[(round / 2) % FAILPOINTS.len()], witness.random.between(1, 10));
            let mut process = world.start_with_failpoint(point, nth);
            if let Some(line) = process.wait_for_line("listening on ws://", SOON) {
                let (_, rest) = line.split_once("ws://").expect("an address");
                witness.server_is_at(rest.split('/').next().and_then(|a| a.parse().ok()).expect("an address"));
            }
            let deadline = Instant::now() + SOON;
            while process.runs() {
                assert!(Instant::now() < deadline, "{point} was never passed:\n{}", process.log.text());
                std::thread::park_timeout(std::time::Duration::from_millis(5));
            }
            assert_eq!(process.wait(SOON).status.signal(), Some(9), "the failpoint kills with SIGKILL");
            witness.fault(&format!("at {point}, pass {nth}"));
        } else {
            let server = world.serve();
            witness.server_is_at(server.address);
            let more = usize::try_from(witness.random.between(1, 150)).unwrap();
            witness.sees(more);
            server.kill();
            witness.fault(&format!("after {more} messages"));
        }
    }
    let server = world.serve();
    witness.server_is_at(server.address);
    witness.sees(1);
    witness.judge(&world, &server);
}

#[test]
fn postgres_crashing_three_times_under_writes_loses_nothing_and_doubles_nothing() {
    let mut world = World::postgres();
    let server = world.serve();
    let mut witness = Witness::of("postgres crashes", &world, &server);
    for _ in 0..rounds(3) {
        witness.sees(150);
        let postgres = world.postgres.as_mut().unwrap();
        postgres.down(Stop::Immediate);
        postgres.up();
        witness.fault("immediate restart");
    }
    witness.sees(150);
    witness.judge(&world, &server);
}
