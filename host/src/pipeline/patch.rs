//! JSON Merge Patch (RFC 7396) on text: what isn't patched keeps its bytes, so numbers and the order
//! of columns come through unharmed.

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object's members in their order, values unparsed.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(InOrder).map(Self)
    }
}

fn is_object(json: &str) -> bool {
    json.trim_start().starts_with('{')
}

/// The target with the patch applied.
///
/// # Errors
/// If one of them is no JSON.
pub(super) fn merge(target: &str, patch: &str) -> serde_json::Result<Box<str>> {
    let mut out = String::with_capacity(target.len() + patch.len());
    write_merged(Some(target), patch, &mut out)?;
    Ok(out.into())
}

fn write_merged(target: Option<&str>, patch: &str, out: &mut String) -> serde_json::Result<()> {
    if !is_object(patch) {
        let value: &RawValue = serde_json::from_str(patch)?;
        out.push_str(value.get());
        return Ok(());
    }
    let Members(patch) = serde_json::from_str(patch)?;
    let Members(target) = match target {
        Some(target) if is_object(target) => serde_json::from_str(target)?,
        _ => Members(Vec::new()),
    };
    let patched = |name: &str| patch.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.get());
    out.push('{');
    let start = out.len();
    for (name, old) in &target {
        match patched(name) {
            None => {
                member(name, start, out)?;
                out.push_str(old.get());
            }
            Some("null") => {}
            Some(new) => {
                member(name, start, out)?;
                write_merged(Some(old.get()), new, out)?;
            }
        }
    }
    for (at, (name, new)) in patch.iter().enumerate() {
        let known = target.iter().any(|(n, _)| n == name);
        let repeated = patch[at + 1..].iter().any(|(n, _)| n == name);
        if known || repeated || new.get() == "null" {
            continue;
        }
        member(name, start, out)?;
        write_merged(None, new.get(), out)?;
    }
    out.push('}');
    Ok(())
}

fn member(name: &str, start: usize, out: &mut String) -> serde_json::Result<()> {
    if out.len() > start {
        out.push(',');
    }
    out.push_str(&serde_json::to_string(name)?);
    out.push(':');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::merge;

    /// The table of RFC 7396, appendix A.
    #[test]
    fn the_examples_of_the_rfc_hold() {
        for (target, patch, expected) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r"{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            assert_eq!(&*merge(target, patch).unwrap(), expected, "{target} with {patch}");
        }
    }

    #[test]
    fn what_is_not_patched_keeps_its_bytes() {
        let row = r#"{"z":1.50,"a":"9007199254740993","ñ":"\u00e1", "n":12345678901234567890}"#;
        let merged = merge(row, r#"{"a":"x","nuevo":true}"#).unwrap();
        assert_eq!(&*merged, r#"{"z":1.50,"a":"x","ñ":"\u00e1","n":12345678901234567890,"nuevo":true}"#);
    }

    #[test]
    fn a_patch_that_is_no_json_is_refused() {
        assert!(merge("{}", "{a}").is_err());
        assert!(merge("{}", "").is_err());
        assert!(merge("{", r#"{"a":1}"#).is_err());
    }
}
