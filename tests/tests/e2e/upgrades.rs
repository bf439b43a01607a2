//! What earlier versions left behind still works: their database, their journal. And `relevo migrate status`.

use relevo_tests::binary::workspace;
use relevo_tests::cli;
use relevo_tests::client::{Client, Connect};
use relevo_tests::frame::{Frame, Place};
use relevo_tests::panel::assert_equals_a_count;
use relevo_tests::server::{Process, Server};
use relevo_tests::wait::SOON;
use relevo_tests::world::World;

/// The epoch of the journal among the fixtures.
const EPOCH: &str = "f50d5b34f371461494a355938474ff15";

fn fixture(name: &str) -> String {
    let path = workspace().join("tests/fixtures").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn status_says_what_is_to_do_and_makes_nothing() {
    let world = World::bare();
    let before = world.run(&["migrate", "status"]);
    assert_eq!(before.status.code(), Some(1), "{}", before.log);
    assert!(before.log.contains("gad/0001_usuarios") && before.log.contains("pending"), "{}", before.log);
    assert!(!world.database().exists() && !world.data().join("journal.db").exists());
    world.migrate();
    let after = world.run(&["migrate", "status"]);
    assert_eq!(after.status.code(), Some(0), "{}", after.log);
    assert!(after.log.matches("applied").count() == 3 && !after.log.contains("pending"), "{}", after.log);
    assert!(after.log.contains("there is none yet"), "{}", after.log);
    world.sql("update _relevo_migrations set hash = 'x' where name = 'gad/0003_tareas'");
    let changed = world.run(&["migrate", "status"]);
    assert_eq!(changed.status.code(), Some(1), "{}", changed.log);
    assert!(changed.log.contains("changed"), "{}", changed.log);
}

#[test]
fn a_database_of_the_first_version_is_brought_up_to_date_and_served() {
    let world = World::bare();
    world.sql(&fixture("gad-first-version.sql"));
    let rows = world.sql("select * from usuarios; select * from efectivos; select * from tareas");
    let migrated = world.run(&["migrate"]);
    assert!(migrated.status.success(), "{}", migrated.log);
    assert_eq!(world.sql("select * from usuarios; select * from efectivos; select * from tareas"), rows);
    let status = world.run(&["migrate", "status"]);
    assert_eq!(status.status.code(), Some(0), "{}", status.log);

    // What capture of that version kept there has another format: the server says what to do.
    let server = Server::listening(Process::start(world.command(&["serve"])));
    server.wait_readyz("that the old triggers are in the way", |status, body| {
        status == 503 && body.contains("format 1") && body.contains("relevo capture detach")
    });
    assert!(server.stop(SOON).status.success());
    let detached = world.run(&["capture", "detach"]);
    assert!(detached.status.success() && detached.log.contains("took out 3 triggers"), "{}", detached.log);
    let server = world.serve();
    assert_equals_a_count(&world, &server);
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks"));
    world.sql("update tareas set titulo = 'seen by the new version' where id = 1");
    client.expect("a change", |f| f.is_of("tasks") && f.raw.contains("seen by the new version"));
}

/// If this fails, the format has changed: it needs a new number (and fixture), and a way from the old one.
#[test]
fn a_journal_of_format_1_is_opened_and_served() {
    let world = World::new();
    cli::sqlite3(&world.data().join("journal.db"), &fixture("journal-format-1.sql"));
    std::fs::write(world.data().join("journal.lock"), fixture("journal-format-1.lock")).unwrap();
    let status = world.run(&["migrate", "status"]);
    assert!(status.status.success() && status.log.contains("format 1"), "{}", status.log);

    let server = world.serve();
    let beginning = Place { epoch: EPOCH.into(), offset: 0 };
    let everything = Connect::admin().to("tasks").to("system").to("system:operators").after(&beginning);
    let mut client = Client::connect(server.address, &everything);
    let mut find = |what: &str, fits: &dyn Fn(&Frame) -> bool| {
        if !client.frames.iter().any(fits) {
            client.expect(what, fits);
        }
    };
    find("an old change", &|f| f.is_of("tasks") && f.data()["task_data"]["titulo"] == "from the fixture");
    find("an old publication", &|f| f.is_of("system") && f.data()["title"] == "from the fixture");
    find("an old dead letter", &|f| f.is_of("system:operators") && f.data()["code"] == "dead_letter");
    find("an old gap", &|f| f.is_of("system:operators") && f.data()["code"] == "source_gap");
    assert_eq!(client.place.epoch, EPOCH, "no record was lost, so the epoch is the same");
    world.sql("update tareas set titulo = 'and a new one' where id = 1");
    client.expect("a change", |f| f.is_of("tasks") && f.raw.contains("and a new one"));
    assert_equals_a_count(&world, &server);
}
