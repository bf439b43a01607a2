//! A state is made anew of many rows while they change, and Relevo is killed again and again while it reads them.

use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt;

use relevo_tests::panel::assert_equals_a_count;
use relevo_tests::random::Random;
use relevo_tests::wait::{SOON, until};
use relevo_tests::witness::{database, rounds};
use relevo_tests::world::World;

const ROWS: u64 = 20_000;

/// Chunks of a snapshot that come into the journal before each death.
const CHUNKS: u64 = 5;

/// Changes everything that the panel counts, and moves keys over all places where a snapshot may be cut.
fn writes(random: &mut Random) -> String {
    let mut sql = String::new();
    for _ in 0..200_000 {
        let (id, other) = (random.between(1_000, 999 + ROWS), random.between(1_000, 999 + ROWS));
        let state = random.pick(&["PROGRAMMED", "IN_PROGRESS", "COMPLETED", "PAUSED"]);
        let deleted = random.pick(&["null", "'2026-02-02T00:00:00Z'"]);
        let _ = match random.between(0, 3) {
            0 => writeln!(
                sql,
                "update tareas set id = {other}, estado = '{state}' where id = {id} and not exists (select from tareas where id = {other});"
            ),
            1 => writeln!(sql, "delete from tareas where id = {id};"),
            2 => writeln!(
                sql,
                "update tareas set estado = '{state}', deleted_at = {deleted} where id between {id} and {id} + 3;"
            ),
            _ => writeln!(sql, "select pg_sleep(0.005);"),
        };
    }
    sql
}

/// How many rows were there when a snapshot that was cut went on.
fn went_on(log: &str) -> Option<u64> {
    let line = log.lines().find(|line| line.contains("a snapshot that was cut goes on"))?;
    let (_, rows) = line.split_once("rows=")?;
    rows.split_whitespace().next()?.parse().ok()
}

#[test]
fn relevo_killed_again_and_again_while_it_reads_the_rows_of_a_rebuild_goes_on_and_counts_each_once() {
    let world = World::postgres();
    world.sql(&format!(
        "insert into tareas (id, uuid, codigo, titulo, descripcion, tipo, prioridad, estado, creado_por_usuario_id)
         select n, 's-' || n, 'S-' || n, 'snapshot ' || n, repeat('x', 100), 'PATRULLAJE', 'LOW', 'PROGRAMMED', 1
         from generate_series(1000, {}) as n",
        999 + ROWS
    ));
    let server = world.serve();
    assert_equals_a_count(&world, &server);
    let asked = world.run(&["rebuild", "panel", "--url", &format!("http://{}", server.address)]);
    server.kill();
    assert!(asked.status.success(), "{asked:?}");
    let mut writer = database(&world).meanwhile(&writes(&mut Random::from_environment("snapshot")));
    let mut there = Vec::new();
    for round in 0..rounds(3) {
        let mut process = world.start_with_failpoint("rows.after", CHUNKS);
        until("the death", SOON, || (!process.runs()).then_some(()));
        let log = process.log.text();
        assert_eq!(process.wait(SOON).status.signal(), Some(9), "{log}");
        there.extend(went_on(&log));
        assert_eq!(there.len(), round, "{log}");
    }
    let server = world.serve();
    until("the rebuild", SOON, || {
        let rebuilt = |line: &String| line.contains("the state is made of") && line.contains("pipeline=panel");
        server.process.log.lines().iter().any(rebuilt).then_some(())
    });
    let _ = (writer.kill(), writer.wait());
    let log = server.process.log.text();
    there.extend(went_on(&log));
    println!("of about {ROWS} rows were there after each cut: {there:?}");
    assert!(there.len() == rounds(3) && there.is_sorted() && there[0] > 1_000, "{log}");
    let grows = there.windows(2).all(|pair| pair[1] > pair[0] + 1_000);
    assert!(grows, "each goes on with what the one before has read: {there:?}");
    assert_equals_a_count(&world, &server);
}
