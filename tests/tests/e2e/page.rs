//! The page at `/` in a real browser.

use std::time::{Duration, Instant};

use relevo_tests::browser::{Browser, Visitor};
use relevo_tests::client::{Client, Connect};
use relevo_tests::panel::counted;
use relevo_tests::server::Server;
use relevo_tests::token::{seconds_from_now, signed, token};
use relevo_tests::wait::until;
use relevo_tests::world::World;
use serde_json::{Value, json};

/// Longer than a browser takes to draw on a busy machine.
const DRAWN: Duration = Duration::from_secs(60);

/// What the panel shows: its numbers, and its groups of numbers.
const PANEL: &str = "
    const numbers = [...document.querySelectorAll('.panel .tile')].map((t) => [t.dataset.field, Number(t.dataset.value)]);
    const cells = (row) => Object.fromEntries([...row.querySelectorAll('td')].map((c) => [c.dataset.column, Number(c.textContent)]));
    const rows = (group) => Object.fromEntries([...group.querySelectorAll('tbody tr')].map((r) => [r.dataset.member, cells(r)]));
    const groups = [...document.querySelectorAll('.panel .group')].map((g) => [g.dataset.field, rows(g)]);
    return Object.fromEntries([...numbers, ...groups]);";

/// The keys of the tasks' board, in the order in which they stand there.
const BOARD: &str =
    "return [...document.querySelectorAll('[data-channel=\"tasks:board\"] tbody tr')].map((r) => r.dataset.key)";

const CONNECTED: &str = "return document.querySelector('#state').dataset.state === 'connected'";

fn home(server: &Server) -> String {
    format!("http://{}/", server.address)
}

fn sign_in(browser: &Browser, token: &str) {
    browser.wait("the page", "return document.querySelector('#connect').textContent");
    browser.write("#token", token);
    browser.click("#connect");
}

/// Opens the page, types a token, and waits until it is connected and shows the board.
fn connected(server: &Server, visitor: Visitor, user: &str, role: &str) -> Browser {
    let browser = Browser::start(visitor);
    browser.open(&home(server));
    sign_in(&browser, &token(user, role));
    browser.wait("the connection", CONNECTED);
    browser.wait("the board", &format!("{BOARD}.length > 0"));
    browser
}

/// Waits until a script returns just this.
fn shows(browser: &Browser, script: &str, wanted: &Value) {
    let mut last = Value::Null;
    let deadline = Instant::now() + DRAWN;
    while last != *wanted {
        assert!(Instant::now() < deadline, "the page shows {last:#}, not {wanted:#}");
        last = browser.run(script);
    }
}

/// The titles in the log, oldest first.
fn titles(browser: &Browser) -> Vec<String> {
    let script = "return [...document.querySelectorAll('#event-list li[data-channel=tasks] .what')].reverse().map((e) => e.textContent)";
    serde_json::from_value(browser.run(script)).unwrap()
}

fn assert_no_errors(browser: &Browser) {
    let errors: Vec<String> = browser.console().into_iter().filter(|line| line.starts_with("SEVERE")).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn a_visitor_with_a_token_sees_a_task_s_change_arriving() {
    let world = World::new();
    let server = world.serve();
    let browser = connected(&server, Visitor::default(), "900", "ADMIN");
    world.sql("update tareas set estado = 'IN_PROGRESS' where id = 1");
    let row = browser.wait_text("#event-list li[data-type=task_status_changed]", "T-001");
    assert!(row.contains("scheduled · in progress"), "{row}");
    // The whole message is a click away.
    browser.click("#event-list li[data-type=task_status_changed] summary");
    browser.wait_text("#event-list pre", "\"new_status\": \"en_curso\"");
    browser.wait_text("#who", "900 · ADMIN");
    assert_no_errors(&browser);
}

#[test]
fn the_panel_s_numbers_are_those_of_the_database() {
    let world = World::new();
    let server = world.serve();
    let browser = connected(&server, Visitor::default(), "900", "ADMIN");
    let as_counted = || {
        let wanted = counted(&world);
        let same = || {
            let shown = browser.run(PANEL);
            wanted.iter().all(|(name, count)| shown[name] == *count).then_some(())
        };
        until("the panel's numbers", DRAWN, same);
    };
    as_counted();
    world.sql("update tareas set estado = 'COMPLETED', prioridad = 'CRITICAL' where id = 1");
    world.sql("update efectivos set estado_disponibilidad = 'FUERA_SERVICIO', unidad = 'ESTE' where id = 2");
    as_counted();
    world.sql("delete from tareas where id = 2");
    as_counted();
    assert_no_errors(&browser);
}

#[test]
fn the_board_follows_inserts_updates_and_deletes() {
    let world = World::new();
    let server = world.serve();
    let browser = connected(&server, Visitor::default(), "900", "ADMIN");
    shows(&browser, BOARD, &json!(["1", "2"]));
    world.sql(
        "insert into tareas (id, uuid, codigo, titulo, tipo, creado_por_usuario_id) \
         values (10, 't-10', 'T-010', 'Ronda nocturna', 'PATRULLAJE', 1)",
    );
    shows(&browser, BOARD, &json!(["1", "2", "10"]));
    browser.wait_text("tr[data-key='10']", "Ronda nocturna");
    world.sql("update tareas set titulo = 'Ronda diurna', estado = 'PAUSED' where id = 10");
    browser.wait_text("tr[data-key='10']", "Ronda diurna");
    browser.wait_text("tr[data-key='10']", "paused");
    world.sql("delete from tareas where id = 1");
    shows(&browser, BOARD, &json!(["2", "10"]));
    world.sql("update tareas set deleted_at = '2026-02-02T00:00:00Z'");
    shows(&browser, BOARD, &json!([]));
    browser.wait_text("section[data-channel='tasks:board']", "No entries.");
    assert_no_errors(&browser);
}

#[test]
fn after_a_restart_and_a_kill_it_comes_back_by_itself_and_shows_what_it_missed_once() {
    let world = World::new();
    let mut server = world.serve();
    let world = world.set_environment("RELEVO_LISTEN", &server.address.to_string());
    let browser = connected(&server, Visitor::default(), "900", "ADMIN");
    let retitle = |n: usize| world.sql(&format!("update tareas set titulo = 'n {n}' where id = 1"));
    retitle(0);
    browser.wait_text("#event-list", "n 0");
    for round in 0..2 {
        if round == 0 {
            server.kill();
        } else {
            server.stop(Duration::from_secs(20));
        }
        browser.wait("that it waits", "return document.querySelector('#state').dataset.state === 'waiting'");
        browser.wait("why", "return document.querySelector('#why').checkVisibility()");
        for n in 1..=5 {
            retitle(round * 5 + n);
        }
        if round == 0 {
            world.sql("delete from tareas where id = 2");
        }
        server = world.serve();
        browser.wait("the connection", CONNECTED);
        browser.wait_text("#event-list", &format!("n {}", round * 5 + 5));
        browser.wait_text("tr[data-key='1']", &format!("n {}", round * 5 + 5));
    }
    let told: Vec<String> = titles(&browser).into_iter().filter(|title| title.starts_with("T-001 · n ")).collect();
    let wanted: Vec<String> = (0..=10).map(|n| format!("T-001 · n {n}")).collect();
    assert_eq!(told, wanted);
    shows(&browser, BOARD, &json!(["1"]));
    let twice = "const ids = [...document.querySelectorAll('#event-list li[data-id]')].map((e) => e.dataset.id); \
                 return ids.length - new Set(ids).size";
    assert_eq!(browser.run(twice), json!(0));
}

#[test]
fn a_lost_journal_is_told_and_the_page_goes_on_with_what_is_there() {
    let world = World::new();
    let server = world.serve();
    let world = world.set_environment("RELEVO_LISTEN", &server.address.to_string());
    let browser = connected(&server, Visitor::default(), "900", "ADMIN");
    shows(&browser, BOARD, &json!(["1", "2"]));
    assert!(server.stop(Duration::from_secs(20)).status.success());
    for file in world.journal_files() {
        std::fs::remove_file(file).unwrap();
    }
    world.sql("delete from tareas where id = 2");
    let _server = world.serve();
    browser.wait_text("#event-list .notice", "Something was missed in all channels: epoch");
    shows(&browser, BOARD, &json!(["1"]));
    world.sql("update tareas set titulo = 'after the gap' where id = 1");
    browser.wait_text("#event-list li[data-channel=tasks]", "after the gap");
    browser.wait_text("tr[data-key='1']", "after the gap");
}

#[test]
fn a_restored_database_is_told_and_the_board_is_that_of_the_database() {
    let world = World::new();
    let mut server = world.serve();
    let world = world.set_environment("RELEVO_LISTEN", &server.address.to_string());
    assert!(server.stop(Duration::from_secs(20)).status.success());
    let backup = world.database().with_extension("backup");
    world.sql(&format!("vacuum into '{}'", backup.display()));
    server = world.serve();
    let browser = connected(&server, Visitor::default(), "900", "ADMIN");
    world.sql("delete from tareas where id = 2; update tareas set titulo = 'after the backup' where id = 1");
    shows(&browser, BOARD, &json!(["1"]));
    browser.wait_text("tr[data-key='1']", "after the backup");
    assert!(server.stop(Duration::from_secs(20)).status.success());
    for ending in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{ending}", world.database().display()));
    }
    std::fs::rename(&backup, world.database()).unwrap();
    let _server = world.serve();
    browser.wait_text("#event-list .notice", "Something was missed in all channels: source");
    shows(&browser, BOARD, &json!(["1", "2"]));
    browser.wait_text("tr[data-key='1']", "Patrulla norte");
}

#[test]
fn a_refused_token_shows_the_reason_and_is_not_tried_again() {
    let world = World::new();
    let server = world.serve();
    let browser = Browser::start(Visitor::default());
    browser.open(&home(&server));
    let claims = json!({"sub": "900", "role": "ADMIN", "exp": seconds_from_now(3600)});
    sign_in(&browser, &signed(&claims, &"another secret ".repeat(4)));
    let closed = "return document.querySelector('#state').dataset.state === 'closed'";
    browser.wait("the refusal", closed);
    let why = browser.wait_text("#why", "The token was refused");
    assert!(why.contains("4500") && why.contains("The server says: "), "{why}");
    // The first try after a break comes within a second: time enough for it to show.
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        assert_eq!(browser.run(closed), json!(true));
    }
    browser.run("document.querySelector('#token').value = ''");
    sign_in(&browser, &token("900", "ADMIN"));
    browser.wait("the connection", CONNECTED);
    browser.wait("that the reason is gone", "return !document.querySelector('#why').checkVisibility()");
}

#[test]
fn an_operator_sees_the_statistics_and_another_role_is_told_that_it_may_not() {
    let world = World::new();
    let server = world.serve();
    let browser = connected(&server, Visitor::default(), "2", "LEVEL_1");
    let refused = browser.wait_text("#stats-refused", "The role LEVEL_1 may not see the statistics.");
    assert!(refused.contains("auth.operators"), "{refused}");
    // Whether its parts are ready is no secret.
    browser.wait_text("tr[data-part='pipeline panel']", "✓");
    browser.click("#disconnect");
    browser.run("document.querySelector('#token').value = ''");
    sign_in(&browser, &token("900", "ADMIN"));
    browser.wait_text("#stats-body", "Messages delivered");
    browser.wait_text("#stats-body .tile", "Connections1");
    browser.wait("that the refusal is gone", "return document.querySelector('#stats-refused') === null");
}

#[test]
fn a_channel_that_the_role_may_not_read_is_marked_with_the_reason() {
    let world = World::configured(|world| world.channel("pattern = \"system\"\nread = [\"ADMIN\"]"));
    let server = world.serve();
    let browser = connected(&server, Visitor::default(), "2", "LEVEL_1");
    browser.wait_text(".chip.bad", "Notices");
    browser.wait_text("#event-list .notice", "system: refused");
    // The others are there.
    world.sql("update tareas set estado = 'IN_PROGRESS' where id = 1");
    browser.wait_text("#event-list", "T-001");
}

#[test]
fn it_speaks_the_visitor_s_language_and_remembers_another_choice() {
    let world = World::new();
    let server = world.serve();
    let browser = connected(&server, Visitor { language: "es", ..Visitor::default() }, "900", "ADMIN");
    browser.wait_text("#state", "Conectado");
    browser.wait_text(".stats h2", "Estadísticas");
    browser.wait_text(".board h2", "Tareas abiertas");
    browser.wait_text("tr[data-key='1']", "programada");
    browser.wait_text(".panel .tile[data-field=busy_efectivos]", "En tarea");
    assert_eq!(browser.run("return document.documentElement.lang"), json!("es"));

    browser.run("const s = document.querySelector('#language'); s.value = 'en'; s.dispatchEvent(new Event('change'))");
    browser.wait_text("#state", "Connected");
    browser.wait_text("tr[data-key='1']", "scheduled");
    browser.reload();
    // The tab keeps its token.
    browser.wait_text("#state", "Connected");
    browser.wait_text(".panel .tile[data-field=busy_efectivos]", "On a task");
    assert_eq!(browser.run("return document.documentElement.lang"), json!("en"));
    assert_no_errors(&browser);
}

#[test]
fn hostile_data_stays_text() {
    const MARKUP: &str = "<img src=x onerror=\"window.hacked=1\"><script>window.hacked=1</script>";
    let world = World::new();
    let server = world.serve();
    let browser = connected(&server, Visitor::default(), "900", "ADMIN");
    world.sql(&format!("update tareas set titulo = '{MARKUP}' where id = 1"));
    browser.wait_text("tr[data-key='1']", MARKUP);
    browser.wait_text("#event-list", MARKUP);
    let mut client = Client::connect(server.address, &Connect::admin());
    let alert = json!({"type": "publish", "channel": "system", "event_type": MARKUP, "data": {"title": MARKUP, "constructor": [MARKUP]}});
    assert_eq!(client.ask(alert).kind(), "published");
    browser.wait_text("#event-list li[data-channel=system] .type", MARKUP);
    browser.click("#event-list li[data-channel=system] summary");
    browser.wait_text("#event-list pre", "onerror");
    assert_eq!(browser.run("return document.querySelectorAll('main img, main script').length"), json!(0));
    assert_eq!(browser.run("return window.hacked ?? null"), Value::Null);
    assert_no_errors(&browser);
}

#[test]
fn a_token_in_the_link_connects_and_is_nowhere_in_the_address_bar() {
    let world = World::new();
    let server = world.serve();
    let browser = Browser::start(Visitor::default());
    let token = token("900", "ADMIN");
    browser.open(&format!("{}#token={token}", home(&server)));
    browser.wait("the connection", CONNECTED);
    assert_eq!(browser.address(), home(&server));
    // Nor in what outlives the tab, nor in what the page asked for.
    let kept = "return JSON.stringify({...localStorage}) + performance.getEntriesByType('resource').map((e) => e.name).join(' ')";
    let kept = browser.run(kept);
    let kept = kept.as_str().unwrap();
    assert!(kept.contains("settings.json") && !kept.contains(&token), "{kept}");
}

#[test]
fn a_flood_of_events_is_shown_in_part_and_the_page_stays_quick() {
    let world = World::new();
    let server = world.serve();
    let browser = connected(&server, Visitor::default(), "900", "ADMIN");
    let flood: String = (0..3000).map(|n| format!("update tareas set titulo = 'n {n}' where id = 1;\n")).collect();
    world.sql(&format!("begin;\n{flood}commit;"));
    browser.wait_text("#event-list", "n 2999");
    browser.wait_text("tr[data-key='1']", "n 2999");
    assert_eq!(browser.run("return document.querySelectorAll('#event-list li').length"), json!(200));
    // What stands still while paused goes on after it.
    browser.click("#pause");
    browser.wait("the pause", "return document.querySelector('#pause').getAttribute('aria-pressed') === 'true'");
    world.sql("update tareas set titulo = 'after the pause' where id = 1");
    browser.wait_text("#pause", "Go on (1 new)");
    assert!(!titles(&browser).iter().any(|title| title.contains("after the pause")));
    browser.click("#pause");
    browser.wait_text("#event-list", "after the pause");
    browser.write("#filter", "n 2998");
    shows(&browser, "return document.querySelectorAll('#event-list li').length", &json!(1));
}
