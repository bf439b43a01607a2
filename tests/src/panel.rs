//! The dashboard's numbers, counted from the database by plain SQL, and compared with what the panel
//! shows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, Connect};
use crate::server::Server;
use crate::world::World;

/// A dashboard that falls behind gets this long to come to the head.
const CATCH_UP: Duration = Duration::from_secs(120);

/// Each number of the dashboard with its count.
const COUNTS: [(&str, &str); 7] = [
    ("total_tasks", "select count(*) from tareas where deleted_at is null"),
    ("active_tasks", "select count(*) from tareas where deleted_at is null and estado = 'IN_PROGRESS'"),
    ("completed_tasks", "select count(*) from tareas where deleted_at is null and estado = 'COMPLETED'"),
    ("pending_tasks", "select count(*) from tareas where deleted_at is null and estado in ('PROGRAMMED', 'PAUSED')"),
    (
        "active_efectivos",
        "select count(*) from efectivos where deleted_at is null and estado_disponibilidad <> 'FUERA_SERVICIO'",
    ),
    (
        "available_efectivos",
        "select count(*) from efectivos where deleted_at is null and estado_disponibilidad = 'DISPONIBLE'",
    ),
    (
        "busy_efectivos",
        "select count(*) from efectivos where deleted_at is null and estado_disponibilidad = 'EN_TAREA'",
    ),
];

/// The numbers of each group, as one JSON object.
const GROUPS: [(&str, &str); 2] = [
    (
        "by_prioridad",
        "select json_group_object(name, json_object('total', total, 'active', active, 'completed', completed, 'pending', pending))
         from (select case prioridad when 'LOW' then '1' when 'MEDIUM' then '2' when 'HIGH' then '3' when 'URGENT' then '4'
                 when 'CRITICAL' then '5' end as name, count(*) as total, count(*) filter (where estado = 'IN_PROGRESS') as active,
                 count(*) filter (where estado = 'COMPLETED') as completed, count(*) filter (where estado in ('PROGRAMMED', 'PAUSED')) as pending
               from tareas where deleted_at is null group by prioridad) as counted",
    ),
    (
        "by_unidad",
        "select json_group_object(name, json_object('total', total, 'active', active, 'available', available, 'busy', busy))
         from (select coalesce(unidad, 'sin_unidad') as name, count(*) as total,
                 count(*) filter (where estado_disponibilidad <> 'FUERA_SERVICIO') as active,
                 count(*) filter (where estado_disponibilidad = 'DISPONIBLE') as available, count(*) filter (where estado_disponibilidad = 'EN_TAREA') as busy
               from efectivos where deleted_at is null group by unidad) as counted",
    ),
];

/// The counts as the database has them now.
///
/// # Panics
/// If the database can't be asked.
pub fn counted(world: &World) -> BTreeMap<String, Value> {
    let counts = COUNTS.iter().map(|(name, sql)| ((*name).to_owned(), json!(world.count(sql))));
    let groups = GROUPS.iter().map(|(name, sql)| {
        let mut json = match world.postgres {
            None => world.sql(sql),
            Some(_) => world.sql(
                &sql.replace("json_object(", "json_build_object(").replace("json_group_object", "json_object_agg"),
            ),
        };
        // PostgreSQL's of no rows.
        if json.is_empty() {
            "{}".clone_into(&mut json);
        }
        ((*name).to_owned(), serde_json::from_str(&json).expect("JSON from the database"))
    });
    counts.chain(groups).collect()
}

/// The same numbers out of a dashboard's data.
fn shown(data: &Value) -> BTreeMap<String, Value> {
    let names = COUNTS.iter().chain(&GROUPS).map(|(name, _)| *name);
    names.map(|name| (name.to_owned(), data[name].clone())).collect()
}

/// Waits until the dashboard shows what the database holds. Nobody may be writing.
///
/// # Panics
/// If it shows something else when it has come to rest.
pub fn assert_equals_a_count(world: &World, server: &Server) {
    let wanted = counted(world);
    let mut client = Client::connect(server.address, &Connect::admin().to("dashboard:kpis"));
    let deadline = Instant::now() + CATCH_UP;
    let mut last = None;
    let mut read = 0;
    loop {
        for frame in &client.frames[read..] {
            if frame.is_of("dashboard:kpis") && frame.event_type() == "dashboard_update" {
                last = Some(frame.clone());
            }
        }
        read = client.frames.len();
        if last.as_ref().is_some_and(|frame| shown(frame.data()) == wanted) {
            return;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(
            !left.is_zero() && client.ended.is_none(),
            "the panel shows {:#?}, a count {wanted:#?}; the whole frame: {:?}",
            last.as_ref().map(|frame| shown(frame.data())),
            last.map(|frame| frame.raw)
        );
        client.next(left);
    }
}
