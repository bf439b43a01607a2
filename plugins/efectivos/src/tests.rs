use std::collections::BTreeMap;

use proptest::prelude::*;
use relevo_plugin::test::{Input, Sent, TestHost, delete, insert, snapshot, truncate, update};
use serde_json::{Value, json};

use super::Efectivos;

fn host() -> TestHost {
    let mut host = TestHost::route::<Efectivos>();
    host.row("usuarios", "20", json!({ "id": 20, "nombre": "Beto", "apellido": "Ibáñez" }));
    host
}

fn row() -> Value {
    json!({
        "id": 3, "uuid": "u-3", "usuario_id": 20, "codigo_interno": "N-03", "rango": "Cabo", "unidad": "Comando Norte",
        "estado_disponibilidad": "DISPONIBLE", "lat": -34.5, "lon": -58.4, "deleted_at": null,
    })
}

fn with(mut row: Value, columns: Value) -> Value {
    for (name, value) in columns.as_object().unwrap() {
        row[name] = value.clone();
    }
    row
}

fn feed(host: &mut TestHost, event: Input) -> Vec<Sent> {
    host.feed([event]).unwrap()
}

fn outline(sent: &[Sent]) -> Vec<String> {
    let line = |m: &Sent| {
        let key = m.key.as_deref().map(|key| format!(" {}{key}", if m.deleted { "-" } else { "" }));
        format!("{} {}{}", m.channel, m.event_type, key.unwrap_or_default())
    };
    sent.iter().map(line).collect()
}

#[test]
fn every_change_of_state_is_told_with_both_states() {
    let names = [
        ("DISPONIBLE", "disponible"),
        ("EN_TAREA", "en_tarea"),
        ("FUERA_SERVICIO", "fuera_servicio"),
        ("NO_DISPONIBLE", "no_disponible"),
    ];
    for (old, shown_old) in names {
        for (new, shown_new) in names {
            let before = with(row(), json!({ "estado_disponibilidad": old }));
            let after = with(row(), json!({ "estado_disponibilidad": new }));
            let sent = feed(&mut host(), update("efectivos", before, after));
            if old == new {
                assert_eq!(sent, []);
                continue;
            }
            assert_eq!(outline(&sent), ["efectivos efectivo_status_changed", "efectivos:board efectivo_board 3"]);
            assert!(sent.iter().all(|m| m.kind == "efectivo_event"));
            let data = &sent[0].data;
            assert_eq!((&data["efectivo_id"], &data["sub_event_type"]), (&json!(3), &json!("status_changed")));
            let efectivo = &data["efectivo_data"];
            assert_eq!((&efectivo["old_status"], &efectivo["new_status"]), (&json!(shown_old), &json!(shown_new)));
            assert_eq!((&efectivo["estado"], &efectivo["nombre"]), (&json!(shown_new), &json!("Beto Ibáñez")));
            assert!(sent[1].data["efectivo_data"].get("old_status").is_none());
        }
    }
}

#[test]
fn a_move_is_a_location_update_and_comes_after_a_change_of_state() {
    for columns in [json!({ "lat": -34.6 }), json!({ "lon": -58.5 }), json!({ "lat": null, "lon": null })] {
        let sent = feed(&mut host(), update("efectivos", row(), with(row(), columns)));
        assert_eq!(outline(&sent), ["efectivos efectivo_location_update", "efectivos:board efectivo_board 3"]);
    }
    let both = with(row(), json!({ "lat": -34.6, "estado_disponibilidad": "EN_TAREA" }));
    let sent = feed(&mut host(), update("efectivos", row(), both));
    let types =
        ["efectivos efectivo_status_changed", "efectivos efectivo_location_update", "efectivos:board efectivo_board 3"];
    assert_eq!(outline(&sent), types);
    assert_eq!(sent[1].data["efectivo_data"]["lat"], json!(-34.6));
    assert!(sent[1].data["efectivo_data"].get("old_status").is_none());
}

#[test]
fn other_columns_are_told_by_the_board() {
    let sent = feed(&mut host(), update("efectivos", row(), with(row(), json!({ "unidad": "Comando Sur" }))));
    assert_eq!(outline(&sent), ["efectivos:board efectivo_board 3"]);
    assert_eq!(sent[0].data["efectivo_data"]["unidad"], "Comando Sur");
}

#[test]
fn coming_and_going_is_told_soft_or_not() {
    let gone = with(row(), json!({ "deleted_at": "2026-01-01" }));
    let (came, went) = (
        ["efectivos efectivo_created", "efectivos:board efectivo_board 3"],
        ["efectivos efectivo_deleted", "efectivos:board efectivo_board -3"],
    );
    let mut host = host();
    assert_eq!(outline(&feed(&mut host, insert("efectivos", row()))), came);
    assert_eq!(outline(&feed(&mut host, update("efectivos", row(), gone.clone()))), went);
    assert!(host.all_state().is_empty());
    assert_eq!(outline(&feed(&mut host, update("efectivos", gone.clone(), row()))), came);
    assert_eq!(outline(&feed(&mut host, delete("efectivos", row()))), went);
    for nothing in [insert("efectivos", gone.clone()), delete("efectivos", gone.clone()), snapshot("efectivos", gone)] {
        assert_eq!(feed(&mut host, nothing), []);
    }
}

#[test]
fn another_key_is_another_efectivo() {
    let sent = feed(&mut host(), update("efectivos", row(), with(row(), json!({ "id": 4 }))));
    assert_eq!(outline(&sent)[1], "efectivos:board efectivo_board -3");
    assert_eq!(outline(&sent)[3], "efectivos:board efectivo_board 4");
}

#[test]
fn a_truncated_table_empties_the_board() {
    let mut host = host().replace_always();
    let rows = (1..=3).map(|id| snapshot("efectivos", with(row(), json!({ "id": id }))));
    assert_eq!(host.feed(rows).unwrap().len(), 3);
    let sent = feed(&mut host, truncate("efectivos"));
    assert_eq!(outline(&sent)[0], "efectivos efectivo_deleted");
    assert!(sent.len() == 4 && sent[1..].iter().all(|m| m.deleted));
    assert!(host.all_state().is_empty());
}

fn step() -> impl Strategy<Value = (u8, Option<Value>)> {
    let states = prop::sample::select(vec!["DISPONIBLE", "EN_TAREA", "FUERA_SERVICIO", "NO_DISPONIBLE"]);
    let columns = (states, prop::option::weighted(0.2, Just("2026-01-01")), -2..2_i8);
    let columns = columns
        .prop_map(|(state, deleted, lat)| json!({ "estado_disponibilidad": state, "deleted_at": deleted, "lat": lat }));
    (0..5_u8, prop::option::weighted(0.85, columns))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn after_any_changes_the_board_is_what_a_snapshot_makes(steps in prop::collection::vec(step(), 0..60)) {
        let (mut host, mut table) = (host().replace_always(), BTreeMap::new());
        let mut board = BTreeMap::new();
        let apply = |board: &mut BTreeMap<_, _>, sent: Vec<Sent>| {
            for message in sent.into_iter().filter(|m| m.channel == "efectivos:board") {
                match message.deleted {
                    true => drop(board.remove(&message.key)),
                    false => drop(board.insert(message.key, message.data)),
                }
            }
        };
        for (id, columns) in steps {
            let new = columns.map(|columns| with(with(row(), json!({ "id": id })), columns));
            let old = match &new {
                Some(new) => table.insert(id, new.clone()),
                None => table.remove(&id),
            };
            let event = match (old, new) {
                (Some(old), Some(new)) => update("efectivos", old, new),
                (Some(old), None) => delete("efectivos", old),
                (None, Some(new)) => insert("efectivos", new),
                (None, None) => continue,
            };
            apply(&mut board, feed(&mut host, event));
        }
        let mut fresh = self::host();
        let mut rebuilt = BTreeMap::new();
        apply(&mut rebuilt, fresh.feed(table.values().map(|row| snapshot("efectivos", row.clone()))).unwrap());
        prop_assert_eq!(board, rebuilt);
        prop_assert_eq!(host.all_state(), fresh.all_state());
    }
}
