//! Those who operate the server are told what happens to it, once. docs/notices.md.

use relevo_tests::binary;
use relevo_tests::client::{Client, Connect};
use relevo_tests::frame::Frame;
use relevo_tests::postgres::{DATABASE, Postgres};
use relevo_tests::server::{Process, Server};
use relevo_tests::wait::SOON;
use relevo_tests::world::World;
use serde_json::{Value, json};

const OPERATORS: &str = "system:operators";

/// With one more pipeline, `broken`, whose plugin is no component.
fn world() -> World {
    let world = World::configured(|world| {
        world
            .set("plugins.retries = 0")
            .append("[[pipeline]]\nname = \"broken\"\nplugins = [\"broken\"]")
            .append("[[channel]]\npattern = \"hostile\"\nread = [\"*\"]")
            .append("[[channel]]\npattern = \"system:*\"\nread = [\"*\"]")
    });
    std::fs::write(plugin(&world, "wasm"), "this is no component").unwrap();
    std::fs::write(plugin(&world, "toml"), "name = \"broken\"\nversion = \"1.0.0\"\n").unwrap();
    world
}

fn plugin(world: &World, ending: &str) -> std::path::PathBuf {
    world.data().join("plugins").join(format!("broken.{ending}"))
}

/// A component that works, but for what is done to task 1.
fn mend(world: &World) {
    let manifest = "name = \"broken\"\nversion = \"1.0.1\"\nevents = { tareas = [\"update\"] }\nchannels = [\"hostile\"]\n\
        capabilities = [\"state\", \"lookup\"]\n[config]\nat = \"1\"\ndo = \"trap\"\n";
    std::fs::write(plugin(world, "toml"), manifest).unwrap();
    std::fs::copy(binary::component("hostile"), plugin(world, "wasm")).unwrap();
}

fn serve(world: &World) -> Server {
    Server::listening(Process::start(world.command(&["serve"])))
}

fn expect(client: &mut Client, code: &str) -> Frame {
    let is_it = |frame: &Frame| frame.is_of(OPERATORS) && frame.data()["code"] == code;
    if let Some(frame) = client.frames.iter().find(|frame| is_it(frame)) {
        return frame.clone();
    }
    client.expect(code, is_it)
}

#[test]
fn operators_alone_are_told_what_happens_and_a_restart_tells_nothing_twice() {
    let world = world();
    let server = serve(&world);
    let mut operator = Client::connect(server.address, &Connect::admin().to(OPERATORS));
    let mut beginning = operator.place.clone();
    beginning.offset = 0;
    let failed = expect(&mut operator, "pipeline_failed");
    let data = failed.data();
    assert_eq!((failed.kind(), failed.event_type()), ("system_event", "error"), "{}", failed.raw);
    assert_eq!(
        (&data["pipeline"], &data["plugin"], &data["level"]),
        (&json!("broken"), &json!("broken"), &json!("error"))
    );
    assert!(data["title"].as_str().unwrap().contains("broken") && data["content"].is_string(), "{}", failed.raw);

    let mut other = Client::connect(server.address, &Connect::by("5", "LEVEL_1"));
    let answer = other.ask(json!({"type": "subscribe", "channel": OPERATORS}));
    assert_eq!(
        (answer.kind(), &answer.json["code"]),
        ("error", &json!(105)),
        "a wildcard opens it to nobody: {}",
        answer.raw
    );

    // It still stands when the server comes back, and was told already.
    server.kill();
    let server = serve(&world);
    let mut operator = Client::connect(server.address, &Connect::admin().to(OPERATORS).after(&beginning));
    server.wait_readyz("the pipeline's failure", |_, body| body.contains("plugin broken"));
    mend(&world);
    let running = expect(&mut operator, "pipeline_running");
    assert_eq!((running.event_type(), &running.data()["pipeline"]), ("notification", &json!("broken")));

    world.sql("update tareas set titulo = 'the first' where id = 1");
    let letter = expect(&mut operator, "dead_letter");
    let data = letter.data();
    assert_eq!((&data["pipeline"], &data["plugin"]), (&json!("broken"), &json!("broken")), "{}", letter.raw);
    assert!(data["offset"].is_u64(), "{}", letter.raw);

    assert!(server.stop(SOON).status.success());
    let server = serve(&world).ready();
    world.sql("update tareas set titulo = 'the second' where id = 1");
    let mut operator = Client::connect(server.address, &Connect::admin().to(OPERATORS).after(&beginning));
    let second = |frame: &Frame| frame.is_of(OPERATORS) && frame.data()["offset"].as_u64() > data["offset"].as_u64();
    if !operator.frames.iter().any(second) {
        operator.expect("the second dead letter", second);
    }
    let codes = |client: &Client| -> Vec<String> {
        client.messages(OPERATORS).iter().map(|frame| frame.data()["code"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(codes(&operator), ["pipeline_failed", "pipeline_running", "dead_letter", "dead_letter"]);
}

#[test]
fn a_source_that_lacks_a_table_is_told_and_that_it_has_it_again() {
    let world = World::new();
    let server = world.serve();
    let mut operator = Client::connect(server.address, &Connect::admin().to(OPERATORS));
    world.sql("alter table tareas rename to tareas_away");
    let failed = expect(&mut operator, "capture_incomplete");
    assert_eq!(failed.data()["source"], "gad", "{}", failed.raw);
    assert!(failed.data()["content"].as_str().unwrap().contains("tareas"), "{}", failed.raw);
    world.sql("alter table tareas_away rename to tareas");
    let again = expect(&mut operator, "capture_complete");
    assert_eq!(again.data()["source"], "gad", "{}", again.raw);
}

#[test]
fn a_source_that_can_not_be_read_is_told_and_that_it_is_read_again() {
    // A role that owns what it watches, as in production.
    let world = World::over(Postgres::start(), |world| {
        let postgres = world.postgres.as_ref().expect("it is over PostgreSQL");
        postgres.sql("create role watcher login replication; grant create on database gad to watcher");
        postgres.sql("grant all on schema public to watcher");
        let url = postgres.url(DATABASE).replace("//relevo@", "//watcher@");
        world.set_environment("RELEVO_DATABASE_URL", &url)
    });
    let server = world.serve();
    let mut operator = Client::connect(server.address, &Connect::admin().to(OPERATORS));
    world.sql("alter role watcher noreplication");
    world.sql("select pg_terminate_backend(pid) from pg_stat_replication");
    let failed = expect(&mut operator, "capture_failed");
    let data = failed.data();
    assert_eq!((failed.event_type(), &data["source"], &data["level"]), ("error", &json!("gad"), &json!("error")));
    assert!(data["content"].as_str().unwrap().contains("what to do: /readyz"), "{}", failed.raw);
    let body = server.wait_readyz("the stop", |status, body| status == 503 && body.contains("may not replicate"));
    let body: Value = serde_json::from_str(&body).unwrap();
    let source = body["parts"].as_array().unwrap().iter().find(|part| part["name"] == "source gad").unwrap();
    let printed = source["reason"].as_str().unwrap().split_once("as a superuser run: ");
    let printed = printed.and_then(|(_, rest)| rest.split_once(';')).unwrap_or_else(|| panic!("{source}")).0;
    world.sql("update tareas set titulo = 'meanwhile' where id = 1");

    world.sql(printed);
    let again = expect(&mut operator, "capture_running");
    assert_eq!((again.event_type(), &again.data()["source"]), ("notification", &json!("gad")));
    server.wait_readyz("the end of it", |status, _| status == 200);
    let mut watcher = Client::connect(server.address, &Connect::admin().to("tasks"));
    world.sql("update tareas set titulo = 'after it' where id = 1");
    watcher.expect("the change", |frame| frame.is_of("tasks") && frame.data()["task_data"]["titulo"] == "after it");
}

#[test]
fn a_table_of_another_form_is_told_and_its_rows_come_as_before() {
    let world = World::postgres();
    let server = world.serve();
    let mut operator = Client::connect(server.address, &Connect::admin().to(OPERATORS).to("tasks"));
    world.sql("alter table tareas add column nota text");
    world.sql("update tareas set nota = 'x', titulo = 'of another form' where id = 1");
    let notice = expect(&mut operator, "schema_changed");
    let data = notice.data();
    assert_eq!((notice.kind(), notice.event_type()), ("system_event", "notification"), "{}", notice.raw);
    assert_eq!((&data["source"], &data["level"]), (&json!("gad"), &json!("info")), "{}", notice.raw);
    assert_eq!(data["content"], "table tareas: column nota is new.");
    assert!(data["offset"].is_u64(), "{}", notice.raw);
    let is_it = |frame: &Frame| frame.is_of("tasks") && frame.data()["task_data"]["titulo"] == "of another form";
    if !operator.frames.iter().any(is_it) {
        operator.expect("the change", is_it);
    }
}
