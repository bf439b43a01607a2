//! What a plugin may use does what the contract says, and nothing of the machine shows through.

use super::*;
use crate::sandbox::Notes;

fn users() -> Lookup {
    let rows = BTreeMap::from([("1".into(), Arc::from(r#"{"nombre":"Ana"}"#))]);
    Lookup::new(BTreeMap::from([("usuarios".into(), rows)]))
}

#[test]
fn events_come_in_and_messages_go_out() {
    let bench = Bench::new();
    let plugin = bench.hostile("");
    assert_eq!(plugin.role(), Role::Route);
    let sent = drafts(once(&plugin, &inserts(7..=8)).unwrap());
    assert_eq!(sent.len(), 2);
    assert_eq!((sent[1].event, sent[1].channel.as_str(), sent[1].key.as_deref()), (1, "hostile", Some("8")));
    assert_eq!(&*sent[1].data, r#"{"id":8,"titulo":"Patrulla"}"#);
    assert_eq!((&*sent[1].kind, &*sent[1].event_type), ("hostile", "hostile_event"));
    assert_eq!(drafts(once(&plugin, &[]).unwrap()), []);
}

#[test]
fn the_plugins_that_ship_load_with_their_manifests_and_take_a_batch() {
    let bench = Bench::new();
    for (name, role) in [("tareas", Role::Route), ("efectivos", Role::Route), ("panel", Role::Aggregate)] {
        let source = format!("{}/../plugins/{name}/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let manifest = std::fs::read_to_string(source).unwrap();
        let plugin =
            bench.load(name, &std::fs::read(built().join(format!("{name}.wasm"))).unwrap(), &manifest).unwrap();
        let mut instance = plugin.instantiate(&pipeline()).unwrap();
        let output = instance.call(&inserts(1..=3), &mut state(&plugin), &Lookup::default());
        assert!(matches!(output, Ok(Output::Messages(_)) | Err(Fault::Poison { .. })), "{name}: {output:?}");
        assert_eq!(plugin.role(), role, "{name}");
    }
}

#[test]
fn an_enricher_patches_and_drops() {
    let bench = Bench::new();
    let plugin = bench.built("enricher", "");
    assert_eq!(plugin.role(), Role::Enrich);
    let output = once(&plugin, &[event(1, Operation::Insert), event(2, Operation::Delete)]).unwrap();
    let patched = Patch { event: 0, drop: false, body: Some(r#"{"enriched":true}"#.into()) };
    assert_eq!(output, Output::Patches(vec![patched, Patch { event: 1, drop: true, body: None }]));
}

#[test]
fn state_lookup_and_metrics_work_and_state_is_the_pipelines_to_keep() {
    let bench = Bench::new();
    let plugin = bench.hostile("work");
    let notes = Notes::new(10);
    let mut instance = plugin.instantiate_noting(&pipeline(), &notes).unwrap();
    let mut state = state(&plugin);
    let results = |sent: Vec<Draft>| -> Vec<serde_json::Value> {
        sent.iter().filter(|draft| draft.key.as_deref() == Some("work")).map(json).collect()
    };

    let sent = drafts(instance.call(&inserts(1..=2), &mut state, &users()).unwrap());
    let expected = [
        serde_json::json!({"total": 1, "seen": 1, "user": {"nombre": "Ana"}}),
        serde_json::json!({"total": 2, "seen": 2, "user": null}),
    ];
    assert_eq!(results(sent), expected);
    let changed: Vec<&str> = state.changes().map(|(key, _)| key).collect();
    assert_eq!(changed, ["seen:1", "seen:2", "total"]);

    state.discard();
    let sent = drafts(instance.call(&inserts(1..=2), &mut state, &users()).unwrap());
    assert_eq!(results(sent), expected, "a batch that is run again finds what it found before");
    state.keep();
    let sent = drafts(instance.call(&inserts(3..=3), &mut state, &users()).unwrap());
    assert_eq!(results(sent), [serde_json::json!({"total": 3, "seen": 3, "user": null})]);

    assert_eq!(notes.metrics(), [("events".into(), Metric::Counter(5)), ("seen".into(), Metric::Gauge(3.0))]);
}

#[test]
fn a_plugin_gets_no_column_that_only_another_looks_up() {
    let bench = Bench::new();
    let plugin = bench.hostile("work");
    let rows = BTreeMap::from([("1".into(), Arc::from(r#"{"dni":"7","nombre":"Ana"}"#))]);
    let rows = Lookup::new(BTreeMap::from([("usuarios".into(), rows)]));
    let both = BTreeMap::from([("usuarios".into(), ["dni".into(), "nombre".into()].into())]);
    let mut instance = plugin.instantiate(&pipeline()).unwrap();
    let sent = drafts(instance.call(&inserts(1..=1), &mut state(&plugin), &rows.of_columns(&both)).unwrap());
    let found = sent.iter().find(|draft| draft.key.as_deref() == Some("work")).unwrap();
    assert_eq!(json(found)["user"], serde_json::json!({"nombre": "Ana"}));
}

#[test]
fn state_outlives_the_instance_and_guest_memory_does_not() {
    let bench = Bench::new();
    let plugin = bench.hostile("remember");
    let mut state = state(&plugin);
    let mut seen = vec![];
    for number in 1..=3 {
        let mut instance = plugin.instantiate(&pipeline()).unwrap();
        let sent = drafts(instance.call(&inserts(number..=number), &mut state, &Lookup::default()).unwrap());
        state.keep();
        seen.push(json(&sent[0]));
    }
    assert_eq!(seen, (1..=3).map(|n| serde_json::json!({"state": n, "memory": 1})).collect::<Vec<_>>());
}

#[test]
fn after_a_fault_discarding_gives_the_state_back_as_it_was() {
    let bench = Bench::new();
    let plugin = bench.hostile("state-overflow");
    let mut state = state(&plugin);
    let mut instance = plugin.instantiate(&pipeline()).unwrap();
    instance.call(&inserts(1..=1), &mut state, &Lookup::default()).unwrap_err();
    assert!(state.changes().count() > 0);
    state.discard();
    assert_eq!((state.changes().count(), state.bytes()), (0, 0));
}

#[test]
fn nothing_of_the_machine_shows_through() {
    let bench = Bench::new();
    let plugin = bench.hostile("look-around");
    let look = |pipeline: &str, number: u64| {
        let mut instance = plugin.instantiate(&pipeline.into()).unwrap();
        let sent = drafts(instance.call(&inserts(number..=number), &mut state(&plugin), &Lookup::default()).unwrap());
        json(&sent[0])
    };
    let seen = look("p", 5);
    assert_eq!(seen["now_us"], 1_700_000_000_000_005_u64, "the clock stands at the event");
    for (what, expected) in [("variables", 0), ("arguments", 0)] {
        assert_eq!(seen[what], expected, "{what}");
    }
    assert_eq!((&seen["file"], &seen["folder"]), (&false.into(), &false.into()));
    assert_eq!(seen["stdin"], "");
    assert_eq!(look("p", 5), seen, "the same events give the same messages");
    assert_ne!(look("q", 5)["order"], seen["order"], "each pipeline has its own seed");
}

#[test]
fn a_plugin_that_sleeps_goes_on_at_once() {
    let bench = Bench::new();
    let began = std::time::Instant::now();
    let sent = once(&bench.hostile("sleep"), &inserts(1..=1));
    // How std sleeps is its own affair: it may also give up. It must not wait.
    assert!(began.elapsed().as_secs() < 60, "{sent:?}");
}

#[test]
fn instances_of_many_pipelines_run_side_by_side() {
    let bench = Bench::new();
    let plugin = bench.hostile("work");
    std::thread::scope(|scope| {
        for n in 0..8 {
            let plugin = &plugin;
            scope.spawn(move || {
                let mut instance = plugin.instantiate(&format!("p{n}").into()).unwrap();
                let mut state = state(plugin);
                for batch in 0..10 {
                    instance.call(&inserts(batch * 10 + 1..=batch * 10 + 10), &mut state, &users()).unwrap();
                    state.keep();
                }
                assert_eq!(state.get("total").unwrap().as_ref(), b"100");
            });
        }
    });
}
