//! The panel's numbers are those of the database.

use relevo_tests::panel::assert_equals_a_count;
use relevo_tests::random::Random;
use relevo_tests::wait::SOON;
use relevo_tests::workload::{CliWriter, OwnWriter, PREPARE, transactions};
use relevo_tests::world::World;

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
            relevo_tests::wait::until("half of the changes", SOON, || (own.committed() > 100).then_some(()));
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
