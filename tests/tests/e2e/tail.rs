//! `relevo tail` shows what the issue promises.

use relevo_tests::server::Process;
use relevo_tests::token::token;
use relevo_tests::wait::SOON;
use relevo_tests::world::World;

#[test]
fn a_changed_task_is_seen_by_tail_on_its_channel_and_on_the_dashboard() {
    let world = World::new();
    let server = world.serve();
    let url = format!("ws://{}/api/v1/ws/connect", server.address);
    let token = token("1", "ADMIN");
    let arguments = ["tail", "tasks", "dashboard:kpis", "--url", &url, "--token", &token, "--json"];
    let mut tail = Process::start(world.command(&arguments));
    // The dashboard's current value comes first: then tail is subscribed.
    let first = tail.wait_for_line("dashboard_update", SOON);
    assert!(first.is_some(), "no dashboard at the start: {}", tail.log.text());
    let before = tail.log.lines().iter().filter(|l| l.contains("dashboard_update")).count();
    world.sql("update tareas set estado='IN_PROGRESS' where id=1");
    let line = tail.wait_for_line("task_status_changed", SOON).unwrap_or_else(|| panic!("{}", tail.log.text()));
    assert!(line.contains("task_event"), "{line}");
    assert!(line.contains("programada") && line.contains("en_curso"), "both states: {line}");
    relevo_tests::wait::until("the dashboard's update", SOON, || {
        let now = tail.log.lines().iter().filter(|l| l.contains("dashboard_update")).count();
        (now > before).then_some(())
    });
}

#[test]
fn a_token_is_taken_from_a_file_and_from_the_environment_where_no_list_of_processes_shows_it() {
    let world = World::new();
    let server = world.serve();
    let (http, ws) = (format!("http://{}", server.address), format!("ws://{}/api/v1/ws/connect", server.address));
    let file = world.data().with_file_name("token");
    std::fs::write(&file, format!("{}\n", token("1", "ADMIN"))).unwrap();
    let file = file.to_str().unwrap();
    let tail = ["tail", "dashboard:kpis", "--count", "1", "--url", &ws];
    let list = ["plugin", "list", "--url", &http];
    for command in [tail.as_slice(), &list] {
        let run = |arguments: &[&str], variable: &str| {
            let mut command = world.command(&[command, arguments].concat());
            command.env("RELEVO_TOKEN", variable);
            Process::start(command).wait(SOON)
        };
        for ended in [run(&["--token-file", file], "no token"), run(&[], &token("1", "ADMIN"))] {
            assert!(ended.status.success(), "{command:?}: {}", ended.log);
        }
        // It is that token which counts: one that the server doesn't know is refused.
        let ended = run(&[], "a.b.c");
        assert_eq!(ended.status.code(), Some(1), "{command:?}: {}", ended.log);
    }
}

#[test]
fn tail_comes_back_by_itself_and_misses_nothing() {
    let world = World::new();
    let server = world.serve();
    let address = server.address;
    let url = format!("ws://{address}/api/v1/ws/connect");
    let token = token("1", "ADMIN");
    let mut tail = Process::start(world.command(&["tail", "tasks", "--url", &url, "--token", &token, "--json"]));
    relevo_tests::wait::until("tail's first message", SOON, || {
        // Until tail is subscribed its messages are not for it.
        world.sql("update tareas set titulo = 'first ' || random() where id = 1");
        tail.log.contains("first ").then_some(())
    });
    server.kill();
    world.sql("update tareas set titulo = 'while it was away' where id = 1");
    let again = world.set_environment("RELEVO_LISTEN", &address.to_string());
    let _server = again.serve();
    assert!(tail.wait_for_line("while it was away", SOON).is_some(), "{}", tail.log.text());
}
