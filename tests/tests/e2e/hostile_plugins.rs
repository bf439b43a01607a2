//! A plugin that misbehaves fails alone and is named; everything else goes on.

use relevo_tests::binary;
use relevo_tests::client::{Client, Connect};
use relevo_tests::panel::assert_equals_a_count;
use relevo_tests::server::{Process, Server};
use relevo_tests::world::World;
use serde_json::Value;

/// A world with one more pipeline, `broken`, whose one plugin is `broken`.
fn world(component: &[u8], manifest: &str) -> World {
    let world = World::configured(|world| {
        world
            .set("plugins.retries = 1")
            .set("plugins.limits.cpu = \"200ms\"")
            .append("[[pipeline]]\nname = \"broken\"\nplugins = [\"broken\"]")
            .append("[[channel]]\npattern = \"hostile\"\nread = [\"*\"]")
    });
    let folder = world.data().join("plugins");
    std::fs::write(folder.join("broken.wasm"), component).unwrap();
    std::fs::write(folder.join("broken.toml"), manifest).unwrap();
    world
}

/// The hostile plugin, told what to do at task 1.
fn hostile(what: &str) -> World {
    let component = std::fs::read(binary::component("hostile"))
        .unwrap_or_else(|e| panic!("the plugin hostile: {e}; run `cargo xtask test`"));
    let manifest = "name = \"broken\"\nversion = \"0.1.0\"\nevents = { tareas = [\"insert\", \"update\", \"delete\"] }\n\
        channels = [\"hostile\"]\ncapabilities = [\"state\", \"lookup\"]\n[config]\nat = \"1\"\n";
    world(&component, &format!("{manifest}do = \"{what}\"\n"))
}

fn serve(world: &World) -> Server {
    Server::listening(Process::start(world.command(&["serve"])))
}

/// The other pipelines do their work.
fn assert_others_go_on(world: &World, server: &Server) {
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks"));
    world.sql("update tareas set titulo = 'others go on', estado = 'PAUSED' where id = 2");
    client.expect("a change", |f| f.is_of("tasks") && f.data()["task_data"]["titulo"] == "others go on");
    assert_equals_a_count(world, server);
}

/// `/readyz` says that everything runs but the one pipeline, and which plugin is to blame.
fn assert_named_as_not_ready(server: &Server) {
    server.wait_readyz("that the pipeline broken alone isn't ready", |status, body| {
        let report: Value = serde_json::from_str(body).unwrap_or_default();
        let parts = report["parts"].as_array().cloned().unwrap_or_default();
        let waiting: Vec<&Value> = parts.iter().filter(|part| part["ready"] != true).collect();
        status == 503
            && waiting.len() == 1
            && waiting[0]["name"] == "pipeline broken"
            && waiting[0]["reason"].as_str().is_some_and(|reason| reason.contains("plugin broken"))
    });
}

const MANIFEST: &str =
    "name = \"broken\"\nversion = \"0.1.0\"\nevents = { tareas = [\"update\"] }\nchannels = [\"hostile\"]\n";

#[test]
fn a_component_that_is_garbage_is_named_and_the_others_go_on() {
    let world = world(b"this is no component", MANIFEST);
    let server = serve(&world);
    assert_named_as_not_ready(&server);
    assert_others_go_on(&world, &server);
}

#[test]
fn a_core_module_is_named_and_the_others_go_on() {
    let world = world(b"\0asm\x01\0\0\0", MANIFEST);
    let server = serve(&world);
    assert_named_as_not_ready(&server);
    assert_others_go_on(&world, &server);
}

#[test]
fn a_component_with_the_wrong_interface_is_named_and_the_others_go_on() {
    let world = world(b"\0asm\x0d\0\x01\0", MANIFEST);
    let server = serve(&world);
    assert_named_as_not_ready(&server);
    assert_others_go_on(&world, &server);
}

#[test]
fn a_manifest_that_is_garbage_is_named_and_the_others_go_on() {
    let world = world(b"\0asm\x0d\0\x01\0", "this = [is no manifest");
    let server = serve(&world);
    assert_named_as_not_ready(&server);
    assert_others_go_on(&world, &server);
}

#[test]
fn a_plugin_that_fails_to_start_is_named_and_the_others_go_on() {
    for what in ["init-config", "init-trap", "init-loop"] {
        let world = hostile(what);
        let server = serve(&world);
        assert_named_as_not_ready(&server);
        assert_others_go_on(&world, &server);
    }
}

/// A fault at one event: after its retries the event is a dead letter, and the pipeline goes on.
fn assert_one_event_is_lost_to_it_alone(what: &str) {
    let world = hostile(what);
    let server = serve(&world).ready();
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks").to("hostile"));
    world.sql("update tareas set titulo = 'poison' where id = 1");
    client.expect("the others see it", |f| f.is_of("tasks") && f.data()["task_data"]["titulo"] == "poison");
    world.sql("update tareas set titulo = 'after the poison' where id = 2");
    client.expect(&format!("{what}: the event after the poison"), |f| {
        f.is_of("hostile") && f.raw.contains("after the poison")
    });
    assert!(
        client.messages("hostile").iter().all(|f| !f.raw.contains("poison\",") || f.raw.contains("after")),
        "{what}"
    );
    assert!(server.process.log.contains("broken"), "{what}: the log names the plugin");
    assert_others_go_on(&world, &server);
}

#[test]
fn a_plugin_that_traps_loses_that_event_alone() {
    assert_one_event_is_lost_to_it_alone("trap");
    assert_one_event_is_lost_to_it_alone("stack");
}

#[test]
fn a_plugin_that_loops_loses_that_event_alone() {
    assert_one_event_is_lost_to_it_alone("loop");
}

#[test]
fn a_plugin_that_allocates_without_bound_loses_that_event_alone() {
    assert_one_event_is_lost_to_it_alone("allocate");
}

#[test]
fn a_plugin_that_sends_without_bound_loses_that_event_alone() {
    assert_one_event_is_lost_to_it_alone("huge-output");
    assert_one_event_is_lost_to_it_alone("many-messages");
}

#[test]
fn a_plugin_that_breaks_the_contract_loses_that_event_alone() {
    for what in ["bad-span", "bad-event", "bad-utf8"] {
        assert_one_event_is_lost_to_it_alone(what);
    }
}
