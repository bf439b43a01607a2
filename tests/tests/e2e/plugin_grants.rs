//! What a plugin asks for and `relevo.toml` doesn't grant keeps it from loading, however it comes; the lines that
//! the message shows make it load. The same for its configuration.

use std::path::PathBuf;

use relevo_tests::binary;
use relevo_tests::client::{Client, Connect};
use relevo_tests::server::{Process, Server};
use relevo_tests::wait::SOON;
use relevo_tests::world::World;
use serde_json::Value;

/// A world whose plugins need grants, with one more pipeline whose plugin `stamp` has none yet.
fn world() -> World {
    World::configured(|world| {
        let world = world
            .set("plugins.grants = \"listed\"")
            .set("plugins.folder_rest = \"50ms\"")
            .append("[[pipeline]]\nname = \"stamp\"\nplugins = [\"stamp\"]")
            .append("[[channel]]\npattern = \"stamped*\"\nread = [\"*\"]");
        world.install("stamp");
        world
    })
}

fn serve(world: &World) -> Server {
    Server::listening(Process::start(world.command(&["serve"])))
}

/// Why the pipeline `stamp` waits, as `/readyz` says it.
fn reason(server: &Server, with: &str) -> String {
    let body = server.wait_readyz(with, |status, body| status == 503 && body.contains(with));
    let report: Value = serde_json::from_str(&body).unwrap();
    let waits = |part: &&Value| part["name"] == "pipeline stamp";
    let part = report["parts"].as_array().unwrap().iter().find(waits).cloned();
    part.unwrap()["reason"].as_str().unwrap().to_owned()
}

/// The lines that a message says to write.
fn lines(message: &str) -> String {
    let (_, lines) = message.split_once("restart the server:\n").unwrap_or_else(|| panic!("no lines in {message:?}"));
    lines.lines().take_while(|line| line.starts_with("  ")).map(|line| format!("{}\n", line.trim())).collect()
}

/// Writes the files of a version into a folder of its own; gives the component's path.
fn version(world: &World, manifest: &str) -> PathBuf {
    let folder = world.data().join("next");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(binary::component("stamp"), folder.join("stamp.wasm")).unwrap();
    std::fs::write(folder.join("stamp.toml"), manifest).unwrap();
    folder.join("stamp.wasm")
}

fn manifest(version: &str, more: &str) -> String {
    format!(
        "name = \"stamp\"\nversion = \"{version}\"\nevents = {{ tareas = [\"update\"] }}\n\
         channels = [\"stamped\", \"stamped:more\"]\ncapabilities = [\"state\"]\n{more}"
    )
}

/// A change is stamped by this version.
fn assert_stamps(world: &World, server: &Server, stamp: &str) {
    let mut client = Client::connect(server.address, &Connect::admin().to("stamped"));
    world.sql("update tareas set titulo = titulo || '.' where id = 1");
    let message = client.expect("a stamped change", |frame| frame.is_of("stamped"));
    assert_eq!(message.data()["stamp"], stamp, "{}", message.raw);
}

#[test]
fn a_new_plugin_waits_for_its_grant_and_the_lines_that_are_shown_make_it_load() {
    let world = world();
    let server = serve(&world);
    let waits = reason(&server, "does not grant");
    assert!(waits.contains("to see the table tareas, to send to stamped, the capability state"), "{waits}");
    assert!(server.stop(SOON).status.success());
    // Who asks before starting reads the same.
    let doctor = world.run(&["doctor"]);
    let (_, told) = waits.split_once("stamp.toml: ").unwrap();
    assert!(doctor.status.code() == Some(1) && doctor.log.contains(told), "{told}\n{}", doctor.log);
    let component = world.data().join("plugins/stamp.wasm").display().to_string();
    let check = world.run(&["plugin", "check", &component, "--count", "50"]);
    assert!(check.log.contains("[plugin.stamp.grant]") && check.log.contains("stamp passed"), "{}", check.log);

    let world = world.append(&lines(&waits));
    let server = world.serve();
    assert_stamps(&world, &server, "v0");
    assert!(server.stop(SOON).status.success());
    assert_eq!(world.run(&["doctor"]).status.code(), Some(0));
}

#[test]
fn a_version_that_asks_for_more_is_refused_by_every_way_and_comes_when_it_is_granted() {
    const GRANT: &str =
        "[plugin.stamp.grant]\ntables = [\"tareas\"]\nchannels = [\"stamped\"]\ncapabilities = [\"state\"]";
    let world = world().append(GRANT);
    let server = world.serve();
    let url = format!("http://{}", server.address);
    let file = version(&world, &manifest("1", "limits = { cpu = \"1s\" }\n[config]\nstamp = \"v1\"\n"));
    let file = file.display().to_string();
    let deployed = world.run(&["plugin", "deploy", "--url", &url, &file]);
    assert_eq!(deployed.status.code(), Some(1), "{}", deployed.log);
    assert!(deployed.log.contains("to send to stamped:more, limits.cpu of 1s (granted is 400ms)"), "{}", deployed.log);
    assert!(deployed.log.contains("in place of its [plugin.stamp.grant]"), "{}", deployed.log);
    let tried = world.run(&["plugin", "trial", "--url", &url, "--pipeline", "stamp", &file]);
    assert_eq!(lines(&tried.log), lines(&deployed.log), "a trial says the same");
    for ending in ["wasm", "toml"] {
        let from = world.data().join("next").join(format!("stamp.{ending}"));
        std::fs::copy(from, world.data().join("plugins").join(format!("stamp.{ending}"))).unwrap();
    }
    let mut server = server;
    let told = server.process.wait_for_line("limits.cpu of 1s", SOON);
    assert!(told.is_some_and(|line| line.contains("the former one goes on")), "{}", server.process.log.text());
    assert_stamps(&world, &server, "v0");
    assert!(server.stop(SOON).status.success());

    // The lines stand in place of the former ones, and the folder's version is tried again by itself.
    let world = world.replace(GRANT, &lines(&deployed.log));
    let mut server = world.serve();
    let came = server.process.wait_for_line("brought from the plugins folder", SOON);
    assert!(came.is_some(), "{}", server.process.log.text());
    assert_stamps(&world, &server, "v1");
}

#[test]
fn a_plugin_that_is_new_to_the_settings_is_told_all_that_they_lack_at_once() {
    let world =
        world().append("[plugin.stamp.grant]\ntables = [\"*\"]\nchannels = [\"*\"]\ncapabilities = [\"state\"]");
    let server = world.serve();
    let folder = world.data().join("next");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(binary::component("stamp"), folder.join("news.wasm")).unwrap();
    let schema = "[schema.zone]\ntype = \"text\"\nrequired = true\n";
    let text =
        manifest("1", schema).replace("\"stamp\"", "\"news\"").replace("tareas", "items").replace("stamped", "news");
    std::fs::write(folder.join("news.toml"), text).unwrap();
    let file = folder.join("news.wasm").display().to_string();
    let url = format!("http://{}", server.address);
    let lacks = [
        "no [[pipeline]] has it",
        "plugin.news.config.zone: is missing",
        "to see the table items, to send to news, to send to news:more, the capability state",
        "sends to news, news:more, for which there is no [[channel]]",
        "wants the rows of items, which no [[source]] watches",
    ];
    for command in [&["plugin", "deploy", "--url", &url, &file][..], &["plugin", "check", &file]] {
        let refused = world.run(command);
        assert_eq!(refused.status.code(), Some(1), "{}", refused.log);
        for lack in lacks {
            assert!(refused.log.contains(lack), "{command:?}: no {lack:?} in:\n{}", refused.log);
        }
        assert!(!refused.log.contains("settings' file"), "there is one:\n{}", refused.log);
    }
    let unknown = world.run(&["plugin", "versions", "--url", &url, "tarea"]);
    assert_eq!(unknown.status.code(), Some(1), "{}", unknown.log);
    let told = "there is no plugin \"tarea\" (did you mean tareas?); there are: efectivos, panel, stamp, tareas";
    assert!(unknown.log.contains(told), "{}", unknown.log);
}

#[test]
fn a_configuration_that_does_not_fit_the_schema_keeps_a_plugin_from_loading_with_what_to_write() {
    const GRANT: &str = "[plugin.stamp.grant]\ntables = [\"*\"]\nchannels = [\"stamped*\"]\ncapabilities = [\"state\"]";
    let schema = "[schema.stamp]\ntype = \"text\"\nrequired = true\nvalues = [\"red\", \"blue\"]\n";
    let world = world().append(GRANT);
    std::fs::write(world.data().join("plugins/stamp.toml"), manifest("1", schema)).unwrap();
    let server = serve(&world);
    let waits = reason(&server, "config.stamp");
    assert!(waits.contains("plugin.stamp.config.stamp: is missing; allowed: a text: \"red\", \"blue\""), "{waits}");
    let (_, rest) = waits.split_once("Under [plugin.stamp.config] write ").unwrap();
    let line = rest.split(", and restart").next().unwrap().to_owned();
    assert!(server.stop(SOON).status.success());

    let configured = format!("[plugin.stamp.config]\n{line}");
    let world = world.append(&configured);
    let server = world.serve();
    assert_stamps(&world, &server, "red");
    assert!(server.stop(SOON).status.success());
    // Changed, it holds from the next start, for the version that serves.
    let world = world.replace(&configured, "[plugin.stamp.config]\nstamp = \"blue\"\nlater = 1");
    let mut server = world.serve();
    assert_stamps(&world, &server, "blue");
    let warned = server.process.wait_for_line("a key that this version does not know", SOON);
    assert!(warned.is_some(), "{}", server.process.log.text());
    // A version that comes now has to know all of it.
    let file = version(&world, &manifest("2", schema)).display().to_string();
    let url = format!("http://{}", server.address);
    let refused = world.run(&["plugin", "deploy", "--url", &url, &file]);
    assert!(refused.status.code() == Some(1) && refused.log.contains("config.later: is not known"), "{}", refused.log);
}
