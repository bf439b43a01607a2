//! `relevo plugin trial --live`: a version runs beside the one that serves, and the operator sees what it
//! would make otherwise, as it happens.

use relevo_tests::binary;
use relevo_tests::client::{Client, Connect};
use relevo_tests::server::Process;
use relevo_tests::wait::SOON;
use relevo_tests::world::World;
use rustix::process::Signal;

fn world() -> World {
    World::configured(|world| {
        let world = world
            .append("[[pipeline]]\nname = \"stamp\"\nplugins = [\"stamp\"]")
            .append("[[channel]]\npattern = \"stamped\"\nread = [\"*\"]");
        world.install("stamp");
        world
    })
}

fn change(world: &World, task: u32) {
    world.sql(&format!("update tareas set titulo = titulo || '.' where id = {task}"));
}

#[test]
fn a_live_trial_shows_each_difference_as_it_arises_and_ends_with_its_time() {
    let world = world();
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("stamped"));
    let folder = world.data().join("to-try");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::copy(binary::component("stamp"), folder.join("stamp.wasm")).expect("the component");
    let manifest = std::fs::read_to_string(binary::manifest("stamp")).expect("the manifest");
    let next = manifest.replace("version = \"0.1.0\"", "version = \"0.2.0\"").replace("\"v0\"", "\"v7\"");
    assert_ne!(manifest, next);
    std::fs::write(folder.join("stamp.toml"), next).expect("a manifest");
    let url = format!("http://{}", server.address);
    let file = folder.join("stamp.wasm").display().to_string();
    let command = ["plugin", "trial", &file, "--pipeline", "stamp", "--url", &url];

    let mut live = Process::start(world.command(&[&command[..], &["--live"]].concat()));
    assert!(live.wait_for_line("beside pipeline stamp", SOON).is_some(), "{}", live.log.text());
    change(&world, 1);
    let line = live.wait_for_line("changed stamped", SOON).unwrap_or_else(|| panic!("{}", live.log.text()));
    assert!(line.contains("event "), "{line}");
    assert!(live.wait_for_line("\"stamp\":\"v7\"", SOON).is_some(), "{}", live.log.text());
    let message = client.expect("the running version's message", |frame| frame.data()["count"] == 1);
    assert_eq!(message.data()["stamp"], "v0");
    live.signal(Signal::INT);
    live.wait(SOON);

    let ended = world.run(&[&command[..], &["--live", "2s", "--json"]].concat());
    assert!(ended.status.success(), "{}", ended.log);
    let lines: Vec<serde_json::Value> =
        ended.log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let last = lines.last().expect("a report");
    assert_eq!((&last["ended"], &last["changed"], &last["to"]), (&true.into(), &1.into(), &last["to"]), "{last}");
    assert_eq!(lines.iter().filter(|line| line["ended"] == true).count(), 1);

    let refused = world.run(&[&command[..], &["--live", "2s", "--to", "7"]].concat());
    assert_eq!(refused.status.code(), Some(2), "{}", refused.log);
    let (status, body) = server.get_as("/api/v1/plugins/stamp", "900", "ADMIN");
    assert!(status == 200 && !body.contains("0.2.0"), "nothing of it is kept: {body}");
}
