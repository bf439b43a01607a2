//! The process itself: how it stops, what it refuses, what its commands print.

use std::time::{Duration, Instant};

use relevo_tests::client::{Client, Connect};
use relevo_tests::server::Process;
use relevo_tests::token::signed;
use relevo_tests::websocket::Incoming;
use relevo_tests::world::World;
use serde_json::json;

#[test]
fn sigterm_stops_it_within_ten_seconds_and_clients_are_told() {
    let world = World::new();
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks"));
    let began = Instant::now();
    let ended = server.stop(Duration::from_secs(20));
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    let end = client.expect_end(Duration::from_secs(5));
    assert!(matches!(end, Incoming::Close(4000, _)), "{end:?}");
}

#[test]
fn sigterm_stops_it_in_time_even_with_a_client_that_reads_nothing() {
    let world = World::new();
    let server = world.serve();
    let _silent = Client::connect_narrow(server.address, &Connect::admin().to("tasks"));
    world.sql("update tareas set descripcion = hex(zeroblob(200000))");
    let began = Instant::now();
    let ended = server.stop(Duration::from_secs(20));
    assert!(began.elapsed() < Duration::from_secs(11), "it took {:?}", began.elapsed());
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
}

#[test]
fn a_wrong_setting_stops_the_start_and_is_named() {
    for (line, name) in [
        ("plugins.batch_events = 0", "batch_events"),
        ("journal.durability = \"hope\"", "durability"),
        ("session.heartbeat = \"soon\"", "heartbeat"),
        ("no_such_setting = 1", "no_such_setting"),
    ] {
        let ended = World::bare().set(line).run(&["serve"]);
        assert_eq!(ended.status.code(), Some(2), "{line}: {}", ended.log);
        assert!(ended.log.contains(name), "{line}: {}", ended.log);
    }
}

#[test]
fn a_wrong_environment_variable_stops_the_start_and_is_named() {
    for (name, value) in [
        ("RELEVO_LISTEN", "nowhere"),
        ("RELEVO_DATABASE_URL", "oracle:prod"),
        ("RELEVO_JWT_SECRET", "short"),
        ("RELEVO_LOG", "loud=;;"),
    ] {
        let ended = World::bare().set_environment(name, value).run(&["serve"]);
        assert_eq!(ended.status.code(), Some(2), "{name}={value}: {}", ended.log);
        assert!(ended.log.contains(name), "{name}={value}: {}", ended.log);
    }
}

#[test]
fn a_second_process_on_the_same_data_folder_is_refused() {
    let world = World::new();
    let server = world.serve();
    let second = world.run(&["serve"]);
    assert!(!second.status.success(), "{}", second.log);
    assert_eq!(second.log.matches("in use by another relevo").count(), 1, "{}", second.log);
    // The same, where it would listen there, too: the folder says more than the port.
    let mut same = world.command(&["serve"]);
    same.env("RELEVO_LISTEN", server.address.to_string());
    let second = Process::start(same).wait(Duration::from_secs(20));
    assert!(second.log.contains("stop that one first") && !second.log.contains("a free port"), "{}", second.log);
    assert_eq!(server.get("/readyz").0, 200, "the first one isn't harmed");
}

#[test]
fn a_damaged_journal_is_refused_with_what_to_do() {
    let world = World::new();
    assert!(world.serve().stop(Duration::from_secs(20)).status.success());
    for file in world.journal_files() {
        if !file.to_string_lossy().ends_with(".lock") {
            std::fs::write(file, b"this was a journal once ".repeat(1000)).unwrap();
        }
    }
    let ended = world.run(&["serve"]);
    assert!(!ended.status.success(), "{}", ended.log);
    assert!(ended.log.contains("journal") && ended.log.contains("damaged"), "{}", ended.log);
}

#[test]
fn a_token_from_the_command_line_opens_a_session() {
    let world = World::new();
    let printed = world.run(&["token", "--user", "7", "--role", "LEVEL_2", "--ttl", "1h"]);
    assert!(printed.status.success(), "{}", printed.log);
    let token = printed.log.lines().find(|line| line.starts_with("ey")).unwrap().to_owned();
    let server = world.serve();
    let client = Client::connect(server.address, &Connect { token: Some(token), ..Connect::nobody() });
    let connected = &client.frames[0];
    assert_eq!((connected.text("user"), connected.text("role")), ("7", "LEVEL_2"), "{}", connected.raw);
}

#[test]
fn without_a_secret_one_is_made_and_only_the_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::bare().unset_environment("RELEVO_JWT_SECRET");
    world.migrate();
    let ask = || world.run(&["token", "--user", "7", "--role", "ADMIN", "--ttl", "1h"]);
    let file = world.data().join("jwt.secret");
    let early = ask();
    assert!(!early.status.success() && early.log.contains("start the server once"), "{}", early.log);
    assert!(!file.exists(), "a token of a secret that no server knows would be of no use");
    let server = world.serve();
    let token = ask().log.lines().find(|line| line.starts_with("ey")).unwrap().to_owned();
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    Client::connect(server.address, &Connect { token: Some(token), ..Connect::nobody() });
    let forged = signed(&json!({"sub": "7", "role": "ADMIN"}), relevo_tests::token::SECRET);
    let mut refused = Client::open(server.address, &Connect { token: Some(forged), ..Connect::nobody() }).unwrap();
    let end = refused.expect_end(Duration::from_secs(10));
    assert!(matches!(end, Incoming::Close(4500, _)), "{end:?}");
}

#[test]
fn it_says_that_it_lives() {
    let world = World::new();
    let server = world.serve();
    assert_eq!(server.get("/healthz").0, 200);
    assert_eq!(server.get("/nowhere").0, 404);
}
