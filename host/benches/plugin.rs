//! What the sandbox costs: an event through a warm plugin, and the same work by a native trait object.
//! Both in one run, in batches of 64, after `cargo xtask test` built the plugin; `cargo xtask bench` calls it.
#![allow(clippy::expect_used, reason = "a measurement that can't go on stops with what went wrong")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use relevo::config::{Limits, Terms};
use relevo::event::{Body, Change, Event, Micros, Number, Operation, Position};
use relevo::message::ChannelName;
use relevo::sandbox::{BatchEvent, Draft, Lookup, Sandbox, State};

/// As the server has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: u64 = 64;
/// What the whole may cost more than native code, in ns an event.
const TARGET: f64 = 300.0;

/// What the plugin `hostile` does: it reads the row, and sends it, or a short message, under its key.
trait Router {
    fn route(&mut self, event: &Event, index: usize, out: &mut Vec<Draft>);
}

struct Echo {
    short: bool,
}

impl Router for Echo {
    fn route(&mut self, event: &Event, index: usize, out: &mut Vec<Draft>) {
        let Body::Change(change) = &event.body else { return };
        let row = black_box(change.after.as_deref()).unwrap_or("null");
        out.push(Draft {
            event: index,
            channel: ChannelName::new("hostile").expect("a name"),
            key: Some(change.key.clone()),
            deleted: false,
            kind: "hostile".into(),
            event_type: "hostile_event".into(),
            data: if self.short { "null" } else { row }.into(),
        });
    }
}

/// Inserts whose rows have about 300 bytes.
fn batch() -> Vec<BatchEvent> {
    let event = |number: u64| {
        let notes = "Recorrida por la zona norte. ".repeat(7);
        let row = format!(
            r#"{{"id":{number},"codigo":"T-{number}","estado":"IN_PROGRESS","prioridad":"HIGH","notas":"{notes}"}}"#
        );
        let change = Change {
            schema: "main".into(),
            table: "tareas".into(),
            operation: Operation::Insert,
            key: number.to_string().into(),
            before: None,
            after: Some(row.into()),
            changed: vec![],
            missing: vec![],
        };
        let event = Event {
            number: Number(number),
            source: "gad".into(),
            position: Position { commit: number, index: 0 },
            committed_at: Micros(1_700_000_000_000_000 + number),
            transaction: number,
            last_of_transaction: true,
            late: false,
            body: Body::Change(change),
        };
        BatchEvent { event: Arc::new(event), after: None, rebuild: false }
    };
    (1..=BATCH).map(event).collect()
}

/// The component and a folder of its own for it: its manifest in the tests asks for other events.
fn component(short: bool) -> (PathBuf, tempfile::TempDir) {
    let ready = ready();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(ready.join("hostile.wasm"), folder.path().join("hostile.wasm"))
        .expect("hostile.wasm is built: run `cargo xtask bench`, or set RELEVO_TEST_PLUGINS");
    let manifest = format!(
        "name = 'hostile'\nversion = '1'\nevents = {{ tareas = ['insert'] }}\nchannels = ['hostile']\n\
         capabilities = ['state', 'lookup']\n[config]\ndo = '{}'\n",
        if short { "short" } else { "" }
    );
    std::fs::write(folder.path().join("hostile.toml"), manifest).expect("a manifest");
    (ready.join("compiled"), folder)
}

/// Measures `call`, which takes a batch; gives the median of ns an event.
fn measure(criterion: &mut Criterion, name: &str, mut call: impl FnMut()) -> f64 {
    let mut samples = Vec::new();
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|events| {
            let batches = events.div_ceil(BATCH);
            let began = Instant::now();
            (0..batches).for_each(|_| call());
            let event = began.elapsed().as_nanos() as f64 / (batches * BATCH) as f64;
            samples.push(event);
            Duration::from_nanos((event * events as f64) as u64)
        });
    });
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Native code and a plugin in the same run; a line of the table.
fn compare(criterion: &mut Criterion, what: &str, short: bool) -> String {
    let events = batch();
    let mut router: Box<dyn Router> = black_box(Box::new(Echo { short }));
    let native = measure(criterion, &format!("{what}, native"), || {
        let mut out = Vec::with_capacity(events.len());
        for (index, item) in events.iter().enumerate() {
            router.route(&item.event, index, &mut out);
        }
        black_box(out);
    });

    let (cache, folder) = component(short);
    let sandbox = Sandbox::new(&cache).expect("a sandbox");
    let plugin = sandbox.load(folder.path(), &"hostile".into(), &Terms::default()).expect("the plugin hostile");
    let mut instance = plugin.instantiate(&"bench".into()).expect("an instance");
    let mut state = State::new(BTreeMap::new(), Limits::default().state_bytes);
    let lookup = Lookup::default();
    let plugged = measure(criterion, &format!("{what}, through a plugin"), || {
        black_box(instance.call(&events, &mut state, &lookup).expect("a batch"));
    });
    let (more, times) = (plugged - native, plugged / native);
    format!("{what:<32} {native:>8.0} {plugged:>10.0} {more:>8.0} {times:>6.1}")
}

/// The plugins that `load postgres` measures, with what they make of an update that gives a task to another efectivo.
const UPDATES: [(&str, &str); 4] = [
    ("tareas", "three messages with two names"),
    ("lead", "a patch with a name"),
    ("inbox", "the row sent on"),
    ("activity", "one more counted"),
];

/// What a plugin takes for such an update. Gives the median of ns an event.
fn update(criterion: &mut Criterion, name: &str) -> f64 {
    let row = |number: u64, efectivo: u64| {
        format!(
            r#"{{"id":{number},"uuid":"b-{number}","codigo":"B-{number}","titulo":"bench {number}","descripcion":null,"tipo":"PATRULLAJE","inicio_programado":"2026-01-01T08:00:00Z","fin_programado":"2026-01-01T12:00:00Z","inicio_real":null,"fin_real":null,"estado":"PROGRAMMED","prioridad":"MEDIUM","delegado_usuario_id":20,"creado_por_usuario_id":10,"ubicacion_lat":-34.5,"ubicacion_lon":-58.4,"ubicacion_descripcion":"Plaza","efectivos_asignados":[{efectivo}],"notas":null,"extra_data":null,"created_at":"2026-01-01T07:00:00.000Z","updated_at":"2026-01-01T07:00:00.000Z","deleted_at":null}}"#
        )
    };
    let mut events = batch();
    for item in &mut events {
        let mut event = Event::clone(&item.event);
        let number = event.number.0;
        if let Body::Change(change) = &mut event.body {
            change.operation = Operation::Update;
            change.before = Some(row(number, 1).into());
            change.after = Some(row(number, 2).into());
            change.changed = vec!["efectivos_asignados".into()];
        }
        item.event = Arc::new(event);
    }
    let rows = |rows: &[(&str, &str)]| rows.iter().map(|(key, row)| ((*key).into(), (*row).into())).collect();
    let lookup = Lookup::new(BTreeMap::from([
        (
            "usuarios".into(),
            rows(&[
                ("10", r#"{"id":10,"nombre":"Ana","apellido":"Sosa"}"#),
                ("20", r#"{"id":20,"nombre":"Beto","apellido":"Ibáñez"}"#),
            ]),
        ),
        ("efectivos".into(), rows(&[("2", r#"{"id":2,"usuario_id":20,"codigo_interno":"N-02"}"#)])),
    ]));
    let sandbox = Sandbox::new(&ready().join("compiled")).expect("a sandbox");
    let plugin = sandbox.load(&ready(), &name.into(), &Terms::default()).expect("a plugin that was built");
    let mut instance = plugin.instantiate(&"bench".into()).expect("an instance");
    let mut state = State::new(BTreeMap::new(), Limits::default().state_bytes);
    measure(criterion, &format!("an update through {name}"), || {
        black_box(instance.call(&events, &mut state, &lookup).expect("a batch"));
    })
}

fn ready() -> PathBuf {
    let ready = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins/ready");
    std::env::var_os("RELEVO_TEST_PLUGINS").map_or(ready, PathBuf::from)
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let lines = [
        compare(&mut criterion, "a row in, a short message out", true),
        compare(&mut criterion, "a row in, the row out", false),
    ];
    let updates = UPDATES.map(|(name, what)| (name, what, update(&mut criterion, name)));
    criterion.final_summary();
    println!("{:<32} {:>8} {:>10} {:>8} {:>6}", "ns an event, batches of 64", "native", "plugin", "more", "times");
    lines.iter().for_each(|line| println!("{line}"));
    for (name, what, ns) in updates {
        println!("{:<41} {ns:>10.0}", format!("{name}, {what}"));
    }
    println!("target: at most {TARGET:.0} more for a short message");
}
