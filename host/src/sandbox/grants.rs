//! Compares what a manifest asks for with what the operator grants, and writes down what is missing as the
//! lines that `relevo.toml` needs.

use std::fmt::{self, Display, Write as _};
use std::path::Path;

use super::error::LoadError;
use crate::config::human::{show_bytes, show_duration};
use crate::config::{Capability, Grant, Granted, Limits, SomeLimits, Terms};
use crate::event::Name;
use crate::message::ChannelPattern;

/// What a plugin asks for and doesn't get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub plugin: Name,
    /// In words, each thing for itself.
    pub things: Vec<String>,
    /// All that it needs, with what is granted already.
    pub needed: Grant,
    /// There is a `[plugin.NAME.grant]` already.
    listed: bool,
}

/// What the plugin may use up.
///
/// # Errors
/// What it asks for and isn't granted.
pub(super) fn settle(asked: &Grant, terms: &Terms, plugin: &Name, path: &Path) -> Result<Limits, LoadError> {
    let mut things = Vec::new();
    let (granted, listed) = match &terms.granted {
        Granted::Everything => (None, false),
        Granted::Nothing => (Some(Grant::default()), false),
        Granted::Listed(grant) => (Some(grant.clone()), true),
    };
    let mut needed = match granted {
        None => asked.clone(),
        Some(granted) => with(granted, asked, &mut things),
    };
    let limits = within(&asked.limits, &terms.limits, &mut needed.limits, &mut things);
    if things.is_empty() {
        return Ok(limits);
    }
    Err(LoadError::Grant {
        path: path.into(),
        missing: Box::new(Missing { plugin: plugin.clone(), things, needed, listed }),
    })
}

/// Adds to a grant what it lacks.
fn with(mut grant: Grant, asked: &Grant, things: &mut Vec<String>) -> Grant {
    for table in &asked.tables {
        if !grant.tables.iter().any(|granted| granted == table || **granted == *"*") {
            things.push(format!("to see the table {table}"));
            grant.tables.push(table.clone());
        }
    }
    for (what, asked, granted) in [
        ("to see publications to", &asked.published, &mut grant.published),
        ("to send to", &asked.channels, &mut grant.channels),
    ] {
        for pattern in asked {
            if !granted.iter().any(|granted: &ChannelPattern| granted.covers(pattern)) {
                things.push(format!("{what} {}", pattern.as_str()));
                granted.push(pattern.clone());
            }
        }
    }
    for (table, columns) in &asked.lookup {
        let granted = grant.lookup.entry(table.clone()).or_default();
        let lacking: Vec<Box<str>> =
            columns.iter().filter(|c| !granted.iter().any(|g| g == *c || **g == *"*")).cloned().collect();
        if !lacking.is_empty() {
            things.push(format!("to look up {} of {table}", lacking.join(", ")));
            granted.extend(lacking);
        }
    }
    for capability in &asked.capabilities {
        if !capability.is_harmless() && !grant.capabilities.contains(capability) {
            things.push(format!("the capability {}", capability.as_str()));
            grant.capabilities.push(*capability);
        }
    }
    grant
}

/// What holds: the smaller of what is asked for and what is granted. To ask for more is an error, so that nobody
/// believes in a limit that isn't there.
fn within(asked: &SomeLimits, granted: &Limits, needed: &mut SomeLimits, things: &mut Vec<String>) -> Limits {
    fn pick<T: PartialOrd + Copy>(
        setting: &str,
        asked: Option<T>,
        granted: T,
        needed: &mut Option<T>,
        things: &mut Vec<String>,
        show: fn(T) -> String,
    ) -> T {
        let Some(asked) = asked else { return granted };
        if asked > granted {
            things.push(format!("limits.{setting} of {} (granted is {})", show(asked), show(granted)));
            *needed = Some(asked);
        }
        asked
    }
    let number = |n: u32| n.to_string();
    Limits {
        cpu: pick("cpu", asked.cpu, granted.cpu, &mut needed.cpu, things, show_duration),
        memory: pick("memory", asked.memory, granted.memory, &mut needed.memory, things, show_bytes),
        output_bytes: pick(
            "output_bytes",
            asked.output_bytes,
            granted.output_bytes,
            &mut needed.output_bytes,
            things,
            show_bytes,
        ),
        output_messages: pick(
            "output_messages",
            asked.output_messages,
            granted.output_messages,
            &mut needed.output_messages,
            things,
            number,
        ),
        state_bytes: pick(
            "state_bytes",
            asked.state_bytes,
            granted.state_bytes,
            &mut needed.state_bytes,
            things,
            show_bytes,
        ),
        log_lines: pick("log_lines", asked.log_lines, granted.log_lines, &mut needed.log_lines, things, number),
    }
}

impl Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (things, plugin) = (self.things.join(", "), &self.plugin);
        let how = if self.listed { format!("in place of its [plugin.{plugin}.grant]") } else { "there".into() };
        write!(f, "asks for what relevo.toml does not grant: {things}; write {how}, and restart the server:")?;
        self.section().lines().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl Missing {
    /// The lines for `relevo.toml`.
    pub fn section(&self) -> String {
        let Grant { tables, published, channels, lookup, capabilities, limits } = &self.needed;
        let patterns = |patterns: &[ChannelPattern]| list(patterns.iter().map(ChannelPattern::as_str));
        let mut lines = format!("[plugin.{}.grant]\n", self.plugin);
        let mut line = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                // To a String it can't fail.
                let _ = writeln!(lines, "{key} = {value}");
            }
        };
        line("tables", list(tables.iter().map(|table| &**table)));
        line("published", patterns(published));
        line("channels", patterns(channels));
        line("lookup", table(lookup.iter().map(|(table, columns)| (&**table, list(columns.iter().map(|c| &**c))))));
        line("capabilities", list(capabilities.iter().map(|capability| capability.as_str())));
        let limits = [
            ("cpu", limits.cpu.map(|time| text(&show_duration(time)))),
            ("memory", limits.memory.map(|bytes| text(&show_bytes(bytes)))),
            ("output_bytes", limits.output_bytes.map(|bytes| text(&show_bytes(bytes)))),
            ("output_messages", limits.output_messages.map(|n| n.to_string())),
            ("state_bytes", limits.state_bytes.map(|bytes| text(&show_bytes(bytes)))),
            ("log_lines", limits.log_lines.map(|n| n.to_string())),
        ];
        line("limits", table(limits.into_iter()));
        lines
    }
}

/// A text as TOML has it.
pub(super) fn text(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> Option<String> {
    let items: Vec<String> = items.map(text).collect();
    (!items.is_empty()).then(|| format!("[{}]", items.join(", ")))
}

/// On one line; keys without a value are left out.
fn table<'a>(entries: impl Iterator<Item = (&'a str, Option<String>)>) -> Option<String> {
    let bare = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    let entry = |(key, value): (&str, Option<String>)| {
        let key = if bare(key) { key.to_owned() } else { text(key) };
        value.map(|value| format!("{key} = {value}"))
    };
    let entries: Vec<String> = entries.filter_map(entry).collect();
    (!entries.is_empty()).then(|| format!("{{ {} }}", entries.join(", ")))
}

/// The capabilities that a manifest asks for need a grant of their own, but for what its tables bring.
pub(super) fn to_be_granted(asked: &[Capability], looks_up: bool) -> Vec<Capability> {
    let own = |capability: &&Capability| !(capability.is_harmless() || looks_up && **capability == Capability::Lookup);
    asked.iter().filter(own).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const MANIFEST: &str = "
        name = 'p'
        version = '1'
        events = { tareas = ['insert'], 'odd table' = ['insert'] }
        published = ['system']
        channels = ['tasks', 'user:*']
        capabilities = ['state', 'log', 'lookup']
        [lookup]
        usuarios = ['id', 'nombre']
        [limits]
        cpu = '500ms'
        memory = '32MiB'
        log_lines = 300
    ";

    /// What settings that end in this say of the manifest.
    fn under(settings: &str) -> Result<Limits, LoadError> {
        let text = format!(
            "[[source]]\nname = 's'\nurl = 'sqlite:s.db'\n[[pipeline]]\nname = 'p'\nplugins = ['p']\n{settings}"
        );
        let config: Config = toml::from_str(&text).unwrap();
        let manifest = super::super::Manifest::parse(MANIFEST, Path::new("p.toml"), &"p".into(), &config.terms("p"));
        manifest.map(|manifest| manifest.limits)
    }

    fn missing(settings: &str) -> Missing {
        match under(settings).unwrap_err() {
            LoadError::Grant { missing, .. } => *missing,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn without_a_grant_the_message_has_the_lines_that_make_it_load() {
        let missing = missing("");
        let section = "[plugin.p.grant]\ntables = [\"odd table\", \"tareas\"]\npublished = [\"system\"]\n\
                       channels = [\"tasks\", \"user:*\"]\nlookup = { usuarios = [\"id\", \"nombre\"] }\n\
                       capabilities = [\"state\"]\nlimits = { cpu = \"500ms\", log_lines = 300 }\n";
        assert_eq!(missing.section(), section);
        assert_eq!(
            under(section).unwrap(),
            Limits {
                cpu: std::time::Duration::from_millis(500),
                memory: 32 << 20,
                log_lines: 300,
                ..Limits::default()
            }
        );
        let told = missing.to_string();
        for thing in [
            "the table tareas",
            "to send to user:*",
            "publications to system",
            "look up id, nombre of usuarios",
            "capability state",
            "limits.cpu of 500ms (granted is 400ms)",
        ] {
            assert!(told.contains(thing), "{thing}: {told}");
        }
        assert!(told.contains("write there, and restart the server:\n  [plugin.p.grant]\n  tables"), "{told}");
    }

    #[test]
    fn what_is_granted_already_stays_in_the_lines_that_are_shown() {
        let granted = "[plugin.p.grant]\ntables = ['*']\nchannels = ['t*']\nlookup = { usuarios = ['nombre', 'dni'] }\nlimits = { memory = '1GiB', cpu = '1s' }\n";
        let missing = missing(granted);
        assert_eq!(
            missing.section(),
            "[plugin.p.grant]\ntables = [\"*\"]\npublished = [\"system\"]\nchannels = [\"t*\", \"user:*\"]\n\
             lookup = { usuarios = [\"nombre\", \"dni\", \"id\"] }\ncapabilities = [\"state\"]\n\
             limits = { cpu = \"1s\", memory = \"1GiB\", log_lines = 300 }\n"
        );
        assert!(missing.to_string().contains("in place of its [plugin.p.grant]"), "{missing}");
        under(&missing.section()).unwrap();
    }

    #[test]
    fn open_grants_everything_but_limits_and_a_section_counts_all_the_same() {
        let open = "[plugins]\ngrants = 'open'\n";
        assert_eq!(missing(open).things.len(), 2, "two limits");
        under(&format!("{open}limits = {{ cpu = '1s', log_lines = 500 }}\n")).unwrap();
        assert!(missing(&format!("{open}[plugin.p.grant]\ntables = ['*']\n")).things.len() > 2);
    }

    #[test]
    fn a_grant_can_lower_a_limit() {
        let granted = missing("").section().replace("cpu = \"500ms\"", "state_bytes = \"1KiB\", cpu = \"500ms\"");
        assert_eq!(under(&granted).unwrap().state_bytes, 1 << 10);
    }
}
