//! Plugins as real components, good and hostile, through the whole sandbox.

mod capabilities;
mod faults;
mod loading;
mod speed;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::config::Terms;
use crate::event::{Body, Change, Event, Micros, Name, Number, Operation, Position};

/// Where the components are that `cargo xtask test` built.
fn built() -> PathBuf {
    let ready = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/plugins/ready");
    let folder = std::env::var_os("RELEVO_TEST_PLUGINS").map_or(ready, PathBuf::from);
    assert!(
        folder.join("hostile.wasm").exists(),
        "no hostile.wasm in {}: the plugins for tests are not built; run `cargo xtask test`",
        folder.display()
    );
    folder
}

/// A sandbox with a plugins folder of its own. Compiled code is shared by all tests.
struct Bench {
    sandbox: Sandbox,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let sandbox = Sandbox::new(&built().join("compiled")).unwrap();
        Self { sandbox, folder: tempfile::tempdir().unwrap() }
    }

    /// Puts a component with a manifest into the folder and loads it.
    fn load(&self, name: &str, wasm: &[u8], manifest: &str) -> Result<Plugin, LoadError> {
        let folder = self.folder.path();
        std::fs::write(folder.join(format!("{name}.wasm")), wasm).unwrap();
        std::fs::write(folder.join(format!("{name}.toml")), manifest).unwrap();
        self.sandbox.load(folder, &name.into(), &Terms::default())
    }

    fn built(&self, name: &str, more: &str) -> Plugin {
        let wasm = std::fs::read(built().join(format!("{name}.wasm"))).unwrap();
        let manifest = format!(
            "name = '{name}'\nversion = '0.1.0'\nevents = {{ tareas = ['insert', 'delete'] }}\nchannels = ['*']\n\
             capabilities = ['state', 'lookup']\n{more}"
        );
        self.load(name, &wasm, &manifest).unwrap()
    }

    /// The hostile plugin, told what to do, with tight limits.
    fn hostile(&self, action: &str) -> Plugin {
        self.hostile_at(action, None)
    }

    fn hostile_at(&self, action: &str, at: Option<&str>) -> Plugin {
        let at = at.map_or_else(String::new, |at| format!("at = '{at}'"));
        self.built(
            "hostile",
            &format!(
                "[lookup]\nusuarios = ['nombre']\n\
                 [limits]\ncpu = '50ms'\nmemory = '16MiB'\noutput_bytes = '1MiB'\nstate_bytes = '1MiB'\n\
                 [config]\ndo = '{action}'\n{at}\n"
            ),
        )
    }
}

pub(super) fn event(number: u64, operation: Operation) -> BatchEvent {
    let row = format!(r#"{{"id":{number},"titulo":"Patrulla"}}"#);
    let event = Event {
        number: Number(number),
        source: "gad".into(),
        position: Position { commit: number, index: 0 },
        committed_at: Micros(1_700_000_000_000_000 + number),
        transaction: number,
        last_of_transaction: true,
        late: false,
        body: Body::Change(Change {
            schema: "main".into(),
            table: "tareas".into(),
            operation,
            key: number.to_string().into(),
            before: None,
            after: Some(row.into()),
            changed: vec![],
            missing: vec![],
        }),
    };
    BatchEvent { event: Arc::new(event), after: None, rebuild: false }
}

pub(super) fn inserts(numbers: std::ops::RangeInclusive<u64>) -> Vec<BatchEvent> {
    numbers.map(|number| event(number, Operation::Insert)).collect()
}

fn pipeline() -> Name {
    "tests".into()
}

fn state(plugin: &Plugin) -> State {
    State::new(BTreeMap::new(), plugin.manifest().limits.state_bytes)
}

/// One batch through a fresh instance.
fn once(plugin: &Plugin, events: &[BatchEvent]) -> Result<Output, Fault> {
    plugin.instantiate(&pipeline())?.call(events, &mut state(plugin), &Lookup::default())
}

fn drafts(output: Output) -> Vec<Draft> {
    match output {
        Output::Messages(drafts) => drafts,
        Output::Patches(_) => panic!("patches instead of messages"),
    }
}

fn json(draft: &Draft) -> serde_json::Value {
    serde_json::from_str(&draft.data).unwrap()
}
