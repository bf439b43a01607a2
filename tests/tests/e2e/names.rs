//! Names come from the reference table as it was when the change was made, not as it is now.

use relevo_tests::client::{Client, Connect};
use relevo_tests::wait::SOON;
use relevo_tests::world::World;

#[test]
fn a_pipeline_that_lags_far_behind_shows_the_name_that_a_person_had_then() {
    let world = World::new();
    let server = world.serve();
    let client = Client::connect(server.address, &Connect::admin().to("tasks"));
    let place = client.place.clone();
    assert!(server.stop(SOON).status.success());
    // All of it is there before the pipeline sees the first change: a query would give the last name.
    let many = |label: &str| {
        (0..1500).map(|n| format!("update tareas set titulo = '{label} {n}' where id = 1;\n")).collect::<String>()
    };
    world.sql("update tareas set delegado_usuario_id = 1 where id = 1");
    world.sql(&format!("begin; {} commit;", many("antes")));
    world.sql("update usuarios set nombre = 'Renombrada' where id = 1");
    world.sql(&format!("begin; {} commit;", many("después")));
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks").after(&place));
    let (mut before, mut after) = (0, 0);
    let mut read = 0;
    while after < 1500 {
        for frame in &client.frames[read..] {
            let title = frame.data()["task_data"]["titulo"].as_str().unwrap_or_default();
            let (old, new) = (frame.raw.contains("Ana Paz"), frame.raw.contains("Renombrada Paz"));
            if title.starts_with("antes") {
                before += 1;
                assert!(old && !new, "the old name is due: {}", frame.raw);
            } else if title.starts_with("después") {
                after += 1;
                assert!(new && !old, "the new name is due: {}", frame.raw);
            }
        }
        read = client.frames.len();
        if after < 1500 {
            client.expect("the next change", |f| f.is_of("tasks"));
        }
    }
    assert_eq!((before, after), (1500, 1500));
}
