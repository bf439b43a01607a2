//! What an operator reads of a plugin: `relevo plugin logs`, its numbers in `/metrics` and in the view of plugins.

use relevo_tests::client::{Client, Connect};
use relevo_tests::server::{Process, Server};
use relevo_tests::wait::SOON;
use relevo_tests::world::World;
use serde_json::Value;

/// The plugin `stamp` panics at task 2.
fn world() -> World {
    World::configured(|world| {
        let world = world
            .set("plugins.probation = \"0s\"")
            .set("plugins.keep_log_lines = 20")
            .append("[[pipeline]]\nname = \"stamp\"\nplugins = [\"stamp\"]")
            .append("[[channel]]\npattern = \"stamped\"\nread = [\"*\"]");
        world.install("stamp");
        let manifest = world.data().join("plugins/stamp.toml");
        let text = std::fs::read_to_string(&manifest).expect("the manifest");
        std::fs::write(&manifest, format!("{text}do = \"trap-at\"\nat = \"2\"\n")).expect("a manifest");
        world
    })
}

fn change(world: &World, task: u32) {
    world.sql(&format!("update tareas set titulo = titulo || '.' where id = {task}"));
}

/// What `relevo plugin logs stamp` prints, with these options.
fn logs(world: &World, server: &Server, options: &[&str]) -> Vec<String> {
    let url = format!("http://{}", server.address);
    let ended = world.run(&[&["plugin", "logs", "stamp", "--url", &url], options].concat());
    assert!(ended.status.success(), "{}", ended.log);
    ended.log.lines().map(str::to_owned).collect()
}

#[test]
fn a_plugins_faults_are_read_by_command_followed_and_counted() {
    let world = world();
    let server = world.serve();
    let url = format!("http://{}", server.address);
    let follow = ["plugin", "logs", "stamp", "--follow", "--level", "warn", "--url", &url];
    let mut followed = Process::start(world.command(&follow));
    let mut client = Client::connect(server.address, &Connect::admin().to("stamped"));
    for task in [1, 2, 1] {
        change(&world, task);
    }
    client.expect("the change after the one that failed", |frame| frame.data()["count"] == 2);

    let line = followed.wait_for_line("trapped", SOON).unwrap_or_else(|| panic!("{}", followed.log.text()));
    assert!(line.contains("WARN") && line.contains("stamp 0.1.0+") && line.contains(" * trap: "), "{line}");
    assert!(followed.wait_for_line("it says so", SOON).is_some(), "the panic's own words: {}", followed.log.text());

    let all = logs(&world, &server, &["--json"]);
    let lines: Vec<Value> = all.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.is_sorted_by_key(|line| line["number"].as_u64()), "{lines:?}");
    assert!(lines.iter().any(|line| line["by"] == "plugin") && lines.iter().any(|line| line["by"] == "host"));
    assert_eq!(logs(&world, &server, &["-n", "1"]).len(), 1);
    assert_eq!(logs(&world, &server, &["--level", "error"]), ["nothing logged"]);
    let (status, _) = server.get_as("/api/v1/plugins/stamp/logs", "7", "LEVEL_1");
    assert_eq!(status, 403, "operators only");
    let (status, body) = server.get_as("/api/v1/plugins/nobody/logs", "900", "ADMIN");
    assert!(status == 404 && body.contains("no_such_plugin"), "{body}");

    let (_, metrics) = server.get_as("/metrics", "900", "ADMIN");
    let number = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {metrics}"));
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    };
    let of = |name: &str| number(&format!("relevo_plugin_{name}{{pipeline=\"stamp\",plugin=\"stamp\""));
    assert!(of("faults_total") >= 1.0 && of("batch_cpu_seconds_count") >= 3.0, "{metrics}");
    assert!(of("memory_bytes") > 65536.0 && of("state_bytes") > 64.0, "{metrics}");
    let (_, view) = server.get_as("/api/v1/plugins/stamp", "900", "ADMIN");
    let view: Value = serde_json::from_str(&view).expect("JSON");
    assert!(view["noted"][0]["faults"]["trap"].as_u64() >= Some(1), "{view}");

    // What gave way is said, and the follower goes on over it all.
    for _ in 0..10 {
        change(&world, 2);
    }
    change(&world, 1);
    client.expect("the change after them", |frame| frame.data()["count"] == 3);
    assert_eq!(logs(&world, &server, &[]).len(), 20, "plugins.keep_log_lines");
    let (_, after) = server.get_as("/api/v1/plugins/stamp/logs?after=1", "900", "ADMIN");
    let after: Value = serde_json::from_str(&after).expect("JSON");
    assert_eq!(after["lost"], true);
    assert_eq!(after["newest"], after["lines"][19]["number"]);
}
