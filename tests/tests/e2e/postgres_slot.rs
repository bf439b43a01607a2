//! The replication slot in danger and lost; and what an operator has: status, reset, detach.

use std::process::Child;
use std::time::{Duration, Instant};

use relevo_tests::client::{Client, Connect};
use relevo_tests::network::Network;
use relevo_tests::panel;
use relevo_tests::postgres::{DATABASE, Postgres};
use relevo_tests::server::Process;
use relevo_tests::token::token;
use relevo_tests::wait::{SOON, until};
use relevo_tests::witness::{Witness, database, rounds};
use relevo_tests::world::World;
use rustix::process::Signal;

/// Much WAL that no table of ours is in: 60 MB.
const OTHER_WAL: &str = "do $$ begin for i in 1..60 loop perform pg_logical_emit_message(false, 'x', repeat('x', 1000000)); end loop; end $$";

/// Which session has the transaction of [`hold_open`].
const HOLDER: &str = "from pg_stat_activity where query like '%pg_sleep(600)%' and backend_xid is not null";

/// A transaction that has written, and stays open until [`end`]: slots that are made wait for it.
fn hold_open(world: &World) -> Child {
    let open =
        database(world).meanwhile("begin; update tareas set titulo = 'open' where id = 1; select pg_sleep(600);");
    until("the open transaction", SOON, || (world.sql(&format!("select count(*) {HOLDER}")) == "1").then_some(()));
    open
}

fn end(world: &World, mut open: Child) {
    world.sql(&format!("select pg_terminate_backend(pid) {HOLDER}"));
    let _ = open.wait();
}

fn free(world: &World) {
    let active = "select count(*) from pg_replication_slots where active";
    until("the slot's release", SOON, || (world.sql(active) == "0").then_some(()));
}

#[test]
fn a_slot_dropped_made_again_and_invalidated_while_relevo_is_down_is_one_gap_each_and_never_a_quiet_continuation() {
    let world = World::postgres();
    let mut server = world.serve();
    let mut witness = Witness::of("slot", &world, &server);
    let drop_slot = "select pg_drop_replication_slot('relevo_gad')";
    for what in ["dropped", "made again", "invalidated"].repeat(rounds(2)) {
        witness.sees(100);
        server.kill();
        free(&world);
        match what {
            "dropped" => {
                world.sql(drop_slot);
                for command in [&["capture", "status"][..], &["doctor"]] {
                    let shown = world.run(command).log;
                    assert!(shown.contains("the replication slot is gone: the next start"), "{shown}");
                }
            }
            "made again" => {
                world.sql(drop_slot);
                world.sql("select pg_create_logical_replication_slot('relevo_gad', 'pgoutput')");
            }
            _ => {
                invalidate(&world);
                let shown = world.run(&["capture", "status"]).log;
                assert!(shown.contains("relevo_gad, lost"), "{shown}");
            }
        }
        server = world.serve();
        witness.server_is_at(server.address);
        witness.fault(what);
    }
    witness.sees(100);
    witness.judge_after_gaps(&world, &server);
}

/// Has the server give up a slot that is behind.
fn invalidate(world: &World) {
    world.sql("alter system set max_slot_wal_keep_size = '16MB'");
    world.sql("select pg_reload_conf()");
    world.sql(OTHER_WAL);
    until_lost(world);
}

/// Waits until the slot is given up, and lets the next one live.
fn until_lost(world: &World) {
    let status = "select wal_status from pg_replication_slots where slot_name = 'relevo_gad'";
    until("the slot's loss", SOON, || {
        world.sql("checkpoint");
        (world.sql(status) == "lost").then_some(())
    });
    world.sql("alter system reset max_slot_wal_keep_size");
    world.sql("select pg_reload_conf()");
}

#[test]
fn a_slot_invalidated_while_relevo_streams_from_it_is_one_gap_each_time() {
    let postgres = Postgres::start();
    let network = Network::to(postgres.socket());
    let world = World::over(postgres, |world| world.set_environment("RELEVO_DATABASE_URL", &network.url(DATABASE)));
    let server = world.serve();
    let mut witness = Witness::of("slot invalidated while it streams", &world, &server);
    for round in 1..=rounds(2) {
        witness.sees(100);
        // What the server sends gets stuck: the slot stands still, with its session at it.
        network.fall_silent();
        world.sql("alter system set max_slot_wal_keep_size = '16MB'");
        world.sql("select pg_reload_conf()");
        world.sql(OTHER_WAL);
        let mut checkpoint = database(&world).meanwhile("checkpoint");
        let ends = |line: &&str| line.contains("terminating process") && line.contains("\"relevo_gad\"");
        until("the end of the session", SOON, || {
            (database(&world).log_text().lines().filter(ends).count() == round).then_some(())
        });
        // It ends when the server can't even say so any more.
        network.cut();
        assert!(checkpoint.wait().expect("psql ends").success());
        until_lost(&world);
        network.mend();
        witness.fault("invalidated");
        witness.sees(100);
        server.wait_readyz("that it goes on", |status, _| status == 200);
    }
    witness.judge_after_gaps(&world, &server);
}

#[test]
fn a_slot_dropped_while_relevo_streams_from_it_is_one_gap_each_time() {
    // A slot that is in use can't be dropped: its session is ended first, and relevo is back soon.
    const DROP: &str = "do $$ begin
        loop
            perform pg_terminate_backend(active_pid, 5000) from pg_replication_slots where slot_name = 'relevo_gad' and active;
            begin
                perform pg_drop_replication_slot('relevo_gad');
                exit;
            exception when object_in_use then null;
            end;
        end loop;
    end $$";
    let world = World::postgres();
    let server = world.serve();
    let mut witness = Witness::of("slot dropped while it streams", &world, &server);
    for _ in 0..rounds(2) {
        witness.sees(100);
        world.sql(DROP);
        witness.fault("dropped");
        witness.sees(100);
        server.wait_readyz("that it goes on", |status, _| status == 200);
    }
    witness.judge_after_gaps(&world, &server);
}

#[test]
fn operators_hear_that_a_slot_is_in_danger_and_that_it_is_safe_again() {
    let postgres = Postgres::with(&["max_slot_wal_keep_size=96MB"]);
    let world = World::over(postgres, |world| world.source("guard = \"200ms\""));
    let server = world.serve();
    let mut operator = Client::connect(server.address, &Connect::admin().to("system:operators"));
    // An open transaction holds the slot back.
    let open = hold_open(&world);
    world.sql(OTHER_WAL);
    world.sql("checkpoint");
    world.sql("do $$ begin for i in 1..25 loop perform pg_logical_emit_message(false, 'x', repeat('x', 1000000)); end loop; end $$");
    let notice = operator.expect("the warning", |f| f.data()["code"] == "capture_at_risk");
    assert!(notice.data()["content"].as_str().unwrap().contains("max_slot_wal_keep_size"), "{}", notice.raw);
    let ready = server.get("/readyz");
    assert!(ready.0 == 200 && ready.1.contains("replication slot relevo_gad is"), "{ready:?}");
    let (_, metrics) = server.get_as("/metrics", "900", "ADMIN");
    for name in ["retained", "safe", "lag"] {
        assert!(metrics.contains(&format!("relevo_source_slot_{name}_bytes{{source=\"gad\"}}")), "{metrics}");
    }
    end(&world, open);
    until("that the slot follows", SOON, || {
        world.sql("checkpoint");
        operator.find(std::time::Duration::from_millis(300), |f| f.data()["code"] == "capture_safe").map(|_| ())
    });
}

#[test]
fn advice_is_logged_once_however_often_the_source_is_opened_anew() {
    let world = World::postgres();
    let server = world.serve();
    let logged = |text: &str| server.process.log.lines().iter().filter(|line| line.contains(text)).count();
    for sessions in 1..=3 {
        until("the stream", SOON, || (logged(": streaming ") == sessions).then_some(()));
        world.sql("select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = 'relevo_gad'");
    }
    assert_eq!(logged("max_slot_wal_keep_size has no limit"), 1, "{}", server.process.log.text());
}

#[test]
fn an_operator_sees_resets_and_detaches_a_source_with_the_server_running_and_stopped() {
    let world = World::postgres();
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks"));
    let here = format!("http://{}", server.address);
    let admin = token("900", "ADMIN");
    let ask = |arguments: &[&str]| {
        let ended = world.run(&[&["capture"], arguments, &["--url", &here, "--token", &admin]].concat());
        assert!(ended.status.success(), "{}", ended.log);
        ended.log
    };
    let shown = ask(&["status"]);
    for text in
        ["gad (postgres): running", "tables       efectivos, tareas, usuarios", "slot         relevo_gad, reserved"]
    {
        assert!(shown.contains(text), "{shown}");
    }
    let url = format!("ws://{}/api/v1/ws/connect", server.address);
    let mut tail = Process::start(world.command(&["tail", "tasks", "--json", "--url", &url, "--token", &admin]));
    tail.wait_for_line("-- connected at ", SOON).unwrap_or_else(|| panic!("{}", tail.log.text()));
    assert!(ask(&["reset", "gad"]).contains("begins anew"));
    let gap = client.expect("the gap", |f| f.kind() == "gap");
    assert!(gap.raw.contains("it was reset by "), "{}", gap.raw);
    // A program that reads what is printed sees it, too.
    tail.wait_for_line("{\"type\":\"gap\"", SOON).unwrap_or_else(|| panic!("{}", tail.log.text()));
    server.wait_readyz("that it goes on", |status, _| status == 200);
    world.sql("update tareas set titulo = 'after the reset' where id = 1");
    client.expect("a change", |f| f.is_of("tasks") && f.raw.contains("after the reset"));
    let clerk = world.run(&["capture", "reset", "gad", "--url", &here, "--token", &token("2", "LEVEL_1")]);
    assert!(!clerk.status.success() && clerk.log.contains("may not operate"), "{}", clerk.log);
    let running = world.run(&["capture", "detach"]);
    assert!(!running.status.success() && running.log.contains("in use by another relevo"), "{}", running.log);

    assert!(server.stop(SOON).status.success());
    free(&world);
    let shown = world.run(&["capture", "status"]).log;
    assert!(shown.contains("gad (postgres): stopped") && shown.contains("position"), "{shown}");
    let reset = world.run(&["capture", "reset", "gad"]);
    assert!(reset.status.success() && reset.log.contains("at the next `relevo serve`"), "{}", reset.log);
    let shown = world.run(&["capture", "status"]).log;
    assert!(shown.contains("it was reset"), "{shown}");
    let server = world.serve();
    panel::assert_equals_a_count(&world, &server);
    assert!(server.stop(SOON).status.success());
    free(&world);
    let detached = world.run(&["capture", "detach"]).log;
    assert!(detached.contains("took out replication slot relevo_gad and publication relevo_gad"), "{detached}");
    assert_eq!(world.sql("select count(*) from pg_replication_slots"), "0");
    let server = world.serve();
    panel::assert_equals_a_count(&world, &server);
}

#[test]
fn a_state_that_is_being_made_anew_is_said_with_what_its_rows_wait_for() {
    let world = World::postgres();
    let server = world.serve();
    server.wait_readyz("that all runs", |status, _| status == 200);
    let open = hold_open(&world);
    let url = format!("http://{}", server.address);
    assert!(world.run(&["rebuild", "panel", "--url", &url]).status.success());
    let anew = "it shows what was, until its state is made anew: 0";
    let waits = "it waits for a transaction of relevo (psql, process ";
    server.wait_readyz("what the rows wait for", |status, text| {
        status == 200 && text.contains(anew) && text.contains(waits) && text.contains("pg_terminate_backend(")
    });
    let shown = world.run(&["capture", "status", "--url", &url]).log;
    assert!(shown.contains("waits for a transaction of relevo (psql, process "), "{shown}");
    end(&world, open);
    server.wait_readyz("that it is made", |status, text| status == 200 && !text.contains(anew));
}

#[test]
fn a_slot_that_waits_for_a_transaction_is_told_of_and_given_up_at_once_by_a_stop() {
    let world = World::postgres();
    let mut open = hold_open(&world);
    let mut process = Process::start(world.command(&["serve"]));
    let line = process.wait_for_line("a replication slot is being made, which waits for a transaction", SOON);
    let line = line.unwrap_or_else(|| panic!("{}", process.log.text()));
    let printed = line.split_once("to end it: ").and_then(|(_, rest)| rest.split_once(';')).map(|(sql, _)| sql);
    let begun = Instant::now();
    process.signal(Signal::TERM);
    let ended = process.wait(SOON);
    assert!(ended.status.success(), "{}", ended.log);
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:.1?}", begun.elapsed());
    // While the transaction is still open: otherwise the next start waits for a slot that nobody uses.
    until("the end of the half-made slot", SOON, || {
        (world.sql("select count(*) from pg_replication_slots") == "0").then_some(())
    });
    assert_eq!(world.sql(&format!("select count(*) {HOLDER}")), "1");
    assert_eq!(world.sql(printed.expect("a statement that ends it")), "t", "{line}");
    let _ = open.wait();
    let server = world.serve();
    panel::assert_equals_a_count(&world, &server);
}

#[test]
fn what_detach_leaves_is_taken_out_as_it_says() {
    let world = World::postgres();
    assert!(world.serve().stop(SOON).status.success());
    free(&world);
    // The publication is another role's than the one that relevo comes as.
    world.sql("create role watcher login replication");
    let url = database(&world).url(DATABASE).replace("//relevo@", "//watcher@");
    let world = world.set_environment("RELEVO_DATABASE_URL", &url);
    let detached = world.run(&["capture", "detach"]).log;
    assert!(detached.contains("took out replication slot relevo_gad\n"), "{detached}");
    let printed = detached.split_once("as that or a superuser run: ").and_then(|(_, rest)| rest.split_once(';'));
    let printed = printed.unwrap_or_else(|| panic!("{detached}")).0;
    let again = world.run(&["capture", "detach"]).log;
    assert!(again.contains(printed) && again.contains("nothing else of relevo's is there"), "{again}");
    world.sql(printed);
    assert_eq!(world.sql("select count(*) from pg_publication"), "0");
    let printed = detached.split_once("keep their replica identity: ").and_then(|(_, rest)| rest.split_once(" takes"));
    world.sql(&printed.unwrap_or_else(|| panic!("{detached}")).0.replace("NAME", "tareas"));
    assert_eq!(world.sql("select relreplident from pg_class where relname = 'tareas'"), "d");
}
