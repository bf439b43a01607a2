//! JSON Merge Patch (RFC 7396) on text: what isn't patched keeps its bytes, so numbers and the order
//! of columns come through unharmed.

use std::collections::{HashMap, HashSet};

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How many objects deep a patch may be: each is a call on the pipeline's stack. As deep as serde_json reads.
const DEEPEST: usize = 128;

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
/// If one of them is no JSON, or the patch is nested too deep.
pub(super) fn merge(target: &str, patch: &str) -> serde_json::Result<Box<str>> {
    let mut out = String::with_capacity(target.len() + patch.len());
    write_merged(Some(target), patch, DEEPEST, &mut out)?;
    Ok(out.into())
}

/// `levels`: how many objects deep it may still be.
fn write_merged(target: Option<&str>, patch: &str, levels: usize, out: &mut String) -> serde_json::Result<()> {
    if !is_object(patch) {
        let value: &RawValue = serde_json::from_str(patch)?;
        out.push_str(value.get());
        return Ok(());
    }
    let too_deep = || serde_json::Error::custom(format!("objects within objects, more than {DEEPEST} deep"));
    let levels = levels.checked_sub(1).ok_or_else(too_deep)?;
    let Members(patch) = serde_json::from_str(patch)?;
    let Members(target) = match target {
        Some(target) if is_object(target) => serde_json::from_str(target)?,
        _ => Members(Vec::new()),
    };
    // Of a name that is there twice the last one counts.
    let last: HashMap<&str, usize> = patch.iter().enumerate().map(|(at, (name, _))| (&**name, at)).collect();
    out.push('{');
    let start = out.len();
    for (name, old) in &target {
        match last.get(&**name).map(|at| patch[*at].1.get()) {
            None => {
                member(name, start, out)?;
                out.push_str(old.get());
            }
            Some("null") => {}
            Some(new) => {
                member(name, start, out)?;
                write_merged(Some(old.get()), new, levels, out)?;
            }
        }
    }
    let known: HashSet<&str> = target.iter().map(|(name, _)| &**name).collect();
    for (at, (name, new)) in patch.iter().enumerate() {
        let repeated = last.get(&**name) != Some(&at);
        if known.contains(&**name) || repeated || new.get() == "null" {
            continue;
        }
        member(name, start, out)?;
        write_merged(None, new.get(), levels, out)?;
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

    /// As deep as the largest patch can be: without a bound it takes the server's stack, and with it the server.
    #[test]
    fn a_patch_that_is_nested_too_deep_is_refused() {
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert!(merge("{}", &nested((256 << 10) / 6)).is_err());
        assert_eq!(&*merge("{}", &nested(128)).unwrap(), nested(128));
        let error = merge("{}", &nested(129)).unwrap_err().to_string();
        assert!(error.contains("more than 128 deep"), "{error}");
        assert!(merge(&nested(40_000), &nested(40_000)).is_err());
    }

    #[test]
    fn a_patch_of_many_members_takes_no_longer_than_its_bytes() {
        let many: Vec<String> = (0..20_000).map(|n| format!("\"k{n}\":{n}")).collect();
        let many = format!("{{{}}}", many.join(","));
        let began = std::time::Instant::now();
        assert_eq!(&*merge("{}", &many).unwrap(), many);
        assert_eq!(&*merge(&many, &many).unwrap(), many);
        assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    }
}
