//! Reads the file and the environment. Its work is in the errors: a name, what was wrong, what is
//! allowed, and for a key that is not known the one that was probably meant.

use std::ffi::OsString;
use std::str::FromStr;

use serde::de::DeserializeOwned;

use super::{Config, ConfigError, address, check};

const LISTEN: &str = "an address and a port, like 127.0.0.1:8002 or [::]:8002";

/// Reads a file's text: the settings, or a plugin's manifest.
pub(crate) fn toml<T: DeserializeOwned>(text: &str) -> Result<T, ConfigError> {
    let parsed = toml::de::Deserializer::parse(text).map_err(|e| ConfigError {
        name: at_line(super::FILE, text, &e),
        wrong: e.message().to_owned(),
        allowed: "TOML (https://toml.io)".into(),
    })?;
    serde_path_to_error::deserialize(parsed).map_err(|error| {
        let path = error.path().to_string();
        explain(&path, error.inner(), text)
    })
}

/// Puts the environment over it. An empty variable counts as not set.
pub(super) fn environment(config: &mut Config, variable: impl Fn(&str) -> Option<OsString>) -> Result<(), ConfigError> {
    let get = |name: &str| -> Result<Option<String>, ConfigError> {
        match variable(name).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => value.into_string().map(Some).map_err(|_| wrong(name, "it is not UTF-8", "UTF-8 text")),
        }
    };
    if let Some(text) = get("RELEVO_LISTEN")? {
        config.listen = parsed("RELEVO_LISTEN", &text, LISTEN)?;
    }
    if let Some(text) = get("RELEVO_DATA")? {
        config.data = text.into();
    }
    if let Some(text) = get("RELEVO_LOG")? {
        check::log("RELEVO_LOG", &text)?;
        config.log = text;
    }
    if let Some(text) = get("RELEVO_LOG_FORMAT")? {
        config.log_format = parsed("RELEVO_LOG_FORMAT", &text, "text or json")?;
    }
    if let Some(text) = get("RELEVO_JWT_SECRET")? {
        config.auth.secret = Some(text);
    }
    if let Some(text) = get("RELEVO_DATABASE_URL")? {
        let Some(source) = config.sources.first_mut() else {
            return Err(wrong("RELEVO_DATABASE_URL", "there is no [[source]] to use it", "a [[source]] in the file"));
        };
        source.url = text;
        address::check("RELEVO_DATABASE_URL", source)?;
    }
    Ok(())
}

fn parsed<T: FromStr>(name: &str, text: &str, allowed: &str) -> Result<T, ConfigError> {
    text.trim().parse().map_err(|_| wrong(name, &format!("{text:?} can't be used"), allowed))
}

fn wrong(name: &str, wrong: &str, allowed: &str) -> ConfigError {
    ConfigError { name: name.into(), wrong: wrong.into(), allowed: allowed.into() }
}

/// Takes serde's sentence apart: it names what it found and what it expected, in words that are
/// for programmers.
fn explain(path: &str, error: &toml::de::Error, text: &str) -> ConfigError {
    let message = error.message();
    let quoted = |part: &str| -> Vec<String> {
        part.split('`').skip(1).step_by(2).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let mut names = quoted(rest);
        let unknown = if names.is_empty() { String::new() } else { names.remove(0) };
        let parent = path.strip_suffix(unknown.as_str()).unwrap_or(path).trim_end_matches(['.', '?']);
        let name = if parent.is_empty() { unknown.clone() } else { format!("{parent}.{unknown}") };
        let guess = nearest(&unknown, &names).map(|n| format!(" (did you mean {n}?)")).unwrap_or_default();
        return ConfigError {
            name: at_line(&name, text, error),
            wrong: format!("there is no such setting{guess}"),
            allowed: names.join(", "),
        };
    }
    let name = at_line(if path == "." { super::FILE } else { path }, text, error);
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        let mut names = quoted(rest);
        let unknown = if names.is_empty() { String::new() } else { names.remove(0) };
        return ConfigError { name, wrong: format!("{unknown:?} is not known"), allowed: names.join(", ") };
    }
    if let Some(field) = message.strip_prefix("missing field ") {
        let field = field.trim_matches('`');
        return ConfigError { name, wrong: format!("{field} is missing"), allowed: format!("an entry with {field}") };
    }
    if message.contains("socket address") {
        return ConfigError { name, wrong: message.into(), allowed: LISTEN.into() };
    }
    if let Some((found, expected)) = message.split_once(", expected ") {
        return ConfigError { name, wrong: found.into(), allowed: expected.into() };
    }
    match message.split_once(" is not ") {
        Some((found, expected)) => {
            ConfigError { name, wrong: format!("{found} can't be used"), allowed: expected.into() }
        }
        None => ConfigError { name, wrong: "its value can't be used".into(), allowed: message.into() },
    }
}

fn at_line(name: &str, text: &str, error: &toml::de::Error) -> String {
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => format!("{name} (line {})", before.matches('\n').count() + 1),
        None => name.to_owned(),
    }
}

/// The name that was probably meant.
pub(crate) fn nearest<'a>(unknown: &str, known: &'a [String]) -> Option<&'a String> {
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(unknown, name), name))
        .min()
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3))
        .map(|(_, name)| name)
}
