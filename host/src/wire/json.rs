//! Reads what clients send as JSON, and says in plain words what is wrong with it. `command`, `gad` and the route
//! of events call it: serde's own sentences are for programmers of the server.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The longest piece of a client's own that an error repeats, in characters.
const SHOWN: usize = 80;

/// Why a text can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It is no JSON.
    NoJson(String),
    /// It is JSON of another shape; names the field.
    Shape(String),
}

impl Unread {
    pub(crate) fn into_text(self) -> String {
        let (Self::NoJson(text) | Self::Shape(text)) = self;
        text
    }
}

/// Reads a JSON object.
///
/// # Errors
/// Names the field, what was there, and what is wanted.
pub(crate) fn object<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Unread> {
    // serde would take a list for an object's fields in their order.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Unread::Shape("it is no JSON object".into()),
            Err(error) => no_json(&error),
        });
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        match error.inner() {
            error if error.is_data() => Unread::Shape(explain(&path, &sentence(error))),
            error => no_json(error),
        }
    })?;
    json.end().map_err(|error| no_json(&error))?;
    Ok(read)
}

fn no_json(error: &serde_json::Error) -> Unread {
    let what = if error.is_eof() { "the JSON ends too early" } else { "it is no JSON" };
    Unread::NoJson(format!("{what} (line {}, column {})", error.line(), error.column()))
}

/// What serde says, without the place: the field is named instead.
fn sentence(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

fn explain(path: &str, sentence: &str) -> String {
    let quoted = |part: &str| -> Vec<String> {
        part.split('`').skip(1).step_by(2).map(|word| word.chars().take(SHOWN).collect()).collect()
    };
    let within = |field: &str| match path {
        "." => field.to_owned(),
        _ if path == field || path.ends_with(&format!(".{field}")) => path.to_owned(),
        _ => format!("{path}.{field}"),
    };
    if let Some(rest) = sentence.strip_prefix("missing field ") {
        return format!("{} is missing", within(rest.trim_matches('`')));
    }
    if let Some((unknown, known)) = sentence.strip_prefix("unknown field ").and_then(|rest| rest.split_once(", ")) {
        let unknown = quoted(unknown).concat();
        return format!("there is no field {}; allowed: {}", within(&unknown), quoted(known).join(", "));
    }
    if let Some(rest) = sentence.strip_prefix("duplicate field ") {
        return format!("{} is there twice", within(rest.trim_matches('`')));
    }
    if let Some((unknown, known)) = sentence.strip_prefix("unknown variant ").and_then(|rest| rest.split_once(", ")) {
        return format!("{path}: {:?} is not known; allowed: {}", quoted(unknown).concat(), quoted(known).join(", "));
    }
    let mismatch = sentence.strip_prefix("invalid type: ").or_else(|| sentence.strip_prefix("invalid value: "));
    match mismatch.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((found, wanted)) => format!("{path}: {} is wanted, not {}", wanted_is(wanted), found_is(found)),
        None => format!("{path}: {}", sentence.chars().take(2 * SHOWN).collect::<String>()),
    }
}

fn wanted_is(serde: &str) -> &str {
    match serde {
        "u64" | "u32" | "usize" => "a whole number, not negative,",
        "a string" | "a borrowed string" | "str" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        other if other.starts_with("struct ") || other == "a map" => "an object",
        other => other,
    }
}

fn found_is(serde: &str) -> String {
    let (kind, value) = serde.split_once(' ').unwrap_or((serde, ""));
    let value: String = value.trim_start_matches("point ").trim_matches('`').chars().take(SHOWN).collect();
    match kind {
        "integer" | "floating" | "boolean" | "string" => value,
        "map" => "an object".into(),
        "sequence" => "a list".into(),
        _ => serde.chars().take(SHOWN).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "it is about the errors")]
    struct Order {
        number: u64,
        #[serde(default)]
        name: String,
        size: Option<Size>,
        place: Option<Place>,
        #[serde(default)]
        lines: Vec<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Size {
        Small,
        Large,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "it is about the errors")]
    struct Place {
        street: String,
    }

    #[test]
    fn what_is_wrong_is_said_in_plain_words_and_with_the_fields_name() {
        for (text, said) in [
            ("", "the JSON ends too early (line 1, column 0)"),
            ("{\"number\":", "the JSON ends too early (line 1, column 10)"),
            ("{number}", "it is no JSON (line 1, column 2)"),
            ("{\"number\":1} x", "it is no JSON (line 1, column 14)"),
            ("[1]", "it is no JSON object"),
            ("{}", "number is missing"),
            (r#"{"number":"7"}"#, "number: a whole number, not negative, is wanted, not \"7\""),
            (r#"{"number":-1}"#, "number: a whole number, not negative, is wanted, not -1"),
            (r#"{"number":1.5}"#, "number: a whole number, not negative, is wanted, not 1.5"),
            (r#"{"number":1,"number":1}"#, "number is there twice"),
            (r#"{"number":1,"name":[]}"#, "name: a text is wanted, not a list"),
            (r#"{"number":1,"name":null}"#, "name: a text is wanted, not null"),
            (r#"{"number":1,"lines":["a",{}]}"#, "lines[1]: a text is wanted, not an object"),
            (r#"{"number":1,"lines":true}"#, "lines: a list is wanted, not true"),
            (r#"{"number":1,"size":"big"}"#, "size: \"big\" is not known; allowed: small, large"),
            (r#"{"number":1,"place":{}}"#, "place.street is missing"),
            (r#"{"number":1,"place":7}"#, "place: an object is wanted, not 7"),
            (r#"{"number":1,"nme":7}"#, "there is no field nme; allowed: number, name, size, place, lines"),
        ] {
            assert_eq!(object::<Order>(text).unwrap_err().into_text(), said, "{text}");
        }
    }

    #[test]
    fn a_client_reads_no_more_than_a_piece_of_its_own_text_again() {
        let text = format!(r#"{{"number":{:?}}}"#, "x".repeat(10_000));
        assert!(object::<Order>(&text).unwrap_err().into_text().len() < 200);
    }
}
