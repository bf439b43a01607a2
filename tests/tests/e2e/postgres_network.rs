//! The network between Relevo and PostgreSQL breaks, or dies without a word, while tasks are written.

use relevo_tests::network::Network;
use relevo_tests::postgres::{DATABASE, Postgres};
use relevo_tests::witness::{Witness, rounds};
use relevo_tests::world::World;

fn over_a_network() -> (World, Network) {
    // The server's own half of a connection that fell silent holds the slot until it notices.
    let postgres = Postgres::with(&["wal_sender_timeout=2s"]);
    let network = Network::to(postgres.socket());
    let world = World::over(postgres, |world| {
        world.source("silence = \"1s\"").set_environment("RELEVO_DATABASE_URL", &network.url(DATABASE))
    });
    (world, network)
}

#[test]
fn a_network_that_is_cut_three_times_under_writes_costs_nothing() {
    let (world, network) = over_a_network();
    let server = world.serve();
    let mut witness = Witness::of("network cut", &world, &server);
    for _ in 0..rounds(3) {
        witness.sees(150);
        network.cut();
        server.wait_readyz("the cut", |status, body| status == 503 && body.contains("source gad"));
        network.mend();
        server.wait_readyz("that it goes on", |status, _| status == 200);
        witness.fault("cut, and mended");
    }
    witness.sees(150);
    witness.judge(&world, &server);
}

#[test]
fn a_network_that_falls_silent_three_times_under_writes_costs_nothing() {
    let (world, network) = over_a_network();
    let server = world.serve();
    let mut witness = Witness::of("network silent", &world, &server);
    for _ in 0..rounds(3) {
        witness.sees(150);
        network.fall_silent();
        server.wait_readyz("the silence", |status, body| {
            status == 503 && (body.contains("silent") || body.contains("answer"))
        });
        network.mend();
        server.wait_readyz("that it goes on", |status, _| status == 200);
        witness.fault("silent, and mended");
    }
    witness.sees(150);
    witness.judge(&world, &server);
    assert!(network.carried() > 0);
}
