//! Typed rows by serde, with errors that name the field.

use serde::de::DeserializeOwned;

use super::scan;
use crate::Error;

/// Reads JSON as a type. `at`: where in a row it stands, empty for the row itself. A text that holds an
/// object or a list (SQLite keeps its JSON columns so) is read as that, where the type is no text.
pub(super) fn read<T: DeserializeOwned>(text: &str, at: &str) -> Result<T, Error> {
    serde_json::from_str(text).or_else(|why| match scan::text(text) {
        Some(inner) if inner.trim_start().starts_with(['{', '[']) => {
            serde_json::from_str(&inner).or_else(|why| again(&inner, at, &why))
        }
        _ => again(text, at, &why),
    })
}

/// Reads once more, minding where it is: that costs more, and only a failure needs it.
#[cold]
fn again<T: DeserializeOwned>(text: &str, at: &str, why: &serde_json::Error) -> Result<T, Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    let Err(found) = serde_path_to_error::deserialize::<_, T>(&mut json) else {
        // It is well up to there: something follows that is no part of it.
        return Err(Error::poison(named(at, &why.to_string())));
    };
    let path = found.path().to_string();
    let place = match (at, path.as_str()) {
        (at, "." | "?") => at.to_owned(),
        ("", path) => path.to_owned(),
        (at, path) if path.starts_with('[') => format!("{at}{path}"),
        (at, path) => format!("{at}.{path}"),
    };
    Err(Error::poison(named(&place, &found.inner().to_string())))
}

fn named(place: &str, why: &str) -> String {
    if place.is_empty() { why.to_owned() } else { format!("{place}: {why}") }
}
