//! The manifest `NAME.toml` beside a component: what the plugin wants to see, to use and to send.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::error::LoadError;
use super::grants;
use super::schema::Schema;
use crate::config::human::{show_bytes, show_duration};
use crate::config::{Capability, ConfigError, Grant, Limits, SomeLimits, Terms, read_toml};
use crate::event::{Name, Operation};
use crate::message::{ChannelName, ChannelPattern};

/// The shortest CPU limit: the clock that enforces it ticks ten times as often, and not faster than
/// every millisecond.
const MIN_CPU: Duration = Duration::from_millis(10);
/// A Rust guest's stack alone takes 1 MiB.
const MIN_MEMORY: u64 = 2 << 20;

/// What happens to an event that a plugin can't handle, when trying again did not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFault {
    /// It becomes a dead letter, and the pipeline goes on without it.
    #[default]
    Skip,
    /// The pipeline stands still before it, until somebody mends the plugin or lets the event go.
    Hold,
    /// It becomes a dead letter of this plugin, and the pipeline's other plugins get it all the same.
    Bypass,
}

fn first_layout() -> u32 {
    1
}

/// What a plugin wants, checked, and what it may use up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub name: Name,
    pub version: Box<str>,
    /// Which layout its state has: a version with another one doesn't go on with this one's state.
    pub state_layout: u32,
    /// What happens to an event that it can't handle.
    pub on_fault: OnFault,
    /// The operations that it wants to see, by table.
    pub events: BTreeMap<Name, Vec<Operation>>,
    /// Of these tables it wants to see only updates that change one of the columns; at least one each.
    pub changed: BTreeMap<Name, Vec<Box<str>>>,
    /// Whether it wants to see watermarks.
    pub ticks: bool,
    /// The channels whose publications it wants to see.
    pub published: Vec<ChannelPattern>,
    /// The channels that it may send to.
    pub channels: Vec<ChannelPattern>,
    /// Whether it needs the rows that are there already at its first start.
    pub snapshot: bool,
    /// The columns that it looks up, by reference table.
    pub lookup: BTreeMap<Name, Vec<Box<str>>>,
    /// What it uses of the host; `log` and `metrics` need no asking, nor `lookup` where it names tables.
    pub capabilities: Vec<Capability>,
    /// What the operator grants, less where the manifest asks for less.
    pub limits: Limits,
    /// Handed to `init`: a JSON object, of its own `[config]` and what the operator sets.
    pub config: Box<str>,
}

impl Manifest {
    /// The tables whose rows it sees or looks up.
    pub fn tables(&self) -> impl Iterator<Item = &Name> {
        self.events.keys().chain(self.lookup.keys())
    }

    /// Whether the plugin may send to a channel.
    pub fn may_send(&self, channel: &ChannelName) -> bool {
        self.channels.iter().any(|pattern| pattern.matches(channel.as_str()))
    }

    /// Whether it asks for something that the host offers.
    pub fn asks_for(&self, capability: Capability) -> bool {
        let by_tables = capability == Capability::Lookup && !self.lookup.is_empty();
        capability.is_harmless() || by_tables || self.capabilities.contains(&capability)
    }

    /// Checks what stands in a manifest, for whoever is about to build its plugin: not what an operator grants
    /// or sets.
    ///
    /// # Errors
    /// What is wrong, and what is allowed.
    pub fn proofread(text: &str, path: &Path, name: &Name) -> Result<(), LoadError> {
        match Self::parse(text, path, name, &Terms::default()) {
            Err(error) if !error.is_of_settings() => Err(error),
            _ => Ok(()),
        }
    }

    /// Checks the text of the plugin `name`'s manifest, and whether the operator's terms let it have its way.
    pub(super) fn parse(text: &str, path: &Path, name: &Name, terms: &Terms) -> Result<Self, LoadError> {
        let (manifest, mut unmet) = Self::judged(text, path, name, terms)?;
        if unmet.is_empty() { Ok(manifest) } else { Err(unmet.swap_remove(0)) }
    }

    /// What stands in a manifest, and all that the operator's terms refuse of it.
    ///
    /// # Errors
    /// What is wrong with the manifest itself, and what is allowed.
    pub fn judged(text: &str, path: &Path, name: &Name, terms: &Terms) -> Result<(Self, Vec<LoadError>), LoadError> {
        let wrong = |setting: &str, wrong: String, allowed: &str| LoadError::Manifest {
            path: path.into(),
            setting: setting.into(),
            wrong,
            allowed: allowed.into(),
        };
        let file: File =
            read_toml(text).map_err(|ConfigError { name, wrong: why, allowed }| wrong(&name, why, &allowed))?;
        if file.name != *name.as_ref() {
            return Err(wrong("name", format!("is {:?}", file.name), &format!("the file's name, {name:?}")));
        }
        if file.version.trim().is_empty() {
            return Err(wrong("version", "is empty".into(), "any text, like \"0.1.0\""));
        }
        if file.events.is_empty() && !file.ticks && file.published.is_empty() {
            return Err(wrong(
                "events",
                "the plugin wants to see nothing".into(),
                "tables with operations, like events = { tareas = [\"insert\"] }, or ticks = true, or published",
            ));
        }
        let mut events = BTreeMap::new();
        for (table, operations) in file.events {
            let parsed = operations
                .iter()
                .map(|operation| {
                    operation_named(operation)
                        .ok_or_else(|| wrong(&format!("events.{table}"), format!("{operation:?}"), OPERATIONS))
                })
                .collect::<Result<Vec<_>, _>>()?;
            events.insert(Name::from(table), parsed);
        }
        let patterns = |setting: &str, texts: &[String]| {
            texts
                .iter()
                .map(|text| ChannelPattern::parse(text).map_err(|allowed| wrong(setting, format!("{text:?}"), allowed)))
                .collect::<Result<Vec<_>, _>>()
        };
        for (table, columns) in &file.changed {
            let setting = format!("changed.{table}");
            let Some(operations) = events.get(table.as_str()) else {
                let known = events.keys().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
                return Err(wrong(&setting, "the plugin doesn't want this table's events".into(), &known));
            };
            if !operations.contains(&Operation::Update) {
                return Err(wrong(
                    &setting,
                    "is about updates, which the plugin doesn't want".into(),
                    &format!("\"update\" in events.{table}"),
                ));
            }
            if columns.is_empty() {
                return Err(wrong(&setting, "names no column".into(), "at least one column"));
            }
        }
        if let Some((table, _)) = file.lookup.iter().find(|(_, columns)| columns.is_empty()) {
            return Err(wrong(&format!("lookup.{table}"), "names no column".into(), "at least one column"));
        }
        let (published, channels) = (patterns("published", &file.published)?, patterns("channels", &file.channels)?);
        let by_name = |tables: BTreeMap<String, Vec<Box<str>>>| -> BTreeMap<Name, Vec<Box<str>>> {
            tables.into_iter().map(|(table, columns)| (Name::from(table), columns)).collect()
        };
        let (lookup, changed) = (by_name(file.lookup), by_name(file.changed));
        let mut config = file.config;
        file.schema.check(&config).map_err(|(setting, found, allowed)| wrong(&setting, found, allowed))?;
        let mut unmet = file.schema.fill(name, terms, &mut config);
        let config = serde_json::to_string(&config)
            .map_err(|e| wrong("config", e.to_string(), "what JSON can hold: no dates, no infinities"))?;
        let asked = Grant {
            tables: events.keys().cloned().collect(),
            published: published.clone(),
            channels: channels.clone(),
            lookup: lookup.clone(),
            capabilities: grants::to_be_granted(&file.capabilities, !lookup.is_empty()),
            limits: file.limits,
        };
        let limits = grants::settle(&asked, terms, name, path).unwrap_or_else(|missing| {
            unmet.push(missing);
            terms.limits.clone()
        });
        check_least(&limits, path)?;
        let manifest = Self {
            name: name.clone(),
            version: file.version.into(),
            state_layout: file.state_layout,
            on_fault: file.on_fault,
            published,
            channels,
            events,
            changed,
            ticks: file.ticks,
            snapshot: file.snapshot,
            lookup,
            capabilities: file.capabilities,
            limits,
            config: config.into(),
        };
        Ok((manifest, unmet))
    }
}

/// The manifest as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    version: String,
    #[serde(default = "first_layout")]
    state_layout: u32,
    #[serde(default)]
    on_fault: OnFault,
    #[serde(default)]
    events: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    changed: BTreeMap<String, Vec<Box<str>>>,
    #[serde(default)]
    ticks: bool,
    #[serde(default)]
    published: Vec<String>,
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default)]
    snapshot: bool,
    #[serde(default)]
    lookup: BTreeMap<String, Vec<Box<str>>>,
    #[serde(default)]
    capabilities: Vec<Capability>,
    #[serde(default)]
    limits: SomeLimits,
    #[serde(default)]
    config: toml::Table,
    #[serde(default)]
    schema: Schema,
}

const OPERATIONS: &str = "insert, update, delete, truncate, snapshot";

fn operation_named(name: &str) -> Option<Operation> {
    match name {
        "insert" => Some(Operation::Insert),
        "update" => Some(Operation::Update),
        "delete" => Some(Operation::Delete),
        "truncate" => Some(Operation::Truncate),
        "snapshot" => Some(Operation::Snapshot),
        _ => None,
    }
}

/// A limit can be too low for any plugin.
fn check_least(limits: &Limits, path: &Path) -> Result<(), LoadError> {
    let at_least = |setting: &str, wrong: String, allowed: &str| LoadError::Manifest {
        path: path.into(),
        setting: format!("limits.{setting}"),
        wrong,
        allowed: allowed.into(),
    };
    if limits.cpu < MIN_CPU {
        return Err(at_least("cpu", show_duration(limits.cpu), "10ms or more"));
    }
    if limits.memory < MIN_MEMORY {
        return Err(at_least("memory", show_bytes(limits.memory), "2MiB or more"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Manifest, LoadError> {
        Manifest::parse(text, Path::new("tareas.toml"), &"tareas".into(), &Terms::default())
    }

    const SHORT: &str = "name = 'tareas'\nversion = '1'\nticks = true\n";

    #[test]
    fn a_whole_manifest_is_read() {
        let manifest = parse(
            r#"
            name = "tareas"
            version = "0.1.0"
            events = { tareas = ["insert", "update"] }
            published = ["system", "alerts:*"]
            channels = ["tasks", "user:*"]
            snapshot = true
            [changed]
            tareas = ["estado"]
            [lookup]
            usuarios = ["id", "nombre"]
            [limits]
            cpu = "50ms"
            memory = "32MiB"
            [config]
            window = 12
            "#,
        )
        .unwrap();
        assert_eq!(manifest.events["tareas"], [Operation::Insert, Operation::Update]);
        assert_eq!(manifest.changed["tareas"], ["estado".into()]);
        assert_eq!(manifest.limits.cpu, Duration::from_millis(50));
        assert_eq!(manifest.limits.memory, 32 << 20);
        assert_eq!(manifest.limits.log_lines, Limits::default().log_lines);
        assert_eq!(&*manifest.config, r#"{"window":12}"#);
        assert!(manifest.may_send(&ChannelName::new("user:42").unwrap()));
        assert!(!manifest.may_send(&ChannelName::new("tasks:board").unwrap()));
    }

    #[test]
    fn whoever_asks_for_more_than_is_granted_reads_which_lines_to_write() {
        let error = parse(&format!("{SHORT}[limits]\nmemory = '1GiB'\n")).unwrap_err().to_string();
        assert!(error.contains("limits.memory of 1GiB (granted is 64MiB)"), "{error}");
        assert!(error.ends_with("\n  [plugin.tareas.grant]\n  limits = { memory = \"1GiB\" }"), "{error}");
    }

    #[test]
    fn an_author_hears_of_mistakes_and_not_of_what_the_operator_must_do() {
        let proofread = |text: &str| Manifest::proofread(text, Path::new("tareas.toml"), &"tareas".into());
        proofread(&format!("{SHORT}[schema.zone]\ntype = 'text'\nrequired = true\n[limits]\nmemory = '1GiB'\n"))
            .unwrap();
        proofread(&format!("{SHORT}events = {{ tareas = ['insrt'] }}")).unwrap_err();
        proofread(&format!("{SHORT}chanels = ")).unwrap_err();
    }

    #[test]
    fn each_mistake_is_named_with_what_is_allowed() {
        for (text, expected) in [
            ("name = 'other'\nversion = '1'\nticks = true", "the file's name, \"tareas\""),
            ("name = 'tareas'\nversion = '1'", "wants to see nothing"),
            ("name = 'tareas'\nversion = ''\nticks = true", "version: is empty"),
            (&format!("{SHORT}events = {{ t = ['upsert'] }}"), "insert, update, delete"),
            (&format!("{SHORT}channels = ['a*b*']"), "at most one *"),
            (&format!("{SHORT}channels = ['with space']"), "letters, digits"),
            (&format!("{SHORT}colour = 'red'"), "colour (line 4): there is no such setting; allowed: name, version"),
            (&format!("{SHORT}chanels = []"), "chanels (line 4): there is no such setting (did you mean channels?)"),
            (&format!("{SHORT}[limits]\nthreads = 3"), "limits.threads (line 5): there is no such setting"),
            (&format!("{SHORT}[limits]\ncpu = 'soon'"), "a time like 50ms"),
            (&format!("{SHORT}[limits]\ncpu = '1ms'"), "10ms or more"),
            (&format!("{SHORT}[limits]\nmemory = 1000"), "2MiB or more"),
            (&format!("{SHORT}[lookup]\nusuarios = []"), "at least one column"),
            (
                &format!("{SHORT}events = {{ t = ['update'] }}\n[changed]\nu = ['a']"),
                "changed.u: the plugin doesn't want",
            ),
            (&format!("{SHORT}events = {{ t = ['insert'] }}\n[changed]\nt = ['a']"), "\"update\" in events.t"),
            (&format!("{SHORT}events = {{ t = ['update'] }}\n[changed]\nt = []"), "changed.t: names no column"),
            ("name = ", "the file (line 1)"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with("tareas.toml: ") && error.contains(expected), "{text}\n→ {error}");
        }
    }
}
