//! `relevo doctor` finds what is wrong, says what to do, and changes nothing.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use relevo_tests::binary;
use relevo_tests::postgres::DATABASE;
use relevo_tests::server::{Ended, Process, Server};
use relevo_tests::token;
use relevo_tests::wait::{SOON, until};
use relevo_tests::world::World;
use serde_json::Value;

fn doctor(world: &World) -> Ended {
    world.run(&["doctor"])
}

fn assert_finds(world: &World, verdict: &str, texts: &[&str]) {
    let ended = doctor(world);
    let code = i32::from(verdict == "PROBLEM");
    assert_eq!(ended.status.code(), Some(code), "{}", ended.log);
    // A finding is one line, and maybe one more with the remedy.
    let lines: Vec<&str> = ended.log.lines().collect();
    let findings = lines.windows(2).filter(|pair| pair[0].starts_with(verdict)).map(|pair| pair.join("\n"));
    let fits = |finding: &String| texts.iter().all(|text| finding.contains(text));
    assert!(findings.clone().any(|finding| fits(&finding)), "no {verdict} with {texts:?}:\n{}", ended.log);
}

/// Every file of a folder, with its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.insert(path.clone(), Vec::new());
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn a_healthy_machine_has_no_problem_and_nothing_is_changed() {
    let world = World::new();
    assert!(world.serve().stop(SOON).status.success());
    let before = contents(&world.data());
    let ended = doctor(&world);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(
        ended.log.contains("\n0 problems") && ended.log.contains("wal mode; capture is installed"),
        "{}",
        ended.log
    );
    for pipeline in ["tareas", "efectivos", "panel"] {
        assert!(ended.log.contains(&format!("pipeline {pipeline}: its plugins load")), "{}", ended.log);
    }
    let after = contents(&world.data());
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    let changed: Vec<_> = before.iter().filter(|(path, bytes)| after[*path] != **bytes).map(|(path, _)| path).collect();
    assert!(changed.is_empty(), "changed: {changed:?}");
}

#[test]
fn where_nothing_was_ever_started_it_makes_nothing() {
    let world = World::new();
    std::fs::remove_dir_all(world.data().join("plugins")).unwrap();
    let before = contents(&world.data());
    assert_finds(
        &world,
        "PROBLEM",
        &[
            "pipeline panel",
            "panel.wasm",
            "-> install -d -m 700 ",
            "cp panel.wasm panel.toml ",
            "relevo plugin deploy panel.wasm",
        ],
    );
    assert!(before == contents(&world.data()), "it made or changed something");
}

#[test]
fn a_database_that_is_missing_or_lacks_a_table_has_its_remedy() {
    let world = World::bare();
    assert_finds(&world, "PROBLEM", &["source gad", "doesn't exist", "-> relevo migrate"]);
    world.sql("create table usuarios (id integer primary key)");
    assert_finds(
        &world,
        "PROBLEM",
        &["source gad: the example's gad/0001_usuarios is not applied", "-> relevo migrate"],
    );
    let world = World::new();
    world.sql("alter table tareas rename to tarea");
    assert_finds(&world, "PROBLEM", &["there is no table tareas", "-> did you mean tarea?"]);
}

#[test]
fn files_in_the_plugins_folder_that_are_broken_are_found_though_an_earlier_version_serves() {
    let world = World::new();
    let server = world.serve();
    server.wait_readyz("all runs", |status, _| status == 200);
    assert!(server.stop(SOON).status.success());
    let manifest = world.data().join("plugins/panel.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, format!("chanels = []\n{text}")).unwrap();
    assert_finds(
        &world,
        "PROBLEM",
        &[
            "plugin panel in the plugins folder",
            "did you mean channels?",
            "an earlier version serves",
            "-> mend its files",
        ],
    );
}

#[test]
fn a_secret_that_others_may_read_has_its_remedy() {
    let world = World::new().unset_environment("RELEVO_JWT_SECRET");
    let secret = world.data().join("jwt.secret");
    std::fs::write(&secret, "s".repeat(64)).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_finds(&world, "PROBLEM", &["secret: ", "-> chmod 600"]);
    let ended = doctor(&world);
    assert!(!ended.log.contains(&"s".repeat(64)), "the secret is shown:\n{}", ended.log);
}

#[test]
fn settings_that_can_not_be_used_have_their_remedy() {
    let world = World::bare().set("session.heartbeat = \"soon\"");
    assert_finds(&world, "PROBLEM", &["settings: session.heartbeat", "-> allowed:"]);
    let missing = world.run(&["doctor", "--config", "nosuch.toml"]);
    assert!(!missing.status.success(), "{}", missing.log);
    for text in ["PROBLEM  settings: ", "nosuch.toml", "-> allowed: ", "relevo doctor --example > FILE"] {
        assert!(missing.log.contains(text), "{text} is missing:\n{}", missing.log);
    }
    let world = World::new().set_environment("RELEVO_LISTENS", "x");
    assert_finds(&world, "warning", &["nobody reads RELEVO_LISTENS", "-> did you mean RELEVO_LISTEN?"]);
}

#[test]
fn a_journal_that_is_damaged_has_its_remedy() {
    let world = World::new();
    std::fs::write(world.data().join("journal.db"), b"this was a journal once ".repeat(100)).unwrap();
    assert_finds(&world, "PROBLEM", &["journal", "-> restore a backup"]);
}

#[test]
fn a_port_that_another_program_has_is_a_problem() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let world = World::new().set_environment("RELEVO_LISTEN", &address.to_string());
    // It accepts and says nothing; who asks gives up.
    drop(std::thread::spawn(move || other.incoming().for_each(drop)));
    assert_finds(&world, "PROBLEM", &["server: it can't listen at", "-> set RELEVO_LISTEN"]);
}

#[test]
fn a_server_that_runs_is_asked_how_it_is() {
    let world = World::new();
    std::fs::remove_file(world.data().join("plugins/panel.wasm")).unwrap();
    let server = Server::listening(Process::start(world.command(&["serve"])));
    server.wait_readyz("the plugin that is missing", |status, body| status == 503 && body.contains("plugin panel"));
    let ask = |arguments: &[&str]| {
        let mut command = world.command(arguments);
        command.env("RELEVO_LISTEN", server.address.to_string());
        Process::start(command).wait(Duration::from_secs(60))
    };
    // Between two tries of its pipeline the server says that the plugins are being loaded.
    let report = until("the plugin that is missing", SOON, || {
        let ended = ask(&["doctor", "--json"]);
        assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
        let report: Value = serde_json::from_str(&ended.log).unwrap();
        report.to_string().contains("panel.wasm").then_some(report)
    });
    let findings = report["findings"].as_array().unwrap();
    let of = |check: &str| findings.iter().find(|f| f["check"] == check).unwrap_or_else(|| panic!("{report}"));
    assert_eq!(report["ok"], false);
    assert_eq!(of("server")["verdict"], "ok");
    let panel = of("pipeline panel");
    assert!(panel["verdict"] == "problem" && panel["remedy"].is_null(), "{panel}");
    assert!(panel["found"].as_str().unwrap().contains("deploy it: relevo plugin deploy panel.wasm"), "{panel}");
    assert_eq!(server.get("/healthz").0, 200, "the server isn't harmed");
    // Asked at another address it still sees that the folder is in use.
    let ended = doctor(&world);
    assert!(ended.log.contains("but doesn't answer at"), "{}", ended.log);
}

#[test]
fn which_settings_are_in_use_is_said_and_the_built_in_ones_can_be_begun_with() {
    let world = World::new();
    let file = world.data().parent().unwrap().join("relevo.toml").display().to_string();
    assert_finds(&world, "ok", &["settings' file: ", &file]);
    let mut server = Server::listening(Process::start(world.command(&["serve"])));
    let line = server.process.wait_for_line("the settings' file", SOON).expect("a line of the log");
    assert!(line.contains(&file), "{line}");
    assert!(server.stop(SOON).status.success());

    let elsewhere = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(binary::relevo());
        command.args(arguments).current_dir(elsewhere.path()).env("RELEVO_DATA", world.data());
        command.env("RELEVO_JWT_SECRET", token::SECRET).env("RELEVO_LISTEN", "127.0.0.1:0");
        command.env_remove("RELEVO_CONFIG").env_remove("RELEVO_DATABASE_URL");
        Process::start(command)
    };
    let none = "none: the built-in example";
    assert!(run(&["doctor"]).wait(SOON).log.contains(&format!("settings' file: {none}")));
    let mut server = Server::listening(run(&["serve"]));
    let line = server.process.wait_for_line("the settings' file", SOON).expect("a line of the log");
    assert!(line.contains(none), "{line}");
    let plugin = world.data().join("next/news.wasm");
    std::fs::create_dir_all(plugin.parent().unwrap()).unwrap();
    std::fs::copy(binary::component("stamp"), &plugin).unwrap();
    std::fs::write(plugin.with_extension("toml"), "name = \"news\"\nversion = \"1\"\nticks = true\n").unwrap();
    let (url, plugin) = (format!("http://{}", server.address), plugin.display().to_string());
    for command in [&["plugin", "deploy", "--url", &url, &plugin][..], &["plugin", "check", &plugin]] {
        let told = run(command).wait(SOON).log;
        assert!(told.contains("no [[pipeline]] has it") && told.contains("the built-in example is in use"), "{told}");
        assert!(told.contains("relevo doctor --example > relevo.toml"), "{told}");
    }
    assert!(server.stop(SOON).status.success());
    // As it says: what the example has stays.
    std::fs::write(elsewhere.path().join("relevo.toml"), run(&["doctor", "--example"]).wait(SOON).log).unwrap();
    let ended = run(&["doctor"]).wait(SOON);
    assert!(ended.status.success() && ended.log.contains("relevo.toml\n"), "{}", ended.log);
    assert!(ended.log.contains("they can be used: 1 source, 3 pipelines"), "{}", ended.log);
}

#[test]
fn settings_that_name_another_database_than_the_journal_has_read_are_found() {
    let world = World::postgres();
    assert_finds(&world, "ok", &["source gad: its database is PostgreSQL, ", "as relevo, says RELEVO_DATABASE_URL"]);
    assert!(world.serve().stop(SOON).status.success());
    // As in another terminal, where the folder alone was set.
    let elsewhere = tempfile::tempdir().unwrap();
    let doctor = |url: Option<&str>| {
        let mut command = world.command(&["doctor"]);
        command.env_remove("RELEVO_DATABASE_URL").current_dir(elsewhere.path());
        command.envs(url.map(|url| ("RELEVO_DATABASE_URL", url)));
        Process::start(command).wait(SOON)
    };
    let ended = doctor(None);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    for text in [
        "PROBLEM  source gad: its database is SQLite, ",
        "says the built-in example, since RELEVO_DATABASE_URL is not set",
        "has read it from PostgreSQL",
        "-> give what the server was started with: RELEVO_DATABASE_URL=postgres://",
    ] {
        assert!(ended.log.contains(text), "no {text:?} in:\n{}", ended.log);
    }
    assert!(!ended.log.contains("relevo migrate"), "it speaks of the other database:\n{}", ended.log);
    let url = world.postgres.as_ref().unwrap().url(DATABASE);
    let ended = doctor(Some(&url));
    assert!(!ended.log.contains("but the journal in"), "{}", ended.log);
    // Whoever resets the source leaves nothing that would say from what it was read.
    let reset = world.run(&["capture", "reset", "gad"]);
    assert!(reset.status.success(), "{}", reset.log);
    let ended = doctor(Some(&url));
    assert!(!ended.log.contains("but the journal in"), "{}", ended.log);
}
