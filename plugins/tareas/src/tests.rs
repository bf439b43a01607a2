use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use relevo_plugin::test::{Input, Sent, TestHost, delete, insert, snapshot, truncate, update};
use serde_json::{Value, json};

use super::Tareas;

/// Ana is user 10, Beto user 20 and Carla user 30; efectivo 1 is Beto, efectivo 2 is Carla.
fn host() -> TestHost {
    let mut host = TestHost::route::<Tareas>();
    for (id, nombre, apellido) in [(10, "Ana", "Sosa"), (20, "Beto", "Ibáñez"), (30, "Carla", "Ruiz")] {
        host.row("usuarios", &id.to_string(), json!({ "id": id, "nombre": nombre, "apellido": apellido }));
    }
    host.row("efectivos", "1", json!({ "id": 1, "usuario_id": 20, "codigo_interno": "N-01" }));
    host.row("efectivos", "2", json!({ "id": 2, "usuario_id": 30, "codigo_interno": "N-02" }));
    host
}

fn row() -> Value {
    json!({
        "id": 7, "uuid": "u-7", "codigo": "T-7", "titulo": "Patrulla", "tipo": "PATRULLAJE", "prioridad": "HIGH",
        "estado": "PROGRAMMED", "delegado_usuario_id": null, "creado_por_usuario_id": 10, "ubicacion_lat": -34.5,
        "efectivos_asignados": "[]", "deleted_at": null, "updated_at": "2026-01-01",
    })
}

/// The row with these columns set to other values.
fn with(mut row: Value, columns: Value) -> Value {
    for (name, value) in columns.as_object().unwrap() {
        row[name] = value.clone();
    }
    row
}

fn feed(host: &mut TestHost, event: Input) -> Vec<Sent> {
    host.feed([event]).unwrap()
}

/// Channel, event type and key of each message, with a minus before a tombstone's key.
fn outline(sent: &[Sent]) -> Vec<String> {
    let line = |m: &Sent| {
        let key = m.key.as_deref().map(|key| format!(" {}{key}", if m.deleted { "-" } else { "" }));
        format!("{} {}{}", m.channel, m.event_type, key.unwrap_or_default())
    };
    sent.iter().map(line).collect()
}

#[test]
fn a_new_task_is_told_with_the_apis_labels_and_peoples_names() {
    let sent = feed(&mut host(), insert("tareas", with(row(), json!({ "efectivos_asignados": "[1, 9]" }))));
    assert_eq!(outline(&sent), ["tasks task_created", "user:20 task_assigned", "tasks:board task_board 7"]);
    assert!(sent.iter().all(|m| m.kind == "task_event"));
    let data = &sent[0].data;
    assert_eq!((&data["task_id"], &data["sub_event_type"]), (&json!(7), &json!("created")));
    let task = &data["task_data"];
    assert_eq!(
        (&task["estado"], &task["prioridad"], &task["tipo"]),
        (&json!("programada"), &json!(3), &json!("patrullaje"))
    );
    assert_eq!(task["creado_por"], json!({ "usuario_id": 10, "nombre": "Ana Sosa" }));
    assert_eq!(task["delegado"], Value::Null);
    assert_eq!(task["ubicacion"]["lat"], json!(-34.5));
    assert_eq!(
        task["efectivos"],
        json!([
            { "efectivo_id": 1, "usuario_id": 20, "codigo_interno": "N-01", "nombre": "Beto Ibáñez" },
            { "efectivo_id": 9, "usuario_id": null, "codigo_interno": null, "nombre": null },
        ])
    );
    assert!(task.get("old_status").is_none() && task.get("nuevos_efectivos").is_none());
    assert_eq!(sent[1].data["sub_event_type"], "assigned");
    assert_eq!(sent[1].data["task_data"]["nuevos_efectivos"], json!([1, 9]));
    assert_eq!(sent[2].data["task_data"]["titulo"], "Patrulla");
}

#[test]
fn every_change_of_state_is_told_with_both_states() {
    let names = [
        ("PROGRAMMED", "programada"),
        ("IN_PROGRESS", "en_curso"),
        ("COMPLETED", "finalizada"),
        ("CANCELLED", "cancelada"),
        ("PAUSED", "pausada"),
    ];
    for (old, shown_old) in names {
        for (new, shown_new) in names {
            if old == new {
                continue;
            }
            let before = with(row(), json!({ "estado": old }));
            let after = with(row(), json!({ "estado": new, "titulo": "Otra", "updated_at": "2026-01-02" }));
            let sent = feed(&mut host(), update("tareas", before, after));
            let open = |state: &str| !matches!(state, "COMPLETED" | "CANCELLED");
            let mut lines = vec!["tasks task_status_changed"];
            lines.extend(match (open(old), open(new)) {
                (_, true) => Some("tasks:board task_board 7"),
                (true, false) => Some("tasks:board task_board -7"),
                (false, false) => None,
            });
            assert_eq!(outline(&sent), lines, "{old} to {new}");
            let task = &sent[0].data["task_data"];
            assert_eq!((&task["old_status"], &task["new_status"]), (&json!(shown_old), &json!(shown_new)));
            assert_eq!((&task["estado"], &task["titulo"]), (&json!(shown_new), &json!("Otra")));
            assert_eq!(sent[0].data["sub_event_type"], "status_changed");
        }
    }
}

#[test]
fn another_column_is_an_update_and_none_is_nothing() {
    let mut host = host();
    let sent = feed(&mut host, update("tareas", row(), with(row(), json!({ "titulo": "Otra" }))));
    assert_eq!(outline(&sent), ["tasks task_updated", "tasks:board task_board 7"]);
    assert_eq!(feed(&mut host, update("tareas", row(), row())), []);
}

#[test]
fn only_the_newly_assigned_are_told_each_once_the_delegate_first() {
    let before = with(row(), json!({ "efectivos_asignados": "[1]" }));
    let after = with(row(), json!({ "efectivos_asignados": "[2,1,2]", "delegado_usuario_id": 30 }));
    let sent = feed(&mut host(), update("tareas", before.clone(), after));
    // Carla is the delegate and efectivo 2: one message.
    assert_eq!(outline(&sent), ["tasks task_updated", "user:30 task_assigned", "tasks:board task_board 7"]);
    let task = &sent[1].data["task_data"];
    assert_eq!((&task["nuevo_delegado"], &task["nuevos_efectivos"]), (&json!(30), &json!([2])));

    let after =
        with(before.clone(), json!({ "delegado_usuario_id": 10, "efectivos_asignados": [1, 2], "estado": "PAUSED" }));
    let sent = feed(&mut host(), update("tareas", before.clone(), after));
    assert_eq!(
        outline(&sent),
        ["tasks task_status_changed", "user:10 task_assigned", "user:30 task_assigned", "tasks:board task_board 7"]
    );

    let sent = feed(&mut host(), update("tareas", before, row()));
    assert_eq!(outline(&sent), ["tasks task_updated", "tasks:board task_board 7"], "nobody new");
}

#[test]
fn a_list_that_is_none_assigns_nobody() {
    for list in [json!("nonsense"), json!("[1,"), json!(null), json!("{}"), json!("[\"x\", null]")] {
        let sent = feed(&mut host(), insert("tareas", with(row(), json!({ "efectivos_asignados": list }))));
        assert_eq!(outline(&sent), ["tasks task_created", "tasks:board task_board 7"], "{list}");
    }
}

#[test]
fn a_delete_tells_the_row_that_was() {
    let mut host = host();
    feed(&mut host, insert("tareas", row()));
    let sent = feed(&mut host, delete("tareas", row()));
    assert_eq!(outline(&sent), ["tasks task_deleted", "tasks:board task_board -7"]);
    assert_eq!(sent[0].data["task_data"]["titulo"], "Patrulla");
    assert!(host.all_state().is_empty());
}

#[test]
fn a_soft_deletion_deletes_and_its_undoing_creates() {
    let gone = with(row(), json!({ "deleted_at": "2026-01-01", "titulo": "n 3", "efectivos_asignados": "[2]" }));
    let mut host = host();
    let sent = feed(&mut host, update("tareas", row(), gone.clone()));
    assert_eq!(outline(&sent), ["tasks task_deleted", "tasks:board task_board -7"]);
    assert_eq!(sent[0].data["task_data"]["titulo"], "n 3", "the row that is left");
    assert_eq!(feed(&mut host, update("tareas", gone.clone(), with(gone.clone(), json!({ "estado": "PAUSED" })))), []);
    assert_eq!(feed(&mut host, delete("tareas", gone.clone())), []);
    assert_eq!(feed(&mut host, insert("tareas", gone.clone())), []);
    assert_eq!(feed(&mut host, snapshot("tareas", gone.clone())), []);
    let back = with(gone.clone(), json!({ "deleted_at": null }));
    let sent = feed(&mut host, update("tareas", gone, back));
    assert_eq!(outline(&sent), ["tasks task_created", "user:30 task_assigned", "tasks:board task_board 7"]);
}

#[test]
fn a_replaced_row_is_an_update_from_the_exact_row_before() {
    // Capture makes an update of `INSERT OR REPLACE`: every column may differ, but the key.
    let before = with(row(), json!({ "estado": "IN_PROGRESS", "efectivos_asignados": "[1]" }));
    let after = with(row(), json!({ "uuid": "u-8", "codigo": "T-8", "titulo": "Nueva" }));
    let sent = feed(&mut host(), update("tareas", before, after));
    assert_eq!(outline(&sent), ["tasks task_status_changed", "tasks:board task_board 7"]);
}

#[test]
fn another_key_is_another_task() {
    let sent = feed(&mut host(), update("tareas", row(), with(row(), json!({ "id": 8 }))));
    assert_eq!(
        outline(&sent),
        ["tasks task_deleted", "tasks:board task_board -7", "tasks task_created", "tasks:board task_board 8"]
    );
}

#[test]
fn rows_that_were_there_make_the_board_and_nothing_else() {
    let rows = ["PROGRAMMED", "COMPLETED", "PAUSED"].into_iter().zip(1..);
    let rows = rows.map(|(state, id)| snapshot("tareas", with(row(), json!({ "id": id, "estado": state }))));
    let sent = host().feed(rows).unwrap();
    assert_eq!(outline(&sent), ["tasks:board task_board 1", "tasks:board task_board 3"]);
    assert_eq!((sent[0].event, sent[1].event), (0, 2));
}

#[test]
fn a_truncated_table_empties_the_board() {
    let mut host = host().replace_always();
    let rows = (1..=600).map(|id| insert("tareas", with(row(), json!({ "id": id }))));
    host.feed(rows).unwrap();
    let sent = feed(&mut host, truncate("tareas"));
    assert_eq!((sent[0].event_type.as_str(), &sent[0].data["task_id"]), ("task_deleted", &Value::Null));
    assert_eq!(sent.len(), 601);
    assert!(sent[1..].iter().all(|m| m.deleted && m.channel == "tasks:board"));
    assert!(host.all_state().is_empty());
}

#[test]
fn names_are_those_at_the_events_place() {
    let mut host = host();
    assert_eq!(feed(&mut host, insert("tareas", row()))[0].data["task_data"]["creado_por"]["nombre"], "Ana Sosa");
    host.row("usuarios", "10", json!({ "id": 10, "nombre": "Ana", "apellido": null }));
    let again = |title: &str| update("tareas", row(), with(row(), json!({ "titulo": title })));
    assert_eq!(feed(&mut host, again("a"))[0].data["task_data"]["creado_por"]["nombre"], "Ana");
    host.remove_row("usuarios", "10");
    let person = feed(&mut host, again("b"))[0].data["task_data"]["creado_por"].clone();
    assert_eq!(person, json!({ "usuario_id": 10, "nombre": null }));
}

#[test]
fn a_row_without_an_id_is_poison_and_nothing_of_its_batch_stays() {
    let mut host = host();
    let failed = host.feed([insert("tareas", row()), insert("tareas", json!({ "titulo": "x" }))]).unwrap_err();
    assert_eq!(failed.event, Some(1));
    assert!(host.all_state().is_empty());
}

#[test]
fn columns_that_are_missing_are_null() {
    let sent = feed(&mut host(), insert("tareas", json!({ "id": 1 })));
    assert_eq!(outline(&sent), ["tasks task_created", "tasks:board task_board 1"]);
    assert_eq!(sent[0].data["task_data"]["estado"], Value::Null);
}

#[derive(Clone, Debug)]
enum Step {
    Set(u8, Value),
    Delete(u8),
    Truncate,
}

fn step() -> impl Strategy<Value = Step> {
    let states = prop::sample::select(vec!["PROGRAMMED", "IN_PROGRESS", "COMPLETED", "CANCELLED", "PAUSED"]);
    let columns = (states, prop::option::weighted(0.2, Just("2026-01-01")), 0..3_u8);
    let set = (0..6_u8, columns).prop_map(|(id, (state, deleted, title))| {
        Step::Set(id, json!({ "estado": state, "deleted_at": deleted, "titulo": format!("{title}") }))
    });
    prop_oneof![20 => set, 4 => (0..6_u8).prop_map(Step::Delete), 1 => Just(Step::Truncate)]
}

/// The steps as capture would tell them; `table` is what they leave.
fn events(steps: &[Step], table: &mut BTreeMap<u8, Value>) -> Vec<Input> {
    let mut events = Vec::new();
    for step in steps {
        match step {
            Step::Set(id, columns) => {
                let new = with(with(row(), json!({ "id": id })), columns.clone());
                events.push(match table.insert(*id, new.clone()) {
                    Some(old) => update("tareas", old, new),
                    None => insert("tareas", new),
                });
            }
            Step::Delete(id) => events.extend(table.remove(id).map(|old| delete("tareas", old))),
            Step::Truncate => {
                table.clear();
                events.push(truncate("tareas"));
            }
        }
    }
    events
}

fn apply(board: &mut BTreeMap<String, Value>, sent: Vec<Sent>) {
    for message in sent.into_iter().filter(|m| m.channel == "tasks:board") {
        let key = message.key.unwrap();
        match message.deleted {
            true => assert!(board.remove(&key).is_some(), "a tombstone for a key that was not there: {key}"),
            false => drop(board.insert(key, message.data)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn after_any_changes_the_board_is_what_a_snapshot_makes(steps in prop::collection::vec(step(), 0..60), cut in 1..9_usize) {
        let (mut host, mut board, mut table) = (host().replace_always(), BTreeMap::new(), BTreeMap::new());
        for batch in events(&steps, &mut table).chunks(cut) {
            apply(&mut board, host.feed(batch.to_vec()).unwrap());
        }
        let mut rebuilt = BTreeMap::new();
        let mut fresh = self::host();
        apply(&mut rebuilt, fresh.feed(table.values().map(|row| snapshot("tareas", row.clone()))).unwrap());
        prop_assert_eq!(&board, &rebuilt);
        prop_assert_eq!(host.all_state(), fresh.all_state());
        let open = table.values().filter(|r| r["deleted_at"].is_null() && r["estado"] != "COMPLETED" && r["estado"] != "CANCELLED");
        let open: BTreeSet<String> = open.map(|row| row["id"].to_string()).collect();
        prop_assert_eq!(board.into_keys().collect::<BTreeSet<_>>(), open);
    }
}
