//! The panel's numbers are those of the database.

use relevo_tests::client::{Client, Connect};
use relevo_tests::panel::assert_equals_a_count;
use relevo_tests::random::Random;
use relevo_tests::wait::{SOON, until};
use relevo_tests::workload::{CliWriter, OwnWriter, PREPARE, transactions};
use relevo_tests::world::World;
use serde_json::{Value, json};

#[test]
fn it_equals_a_count_from_the_first_start_on() {
    let world = World::new();
    let server = world.serve();
    assert_equals_a_count(&world, &server);
}

#[test]
fn it_equals_a_count_after_random_changes_and_kills() {
    let mut random = Random::from_environment("panel");
    let world = World::configured(|world| world.set("plugins.replace_instance_after = 3"));
    world.sql(PREPARE);
    let mut server = world.serve();
    for round in 0..4 {
        let own = OwnWriter::start(world.database(), transactions(&mut random, 200));
        let cli = CliWriter::start(&world.database(), transactions(&mut random, 200));
        if round % 2 == 1 {
            until("half of the changes", SOON, || (own.committed() > 100).then_some(()));
            server.kill();
            server = world.serve();
        }
        for _ in 0..20 {
            let id = random.between(1, 2);
            let state = random.pick(&["DISPONIBLE", "EN_TAREA", "FUERA_SERVICIO", "NO_DISPONIBLE"]);
            let deleted = random.pick(&["null", "'2026-02-02T00:00:00Z'"]);
            world.sql(&format!(
                "update efectivos set estado_disponibilidad = '{state}', deleted_at = {deleted} where id = {id}"
            ));
        }
        own.finish();
        cli.finish();
        assert_equals_a_count(&world, &server);
    }
}

#[test]
fn an_operator_s_rebuild_keeps_every_number_the_windows_too() {
    let world = World::new();
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("dashboard:kpis"));
    let first = client.expect("the dashboard", |f| f.event_type() == "dashboard_update");
    let before = first.data()["completed_last_hour"].as_u64().unwrap();
    world.sql(
        "update tareas set estado = 'COMPLETED', fin_real = strftime('%Y-%m-%dT%H:%M:%fZ') \
         where id in (select id from tareas where estado <> 'COMPLETED' and deleted_at is null order by id limit 2)",
    );
    for id in 1..=2 {
        client.ask(json!({ "type": "publish", "id": id, "channel": "system", "event_type": "alert", "data": { "title": "!" } }));
    }
    let windows = |data: &Value| (data["completed_last_hour"].as_u64(), data["alerts_count"].as_u64());
    let wanted = (Some(before + 2), Some(2));
    client.expect("both windows", |f| f.event_type() == "dashboard_update" && windows(f.data()) == wanted);

    let asked = world.run(&["rebuild", "panel", "--url", &format!("http://{}", server.address)]);
    assert!(asked.status.success(), "{asked:?}");
    until("the rebuild", SOON, || {
        let rebuilt = |line: &&String| line.contains("the state is made of") && line.contains("pipeline=panel");
        // The first one was its beginning.
        (server.process.log.lines().iter().filter(rebuilt).count() == 2).then_some(())
    });
    world.sql("update tareas set estado = 'PAUSED' where id = (select max(id) from tareas where deleted_at is null)");
    assert_equals_a_count(&world, &server);
    let mut fresh = Client::connect(server.address, &Connect::admin().to("dashboard:kpis"));
    let now = fresh.expect("the dashboard", |f| f.event_type() == "dashboard_update");
    assert_eq!(windows(now.data()), wanted);
}

#[test]
fn only_an_operator_may_ask_for_a_rebuild_and_only_of_a_pipeline_that_is_there() {
    let world = World::new();
    let server = world.serve();
    let url = format!("http://{}", server.address);
    let refused = |arguments: &[&str]| {
        let ended = world.run(&[&["rebuild", "--url", &url], arguments].concat());
        assert!(!ended.status.success(), "{ended:?}");
        ended.log
    };
    let unknown = refused(&["panal"]);
    assert!(unknown.contains("there are: tareas, efectivos, panel"), "{unknown}");
    assert!(refused(&["panel", "--token", "x"]).contains("401"));
    let made = world.run(&["token", "--user", "7", "--role", "LEVEL_1"]);
    let token = made.log.lines().find(|line| line.starts_with("ey")).expect("a token");
    assert!(refused(&["panel", "--token", token]).contains("auth.operators names the roles that may"));
}

#[test]
fn it_counts_soft_deletes_as_deletes_and_what_comes_back() {
    let world = World::new();
    let server = world.serve();
    world.sql("update tareas set deleted_at = '2026-02-02T00:00:00Z' where id = 2");
    assert_equals_a_count(&world, &server);
    world.sql("update tareas set deleted_at = null, estado = 'COMPLETED' where id = 2");
    assert_equals_a_count(&world, &server);
    world.sql("delete from tareas");
    assert_equals_a_count(&world, &server);
}
