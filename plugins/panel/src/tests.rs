use std::collections::BTreeMap;

use proptest::prelude::*;
use relevo_plugin::test::{Input, Sent, TestHost, delete, insert, publish, snapshot, tick, truncate, update};
use serde_json::{Value, json};

use super::Panel;

const MINUTE: u64 = 60_000_000;
/// 2026-01-01T00:00:00Z.
const START: u64 = 1_767_225_600_000_000;

fn host() -> TestHost {
    TestHost::aggregate::<Panel>().replace_always()
}

fn task(id: u8, state: &str, priority: &str) -> Value {
    json!({ "id": id, "estado": state, "prioridad": priority, "deleted_at": null })
}

fn efectivo(id: u8, state: &str, unit: Option<&str>) -> Value {
    json!({ "id": id, "estado_disponibilidad": state, "unidad": unit, "deleted_at": null })
}

fn gone(mut row: Value) -> Value {
    row["deleted_at"] = json!("2026-01-01");
    row
}

fn alert() -> Input {
    publish("system", "alert", json!({ "title": "!" }))
}

/// The one message of a batch.
fn shown(sent: &[Sent]) -> &Value {
    assert_eq!(sent.len(), 1, "{sent:?}");
    let m = &sent[0];
    assert_eq!((m.channel.as_str(), m.key.as_deref()), ("dashboard:kpis", Some("kpis")));
    assert_eq!((m.kind.as_str(), m.event_type.as_str()), ("dashboard_update", "dashboard_update"));
    &m.data
}

#[test]
fn an_empty_dashboard_shows_its_zeros_at_the_first_tick_and_then_rests() {
    let mut host = host();
    let sent = host.feed([tick(START)]).unwrap();
    assert_eq!(
        *shown(&sent),
        json!({
            "total_tasks": 0, "active_tasks": 0, "completed_tasks": 0, "pending_tasks": 0, "active_efectivos": 0,
            "available_efectivos": 0, "busy_efectivos": 0, "alerts_count": 0, "completed_last_hour": 0,
            "by_prioridad": {}, "by_unidad": {}, "last_updated": "2026-01-01T00:00:00.000Z",
        })
    );
    for second in 1..7200 {
        assert_eq!(host.feed([tick(START + second * 1_000_000)]).unwrap(), []);
    }
}

#[test]
fn the_numbers_are_counted_by_state_priority_and_unit() {
    let mut events = vec![
        insert("tareas", task(1, "IN_PROGRESS", "LOW")),
        insert("tareas", task(2, "PROGRAMMED", "CRITICAL")),
        insert("tareas", task(3, "PAUSED", "CRITICAL")),
        insert("tareas", task(4, "COMPLETED", "MEDIUM")),
        insert("tareas", task(5, "CANCELLED", "HIGH")),
        insert("tareas", gone(task(6, "IN_PROGRESS", "LOW"))),
        insert("efectivos", efectivo(1, "DISPONIBLE", Some("Norte"))),
        insert("efectivos", efectivo(2, "EN_TAREA", Some("Norte"))),
        insert("efectivos", efectivo(3, "FUERA_SERVICIO", Some("Sur"))),
        insert("efectivos", efectivo(4, "NO_DISPONIBLE", None)),
    ];
    events[9] = events[9].clone().at(START + 1_234_000);
    let sent = host().feed(events).unwrap();
    assert_eq!(sent[0].event, 9);
    assert_eq!(
        *shown(&sent),
        json!({
            "total_tasks": 5, "active_tasks": 1, "completed_tasks": 1, "pending_tasks": 2, "active_efectivos": 3,
            "available_efectivos": 1, "busy_efectivos": 1, "alerts_count": 0, "completed_last_hour": 0,
            "by_prioridad": {
                "1": { "total": 1, "active": 1, "completed": 0, "pending": 0 },
                "2": { "total": 1, "active": 0, "completed": 1, "pending": 0 },
                "3": { "total": 1, "active": 0, "completed": 0, "pending": 0 },
                "5": { "total": 2, "active": 0, "completed": 0, "pending": 2 },
            },
            "by_unidad": {
                "Norte": { "total": 2, "active": 2, "available": 1, "busy": 1 },
                "Sur": { "total": 1, "active": 0, "available": 0, "busy": 0 },
                "sin_unidad": { "total": 1, "active": 1, "available": 0, "busy": 0 },
            },
            "last_updated": "2026-01-01T00:00:01.234Z",
        })
    );
}

#[test]
fn the_message_is_made_for_the_last_event_that_changed_a_number() {
    let renamed = |mut row: Value| {
        row["titulo"] = json!("x");
        row
    };
    let row = task(1, "PAUSED", "LOW");
    let mut host = host();
    let batch = [
        insert("tareas", row.clone()),
        update("tareas", row.clone(), task(1, "IN_PROGRESS", "LOW")),
        update("tareas", row.clone(), renamed(row.clone())),
        publish("system", "notification", json!({})),
        publish("other", "alert", json!({})),
    ];
    assert_eq!(host.feed(batch).unwrap()[0].event, 1);
    assert_eq!(host.feed([update("tareas", row.clone(), renamed(row))]).unwrap(), []);
}

#[test]
fn a_soft_deletion_counts_as_a_deletion() {
    let mut host = host();
    let row = task(1, "IN_PROGRESS", "LOW");
    host.feed([insert("tareas", row.clone())]).unwrap();
    let total = |sent: Vec<Sent>| shown(&sent)["total_tasks"].clone();
    assert_eq!(total(host.feed([update("tareas", row.clone(), gone(row.clone()))]).unwrap()), json!(0));
    assert_eq!(host.feed([delete("tareas", gone(row.clone()))]).unwrap(), []);
    assert_eq!(total(host.feed([update("tareas", gone(row.clone()), row.clone())]).unwrap()), json!(1));
    assert_eq!(total(host.feed([delete("tareas", row)]).unwrap()), json!(0));
}

#[test]
fn a_truncated_table_counts_zero_and_leaves_the_other_alone() {
    let mut host = host();
    host.feed([insert("tareas", task(1, "PAUSED", "LOW")), insert("efectivos", efectivo(1, "EN_TAREA", None))])
        .unwrap();
    let sent = host.feed([truncate("tareas")]).unwrap();
    assert_eq!((&shown(&sent)["total_tasks"], &shown(&sent)["busy_efectivos"]), (&json!(0), &json!(1)));
    assert_eq!(host.feed([truncate("tareas")]).unwrap(), []);
}

#[test]
fn what_was_completed_falls_out_of_the_hour_by_ticks_alone() {
    let mut host = host();
    let (open, done) = (|id| task(id, "IN_PROGRESS", "LOW"), |id| task(id, "COMPLETED", "LOW"));
    let finish = |id, at| update("tareas", open(id), done(id)).at(at);
    host.feed([insert("tareas", open(1)).at(START), insert("tareas", open(2))]).unwrap();
    let last = START + 30 * MINUTE;
    let reopen = update("tareas", done(1), open(1)).at(last);
    let sent = host.feed([finish(1, START + 59_000_000), finish(2, START + MINUTE), reopen, finish(1, last)]).unwrap();
    assert_eq!(shown(&sent)["completed_last_hour"], 3, "each time counts");

    let mut fell = Vec::new();
    for second in 1..=100 * 60 {
        let at = last + second * 1_000_000;
        let sent = host.feed([tick(at)]).unwrap();
        if !sent.is_empty() {
            fell.push(((at - START) / MINUTE, (at - START) % MINUTE, shown(&sent)["completed_last_hour"].clone()));
        }
    }
    // At the full minute, 60 minutes after the minute of what was counted.
    assert_eq!(fell, [(60, 0, json!(2)), (61, 0, json!(1)), (90, 0, json!(0))]);
    let left: Vec<_> = host.all_state().into_keys().collect();
    assert_eq!(left, ["minute", r#"tareas["COMPLETED","LOW"]"#].map(String::from));
}

#[test]
fn alerts_of_the_last_hour_are_counted_where_they_are_published() {
    let mut host = host();
    let sent = host.feed([alert().at(START), alert().at(START + 5), publish("system", "error", json!({}))]).unwrap();
    assert_eq!((sent[0].event, &shown(&sent)["alerts_count"]), (1, &json!(2)));
    assert_eq!(host.feed([tick(START + 60 * MINUTE - 1)]).unwrap(), []);
    let sent = host.feed([tick(START + 60 * MINUTE)]).unwrap();
    assert_eq!(shown(&sent)["alerts_count"], 0);
    assert_eq!(shown(&sent)["last_updated"], "2026-01-01T01:00:00.000Z");
}

#[test]
fn a_jump_in_time_empties_the_windows_at_once_and_late_events_are_too_old() {
    let mut host = host();
    host.feed([alert().at(START)]).unwrap();
    assert_eq!(shown(&host.feed([tick(START + 600 * MINUTE)]).unwrap())["alerts_count"], 0);
    assert_eq!(shown(&host.feed([alert().at(START).late()]).unwrap())["alerts_count"], 0);
    assert_eq!(shown(&host.feed([alert().at(START + 541 * MINUTE).late()]).unwrap())["alerts_count"], 1);
}

#[test]
fn only_becoming_completed_counts_as_completed() {
    let mut host = host();
    let done = task(1, "COMPLETED", "LOW");
    let nothing = [
        snapshot("tareas", task(2, "COMPLETED", "LOW")),
        insert("tareas", done.clone()),
        update("tareas", done.clone(), task(1, "COMPLETED", "HIGH")),
        update("tareas", done.clone(), gone(done.clone())),
        update("tareas", gone(done.clone()), done.clone()),
        update("tareas", task(1, "PAUSED", "LOW"), gone(done.clone())),
    ];
    assert_eq!(shown(&host.feed(nothing).unwrap())["completed_last_hour"], 0);
    // `INSERT OR REPLACE` of an open task comes as an update.
    let replaced = update("tareas", task(1, "PAUSED", "LOW"), done);
    assert_eq!(shown(&host.feed([replaced]).unwrap())["completed_last_hour"], 1);
}

#[test]
fn what_was_completed_before_the_panel_began_counts_by_its_own_time() {
    let finished = |id, at: &str| {
        let mut row = task(id, "COMPLETED", "LOW");
        row["fin_real"] = json!(at);
        snapshot("tareas", row).at(START)
    };
    let rows = [
        finished(1, "2025-12-31T23:30:00Z"),
        finished(2, "2025-12-31 20:59:00-02:00"),
        finished(3, "2025-12-31T22:59:00Z"),
        finished(4, "2026-01-01T00:01:00Z"),
        finished(5, "yesterday"),
    ];
    let mut host = host();
    assert_eq!(shown(&host.feed(rows).unwrap())["completed_last_hour"], 1, "one within the hour before");
    assert_eq!(shown(&host.feed([tick(START + 30 * MINUTE)]).unwrap())["completed_last_hour"], 0);
}

#[test]
fn odd_labels_and_units_are_kept_apart() {
    let mut host = host();
    let events = [
        insert("efectivos", efectivo(1, "DISPONIBLE", Some("a\",\"b"))),
        insert("efectivos", efectivo(2, "DISPONIBLE", Some(""))),
        insert("efectivos", efectivo(3, "DISPONIBLE", Some("ñ/1"))),
        insert("tareas", json!({ "id": 1 })),
    ];
    let sent = host.feed(events).unwrap();
    let units: Vec<_> = shown(&sent)["by_unidad"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(units, ["", "a\",\"b", "ñ/1"]);
    assert_eq!(shown(&sent)["by_prioridad"]["sin_prioridad"]["total"], 1);
}

#[test]
fn a_count_below_zero_is_logged() {
    let mut host = host();
    host.feed([delete("tareas", task(1, "PAUSED", "LOW"))]).unwrap();
    assert!(host.logged()[0].1.contains("a rebuild of the pipeline"));
}

type Table = BTreeMap<u8, Value>;

#[derive(Clone, Debug)]
enum Step {
    Task(u8, Option<Value>),
    Efectivo(u8, Option<Value>),
    Alert,
    Tick,
    Truncate,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let deleted = || prop::option::weighted(0.2, Just("2026-01-01"));
    let states = prop::sample::select(vec!["PROGRAMMED", "IN_PROGRESS", "COMPLETED", "CANCELLED", "PAUSED"]);
    let priorities = prop::sample::select(vec!["LOW", "CRITICAL"]);
    let task = (states, priorities, deleted()).prop_map(
        |(state, priority, deleted)| json!({ "estado": state, "prioridad": priority, "deleted_at": deleted }),
    );
    let states = prop::sample::select(vec!["DISPONIBLE", "EN_TAREA", "FUERA_SERVICIO", "NO_DISPONIBLE"]);
    let units = prop::sample::select(vec![None, Some("Norte"), Some("Sur")]);
    let efectivo = (states, units, deleted()).prop_map(
        |(state, unit, deleted)| json!({ "estado_disponibilidad": state, "unidad": unit, "deleted_at": deleted }),
    );
    prop_oneof![
        20 => (0..6_u8, prop::option::weighted(0.85, task)).prop_map(|(id, row)| Step::Task(id, row)),
        10 => (0..6_u8, prop::option::weighted(0.85, efectivo)).prop_map(|(id, row)| Step::Efectivo(id, row)),
        4 => Just(Step::Alert),
        6 => Just(Step::Tick),
        1 => Just(Step::Truncate),
        8 => (0..40 * MINUTE).prop_map(Step::Pass),
    ]
}

/// What the database and the clock say, counted anew each time.
#[derive(Default)]
struct Naive {
    tasks: Table,
    efectivos: Table,
    completed: Vec<u64>,
    alerts: Vec<u64>,
    now: u64,
}

impl Naive {
    /// Does the step; gives the event that tells of it.
    fn apply(&mut self, step: Step) -> Option<Input> {
        let event = match step {
            Step::Pass(time) => {
                self.now += time;
                return None;
            }
            Step::Task(id, row) => {
                let state =
                    |row: Option<&Value>| row.filter(|r| r["deleted_at"].is_null()).map(|r| r["estado"].clone());
                let (old, new) = (state(self.tasks.get(&id)), state(row.as_ref()));
                if old.is_some_and(|old| old != "COMPLETED") && new.is_some_and(|new| new == "COMPLETED") {
                    self.completed.push(self.now);
                }
                written("tareas", &mut self.tasks, id, row)?
            }
            Step::Efectivo(id, row) => written("efectivos", &mut self.efectivos, id, row)?,
            Step::Alert => {
                self.alerts.push(self.now);
                alert()
            }
            Step::Tick => tick(0),
            Step::Truncate => {
                self.tasks.clear();
                truncate("tareas")
            }
        };
        Some(event.at(START + self.now))
    }

    fn numbers(&self) -> Value {
        let count = |table: &Table, column: &str, states: &[&str]| {
            let alive = table.values().filter(|row| row["deleted_at"].is_null());
            alive.filter(|row| states.is_empty() || states.contains(&row[column].as_str().unwrap())).count()
        };
        let tasks = |states: &[&str]| count(&self.tasks, "estado", states);
        let efectivos = |states: &[&str]| count(&self.efectivos, "estado_disponibilidad", states);
        let hour = |times: &[u64]| times.iter().filter(|t| *t / MINUTE + 60 > self.now / MINUTE).count();
        json!({
            "total_tasks": tasks(&[]), "active_tasks": tasks(&["IN_PROGRESS"]), "completed_tasks": tasks(&["COMPLETED"]),
            "pending_tasks": tasks(&["PROGRAMMED", "PAUSED"]),
            "active_efectivos": efectivos(&["DISPONIBLE", "EN_TAREA", "NO_DISPONIBLE"]),
            "available_efectivos": efectivos(&["DISPONIBLE"]), "busy_efectivos": efectivos(&["EN_TAREA"]),
            "alerts_count": hour(&self.alerts), "completed_last_hour": hour(&self.completed),
        })
    }
}

fn written(name: &str, table: &mut Table, id: u8, row: Option<Value>) -> Option<Input> {
    let row = row.map(|mut row| {
        row["id"] = json!(id);
        row
    });
    let old = match &row {
        Some(row) => table.insert(id, row.clone()),
        None => table.remove(&id),
    };
    Some(match (old, row) {
        (Some(old), Some(new)) => update(name, old, new),
        (Some(old), None) => delete(name, old),
        (None, Some(new)) => insert(name, new),
        (None, None) => return None,
    })
}

/// The part of a dashboard that a naive count gives too; the groups must add up to the totals.
fn plain(mut data: Value) -> Value {
    let sum = |groups: &Value, field: &str| {
        groups.as_object().unwrap().values().map(|g| g[field].as_i64().unwrap()).sum::<i64>()
    };
    for (total, group) in [
        ("total_tasks", "total"),
        ("active_tasks", "active"),
        ("completed_tasks", "completed"),
        ("pending_tasks", "pending"),
    ] {
        assert_eq!(data[total], sum(&data["by_prioridad"], group), "{total}");
    }
    for (total, group) in
        [("active_efectivos", "active"), ("available_efectivos", "available"), ("busy_efectivos", "busy")]
    {
        assert_eq!(data[total], sum(&data["by_unidad"], group), "{total}");
    }
    let fields = data.as_object_mut().unwrap();
    fields.retain(|name, _| !name.starts_with("by_") && name != "last_updated");
    data
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn after_any_changes_the_numbers_are_a_naive_count(steps in prop::collection::vec(step(), 0..80), cut in 1..9_usize) {
        let (mut host, mut naive, mut last) = (host(), Naive::default(), None);
        let mut batch = Vec::new();
        for (at, step) in steps.into_iter().chain([Step::Tick]).enumerate() {
            batch.extend(naive.apply(step));
            if at % cut == 0 {
                let sent = host.feed(std::mem::take(&mut batch)).unwrap();
                last = sent.into_iter().next().map(|m| m.data).or(last);
            }
        }
        batch.push(tick(START + naive.now));
        last = host.feed(batch).unwrap().into_iter().next().map(|m| m.data).or(last);
        prop_assert_eq!(plain(last.unwrap()), naive.numbers());
    }

    #[test]
    fn a_rebuild_from_a_snapshot_counts_what_the_stream_counted(steps in prop::collection::vec(step(), 0..60)) {
        let (mut host, mut naive) = (host(), Naive::default());
        let events: Vec<_> = steps.into_iter().filter_map(|step| naive.apply(step)).collect();
        host.feed(events).unwrap();
        let mut fresh = self::host();
        let tasks = naive.tasks.values().map(|row| snapshot("tareas", row.clone()));
        let efectivos = naive.efectivos.values().map(|row| snapshot("efectivos", row.clone()));
        fresh.feed(tasks.chain(efectivos)).unwrap();
        let counters = |host: &TestHost| {
            let mut state = host.all_state();
            state.retain(|key, _| key.contains('['));
            state
        };
        prop_assert_eq!(counters(&host), counters(&fresh));
    }
}
