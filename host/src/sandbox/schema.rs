//! The configuration that a manifest declares under `[schema]`: the keys that the operator may set, their types,
//! bounds and defaults. `relevo.toml`'s `[plugin.NAME.config]` is checked against it before the plugin starts.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Value;

use super::error::LoadError;
use super::grants::text;
use crate::config::{Terms, nearest};
use crate::event::Name;

/// The types of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
    List,
}

/// One key, as it is declared.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    #[serde(rename = "type")]
    kind: Kind,
    /// Of a list: what is in it.
    of: Option<Kind>,
    default: Option<Value>,
    #[serde(default)]
    required: bool,
    /// For the operator.
    #[serde(default)]
    description: String,
    /// Of numbers, also of those in a list.
    min: Option<f64>,
    max: Option<f64>,
    /// The only values that are allowed.
    values: Option<Vec<Value>>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Schema(BTreeMap<String, Key>);

/// What is wrong with a declaration: the setting, what was found, what is allowed.
pub(super) type Wrong = (String, String, &'static str);

impl Schema {
    /// Whether its declarations fit together; `fixed` is the manifest's own `[config]`.
    pub(super) fn check(&self, fixed: &toml::Table) -> Result<(), Wrong> {
        for (name, key) in &self.0 {
            let wrong = |field: &str, wrong: String, allowed| Err((format!("schema.{name}{field}"), wrong, allowed));
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            if !(1..=64).contains(&name.len()) || !name.bytes().all(plain) {
                return wrong("", format!("{name:?} can't be a key"), "1 to 64 letters, digits, _ and -");
            }
            if fixed.contains_key(name) {
                return wrong("", "is under [config], too".into(), "one of both; a default goes into the schema");
            }
            if key.of.is_some() != (key.kind == Kind::List) || key.of == Some(Kind::List) {
                return wrong(
                    ".of",
                    "does not fit".into(),
                    "with type = \"list\": of = \"text\", \"integer\", \"number\" or \"boolean\"",
                );
            }
            let item = key.of.unwrap_or(key.kind);
            if (key.min.is_some() || key.max.is_some()) && !matches!(item, Kind::Integer | Kind::Number) {
                return wrong("", "has min or max".into(), "these of integers and numbers");
            }
            if key
                .min
                .zip(key.max)
                .is_some_and(|(min, max)| min.partial_cmp(&max).is_none_or(std::cmp::Ordering::is_gt))
            {
                return wrong(".min", "is more than max".into(), "max or less");
            }
            if let Some(values) = &key.values
                && (values.is_empty() || values.iter().any(|value| !of_kind(item, value)))
            {
                return wrong(".values", "does not fit".into(), "at least one value, each of the key's type");
            }
            match &key.default {
                Some(_) if key.required => {
                    return wrong(".default", "is there, and required = true".into(), "one of both");
                }
                Some(default) if !key.takes(default) => {
                    return wrong(".default", format!("{default} does not fit"), "a value that the key itself allows");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds to `config` what the operator says, and the defaults of what is not said.
    ///
    /// Returns what is wrong: each key with what was found, what is allowed, and what to write.
    pub(super) fn fill(&self, plugin: &Name, terms: &Terms, config: &mut toml::Table) -> Vec<LoadError> {
        let (mut all, mut meant) = (Vec::new(), Vec::new());
        let mut wrong = |key: &str, wrong: String, allowed: String, remedy: String| {
            all.push(LoadError::Config { plugin: plugin.clone(), key: key.to_owned(), wrong, allowed, remedy });
        };
        for (name, value) in &terms.config {
            let Some(key) = self.0.get(name) else {
                if terms.later_keys {
                    tracing::warn!(%plugin, key = name, "the configuration has a key that this version does not know");
                    continue;
                }
                let known: Vec<String> = self.0.keys().cloned().collect();
                if config.contains_key(name) {
                    let allowed = "deploying a version that has it otherwise".to_owned();
                    wrong(
                        name,
                        "is the version's own, under [config] in its manifest".into(),
                        allowed,
                        "take it out".into(),
                    );
                } else if known.is_empty() {
                    wrong(
                        name,
                        "is not known".into(),
                        "nothing: the plugin has no [schema]".into(),
                        "take it out".into(),
                    );
                } else {
                    let guess = nearest(name, &known);
                    let remedy = guess.map_or_else(|| "take it out".into(), |guess| format!("write {guess} = {value}"));
                    meant.extend(guess.cloned());
                    wrong(name, "is not known".into(), known.join(", "), remedy);
                }
                continue;
            };
            if !key.takes(value) {
                wrong(name, format!("is {value}"), key.allowed(), format!("write {name} = {}", key.example()));
            }
            config.insert(name.clone(), key.as_its_own(value));
        }
        for (name, key) in &self.0 {
            match &key.default {
                _ if config.contains_key(name) => {}
                Some(default) => {
                    config.insert(name.clone(), key.as_its_own(default));
                }
                // Under another name, or with a value that does not do, it is there.
                None if key.required && !meant.contains(name) && !terms.config.contains_key(name) => {
                    let line = format!("write {name} = {}", key.example());
                    wrong(name, "is missing".into(), key.allowed(), line);
                }
                None => {}
            }
        }
        all
    }
}

impl Key {
    fn takes(&self, value: &Value) -> bool {
        match (self.of, value) {
            (Some(of), Value::Array(items)) => items.iter().all(|item| self.takes_item(of, item)),
            (Some(_), _) => false,
            (None, value) => self.takes_item(self.kind, value),
        }
    }

    fn takes_item(&self, kind: Kind, value: &Value) -> bool {
        let within = |n: f64| self.min.is_none_or(|min| n >= min) && self.max.is_none_or(|max| n <= max);
        let fits = match value {
            Value::Integer(n) => within(*n as f64),
            Value::Float(n) => within(*n),
            _ => true,
        };
        // A number is itself, however it is written.
        let same = |allowed: &Value| match (allowed, value) {
            (Value::Integer(_), Value::Float(_)) | (Value::Float(_), Value::Integer(_)) => {
                as_number(allowed) == as_number(value)
            }
            _ => allowed == value,
        };
        of_kind(kind, value) && fits && self.values.as_ref().is_none_or(|values| values.iter().any(same))
    }

    /// A number is a float for the plugin, also where it was written without a point.
    fn as_its_own(&self, value: &Value) -> Value {
        match value {
            Value::Array(items) => Value::Array(items.iter().map(|item| self.as_its_own(item)).collect()),
            Value::Integer(n) if self.of.unwrap_or(self.kind) == Kind::Number => Value::Float(*n as f64),
            other => other.clone(),
        }
    }

    /// What is allowed, for people.
    fn allowed(&self) -> String {
        let item = self.of.unwrap_or(self.kind);
        let mut allowed = match (self.of.is_some(), item) {
            (true, Kind::Text) => "a list of texts",
            (true, Kind::Integer) => "a list of integers",
            (true, Kind::Number) => "a list of numbers",
            (true, _) => "a list of booleans",
            (false, Kind::Text) => "a text",
            (false, Kind::Integer) => "an integer",
            (false, Kind::Number) => "a number",
            (false, _) => "true or false",
        }
        .to_owned();
        match (self.min, self.max) {
            (Some(min), Some(max)) => allowed.push_str(&format!(" from {min} to {max}")),
            (Some(min), None) => allowed.push_str(&format!(" of {min} or more")),
            (None, Some(max)) => allowed.push_str(&format!(" of {max} or less")),
            (None, None) => {}
        }
        if let Some(values) = &self.values {
            let values: Vec<String> = values.iter().map(Value::to_string).collect();
            allowed.push_str(&format!(": {}", values.join(", ")));
        }
        if !self.description.is_empty() {
            allowed.push_str(&format!(" ({})", self.description));
        }
        allowed
    }

    /// A value that could stand there.
    fn example(&self) -> String {
        if let Some(default) = &self.default {
            return default.to_string();
        }
        let item = self.of.unwrap_or(self.kind);
        let first = self.values.as_ref().and_then(|values| values.first());
        let bound = self.min.or(self.max).unwrap_or_default();
        let example = match (first, item) {
            (Some(value), _) => value.to_string(),
            (None, Kind::Text) => text("…"),
            (None, Kind::Integer) => format!("{}", bound.ceil()),
            (None, Kind::Number) => Value::Float(bound).to_string(),
            (None, _) => "true".to_owned(),
        };
        if self.of.is_some() { format!("[{example}]") } else { example }
    }
}

fn of_kind(kind: Kind, value: &Value) -> bool {
    match value {
        Value::String(_) => kind == Kind::Text,
        Value::Integer(_) => matches!(kind, Kind::Integer | Kind::Number),
        // JSON has no infinity.
        Value::Float(n) => kind == Kind::Number && n.is_finite(),
        Value::Boolean(_) => kind == Kind::Boolean,
        Value::Array(_) | Value::Table(_) | Value::Datetime(_) => false,
    }
}

fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(n) => Some(*n as f64),
        Value::Float(n) => Some(*n),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sandbox::Manifest;

    const SCHEMA: &str = "
        [schema.zone]
        type = 'text'
        required = true
        values = ['north', 'south']
        [schema.window]
        type = 'integer'
        default = 60
        min = 1
        max = 1440
        description = 'minutes'
        [schema.factor]
        type = 'number'
        [schema.codes]
        type = 'list'
        of = 'integer'
        min = 0
        [schema.loud]
        type = 'boolean'
        default = false
    ";

    fn read(schema: &str, config: &str, later_keys: bool) -> Result<String, String> {
        let text = format!("name = 'p'\nversion = '1'\nticks = true\n[config]\nfixed = 7\n{schema}");
        let terms = Terms { config: config.parse().unwrap(), later_keys, ..Terms::default() };
        let manifest = Manifest::parse(&text, Path::new("p.toml"), &"p".into(), &terms);
        manifest.map(|manifest| manifest.config.into()).map_err(|e| e.to_string())
    }

    #[test]
    fn what_the_operator_sets_the_defaults_and_the_versions_own_come_together() {
        let config = read(SCHEMA, "zone = 'south'\nfactor = 2\ncodes = [1, 2]", false).unwrap();
        assert_eq!(config, r#"{"codes":[1,2],"factor":2.0,"fixed":7,"loud":false,"window":60,"zone":"south"}"#);
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_allowed_and_the_line_to_write() {
        for (config, told) in [
            (
                "",
                "config.zone: is missing; allowed: a text: \"north\", \"south\". Under [plugin.p.config] write zone = \"north\"",
            ),
            ("zone = 'east'", "config.zone: is \"east\"; allowed: a text: \"north\", \"south\""),
            (
                "zone = 'north'\nwindow = 0",
                "config.window: is 0; allowed: an integer from 1 to 1440 (minutes). Under [plugin.p.config] write window = 60",
            ),
            ("zone = 'north'\nwindow = 1.5", "config.window: is 1.5; allowed: an integer"),
            ("zone = 'north'\nwindow = '5'", "config.window: is \"5\""),
            (
                "zone = 'north'\nfactor = inf",
                "config.factor: is inf; allowed: a number. Under [plugin.p.config] write factor = 0.0",
            ),
            (
                "zone = 'north'\ncodes = [1, -1]",
                "allowed: a list of integers of 0 or more. Under [plugin.p.config] write codes = [0]",
            ),
            ("zone = 'north'\ncodes = 1", "config.codes: is 1"),
            ("zone = 'north'\nloud = 1", "allowed: true or false. Under [plugin.p.config] write loud = false"),
            (
                "zone = 'north'\nwindw = 5",
                "config.windw: is not known; allowed: codes, factor, loud, window, zone. Under [plugin.p.config] write window = 5",
            ),
            ("zone = 'north'\nfixed = 8", "config.fixed: is the version's own"),
        ] {
            let error = read(SCHEMA, config, false).unwrap_err();
            assert!(error.starts_with("relevo.toml: plugin.p.") && error.contains(told), "{config}\n→ {error}");
        }
        let text = format!("name = 'p'\nversion = '1'\nticks = true\n[config]\nfixed = 7\n{SCHEMA}");
        let terms = Terms { config: "loud = 1\nwindw = 5".parse().unwrap(), ..Terms::default() };
        let (_, unmet) = Manifest::judged(&text, Path::new("p.toml"), &"p".into(), &terms).unwrap();
        let told: Vec<String> = unmet.iter().map(ToString::to_string).collect();
        assert!(told.len() == 3 && told[2].contains("config.zone: is missing"), "all of it at once: {told:?}");
        let error = read("", "window = 5", false).unwrap_err();
        assert!(error.contains("the plugin has no [schema]") && error.contains("take it out"), "{error}");
    }

    #[test]
    fn a_version_that_served_passes_over_the_keys_of_a_later_one() {
        let config = read(SCHEMA, "zone = 'north'\nlater = 5", true).unwrap();
        assert!(config.contains("\"zone\":\"north\"") && !config.contains("later"), "{config}");
        read(SCHEMA, "zone = 'east'", true).unwrap_err();
    }

    #[test]
    fn a_declaration_that_does_not_fit_together_is_named() {
        for (key, told) in [
            ("type = 'date'", "text"),
            ("type = 'text'\ncolour = 1", "there is no such setting"),
            ("type = 'text'\nmin = 1", "schema.k: has min or max"),
            ("type = 'list'", "schema.k.of"),
            ("type = 'text'\nof = 'text'", "schema.k.of"),
            ("type = 'integer'\nmin = 2\nmax = 1", "schema.k.min: is more than max"),
            ("type = 'integer'\nvalues = ['a']", "schema.k.values"),
            ("type = 'integer'\nvalues = []", "at least one value"),
            ("type = 'integer'\ndefault = 'a'", "schema.k.default: \"a\" does not fit"),
            ("type = 'integer'\nrequired = true\ndefault = 1", "one of both"),
        ] {
            let error = read(&format!("[schema.k]\n{key}"), "", false).unwrap_err();
            assert!(error.starts_with("p.toml: ") && error.contains(told), "{key}\n→ {error}");
        }
        let error = read("[schema.fixed]\ntype = 'integer'", "", false).unwrap_err();
        assert!(error.contains("schema.fixed: is under [config], too"), "{error}");
    }
}
