//! `relevo plugin check` passes the plugins that ship, and finds what is wrong with those that misbehave.

use std::path::Path;
use std::process::Command;

use relevo_tests::binary;
use serde_json::Value;

fn relevo(arguments: &[&str]) -> (Option<i32>, String) {
    let mut relevo = Command::new(binary::relevo());
    relevo.arg("plugin").args(arguments).env_remove("RELEVO_CONFIG");
    let output = relevo.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn check(component: &Path, more: &[&str]) -> (Option<i32>, String) {
    relevo(&[&["check", component.to_str().unwrap(), "--seed", "5", "--count", "300"], more].concat())
}

/// A plugin that ships, with its samples.
fn shipped(name: &str, folder: &Path) -> std::path::PathBuf {
    binary::install_plugin(name, folder);
    let samples = format!("{name}.samples.jsonl");
    std::fs::copy(binary::workspace().join("plugins").join(name).join(&samples), folder.join(&samples)).unwrap();
    folder.join(format!("{name}.wasm"))
}

/// The hostile plugin, told what to do.
fn hostile(action: &str, folder: &Path) -> std::path::PathBuf {
    std::fs::copy(binary::component("hostile"), folder.join("hostile.wasm")).unwrap();
    let manifest = format!(
        "name = \"hostile\"\nversion = \"0.1.0\"\nevents = {{ tareas = [\"insert\"] }}\nchannels = [\"hostile\"]\n\
         capabilities = [\"state\", \"lookup\"]\n[config]\ndo = \"{action}\"\n"
    );
    std::fs::write(folder.join("hostile.toml"), manifest).unwrap();
    let sample = r#"{"table":"tareas","operation":"insert","after":{"id":1,"titulo":"Patrulla"}}"#;
    std::fs::write(folder.join("hostile.samples.jsonl"), sample).unwrap();
    folder.join("hostile.wasm")
}

/// The line of this check in the report.
fn line<'a>(report: &'a str, name: &str) -> &'a str {
    report.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no line {name:?} in\n{report}"))
}

#[test]
fn the_plugins_that_ship_pass() {
    for name in ["tareas", "efectivos", "panel"] {
        let folder = tempfile::tempdir().unwrap();
        let (code, report) = check(&shipped(name, folder.path()), &[]);
        assert_eq!(code, Some(0), "{report}");
        assert!(report.contains(&format!("{name} passed")) && !report.contains("it sent nothing"), "{report}");
    }
}

#[test]
fn messages_that_depend_on_the_instance_or_on_the_batch_are_found() {
    for (action, name, found) in [
        ("remember", "instance replaced always", "\"memory\":"),
        ("hash-order", "instance replaced always", "first hostile hostile hostile_event ["),
        ("batch-size", "batches cut elsewhere", "hostile_event"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (code, report) = check(&hostile(action, folder.path()), &[]);
        assert_eq!(code, Some(1), "{action}: {report}");
        let line = line(&report, name);
        assert!(line.starts_with("FAILED") && line.contains(found), "{action}: {line}\n{report}");
        assert!(report.contains("`state`"), "it says what to do: {report}");
    }
}

#[test]
fn a_crash_at_a_missing_field_is_found_and_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (code, report) = check(&hostile("careless", folder.path()), &[]);
    assert_eq!(code, Some(1), "{report}");
    assert!(line(&report, "  runs ").starts_with("ok"), "ordinary rows are fine: {report}");
    let line = line(&report, "rows without fields");
    assert!(line.starts_with("FAILED") && line.contains("insert of tareas: trapped:"), "{line}");
    assert!(report.contains("answer with an error instead"), "{report}");
}

#[test]
fn what_breaks_the_contract_or_the_limits_fails_with_the_rule() {
    for (action, found) in [
        ("bad-json", "broke the contract"),
        ("bad-channel", "broke the contract"),
        ("many-messages", "output_messages is 20000"),
        ("init-config", "can't work with this"),
        ("add-to-text", "which is no integer"),
        ("fatal", "never again"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (code, report) = check(&hostile(action, folder.path()), &[]);
        assert_eq!(code, Some(1), "{action}: {report}");
        assert!(report.contains(found), "{action}: {report}");
    }
}

/// A version of the plugin with a migration, told how to fail at it.
fn mover(layout: u32, how: &str, folder: &Path) -> std::path::PathBuf {
    std::fs::copy(binary::component("mover"), folder.join("mover.wasm")).unwrap();
    let manifest = std::fs::read_to_string(binary::manifest("mover")).unwrap();
    let top = format!("version = \"0.1.0\"\nstate_layout = {layout}");
    let manifest = manifest.replace("version = \"0.1.0\"", &top);
    std::fs::write(folder.join("mover.toml"), format!("{manifest}\ndo = \"{how}\"\n")).unwrap();
    folder.join("mover.wasm")
}

#[test]
fn a_migration_is_tried_before_any_server_has_it() {
    for (layout, how, outcome, found) in [
        (2, "", "ok", "brings over layout 1"),
        (3, "", "FAILED", "layout 2 is not known"),
        (1, "", "note", "state_layout is 1"),
        (2, "migrate-error", "FAILED", "an empty state of layout 1: can't go on: it says so"),
        (2, "migrate-trap", "FAILED", "trapped"),
        (2, "migrate-loop", "FAILED", "of CPU time"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (code, report) = check(&mover(layout, how, folder.path()), &[]);
        let line = line(&report, " migrates ");
        assert!(line.starts_with(outcome) && line.contains(found), "{layout} {how}: {line}\n{report}");
        assert_eq!(code, Some(i32::from(outcome == "FAILED")), "{report}");
    }
}

#[test]
fn the_same_seed_gives_the_same_report_also_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let component = shipped("panel", folder.path());
    let report = || {
        let (code, text) = check(&component, &["--json"]);
        assert_eq!(code, Some(0), "{text}");
        let mut report: Value = serde_json::from_str(&text).unwrap();
        // CPU times differ.
        assert_eq!(report["checks"].as_array_mut().unwrap().pop().unwrap()["name"], "limits");
        report
    };
    let first = report();
    assert_eq!((&first["plugin"], &first["passed"], &first["seed"]), (&"panel".into(), &true.into(), &5.into()));
    assert_eq!(first, report());
}

#[test]
fn recorded_events_are_used_as_they_are_and_a_bad_line_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let component = hostile("", folder.path());
    let events = folder.path().join("day.jsonl");
    let line_of = |id: u32| format!(r#"{{"table":"tareas","operation":"insert","after":{{"id":{id},"titulo":"x"}}}}"#);
    std::fs::write(&events, (1..=9).map(|id| line_of(id) + "\n").collect::<String>()).unwrap();
    let (code, report) = check(&component, &["--events", events.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{report}");
    assert!(line(&report, "  runs ").contains("9 events in"), "{report}");

    std::fs::write(&events, format!("{}\n\n{{\"tabel\":1}}\n", line_of(1))).unwrap();
    let (code, said) = check(&component, &["--events", events.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("day.jsonl:3: unknown field `tabel`"), "{said}");
}

#[test]
fn bench_tells_what_an_event_costs_and_in_which_build() {
    let folder = tempfile::tempdir().unwrap();
    let component = shipped("tareas", folder.path());
    let (code, told) = relevo(&["bench", component.to_str().unwrap(), "--time", "100ms"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("ns of CPU time") && told.contains("limits.cpu") && told.contains(" build"), "{told}");
    let (_, json) = relevo(&["bench", component.to_str().unwrap(), "--time", "100ms", "--json"]);
    let measured: Value = serde_json::from_str(&json).unwrap();
    assert!(measured["ns_an_event"].as_f64().unwrap() > 0.0 && measured["p50_us"].as_u64().unwrap() > 0, "{json}");
}
