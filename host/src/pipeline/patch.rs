//! JSON Merge Patch (RFC 7396) on text: what isn't patched keeps its bytes, so numbers and the order
//! of columns come through unharmed.

use std::borrow::Cow;
use std::collections::HashMap;

use memchr::{memchr, memmem};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How many objects deep a patch may be: each is a call on the pipeline's stack. As deep as serde_json reads.
const DEEPEST: usize = 128;

/// An object's members in their order, values unparsed.
struct Members<'a>(Vec<(Name<'a>, &'a RawValue)>);

/// Borrowed where nothing in it is escaped.
#[derive(PartialEq, Eq, Hash, Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(Name<'de>, &'de RawValue)>;
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
    json.trim_ascii_start().starts_with('{')
}

/// The target, which is JSON, with the patch applied.
///
/// # Errors
/// If the patch is no JSON, or is nested too deep.
pub(super) fn merge(target: &str, patch: &str) -> serde_json::Result<String> {
    let mut out = String::with_capacity(target.len() + patch.len());
    write_merged(Some(target), patch, DEEPEST, &mut out)?;
    Ok(out)
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
    // Of a name that is there twice the last one counts.
    let many = if patch.len() > FEW { patch.as_slice() } else { &[] };
    let index: HashMap<&str, usize> = many.iter().enumerate().map(|(at, (Name(name), _))| (&**name, at)).collect();
    let last = |name: &str| match many {
        [] => patch.iter().rposition(|(Name(other), _)| other == name),
        _ => index.get(name).copied(),
    };
    let mut met = vec![false; patch.len()];
    out.push('{');
    let start = out.len();
    let target = target.filter(|target| is_object(target)).unwrap_or("{}");
    if let Some(members) = untouched(target, &patch) {
        out.push_str(members);
    } else {
        let Members(target) = serde_json::from_str(target)?;
        for (name, old) in target {
            match last(&name.0) {
                None => {
                    member(&name, start, out)?;
                    out.push_str(old.get());
                }
                Some(at) => {
                    met[at] = true;
                    let new = patch[at].1.get();
                    if new != "null" {
                        member(&name, start, out)?;
                        write_merged(Some(old.get()), new, levels, out)?;
                    }
                }
            }
        }
    }
    for (at, (name, new)) in patch.iter().enumerate() {
        let repeated = last(&name.0) != Some(at);
        if met[at] || repeated || new.get() == "null" {
            continue;
        }
        member(name, start, out)?;
        write_merged(None, new.get(), levels, out)?;
    }
    out.push('}');
    Ok(())
}

/// More names are not looked for one by one.
const FEW: usize = 8;

/// The text between the target's braces, where a short patch only adds to it: none of its names stands anywhere in the
/// target, in which nothing is escaped. Most patches are such, and then the target needn't be parsed.
fn untouched<'a>(target: &'a str, patch: &[(Name<'_>, &RawValue)]) -> Option<&'a str> {
    if patch.len() > FEW {
        return None;
    }
    let members = target.trim_ascii().strip_prefix('{')?.strip_suffix('}')?.trim_ascii();
    let stands = |name: &str| memmem::find(members.as_bytes(), format!("\"{name}\"").as_bytes()).is_some();
    let touched = memchr(b'\\', members.as_bytes()).is_some() || patch.iter().any(|(Name(name), _)| stands(name));
    (!touched).then_some(members)
}

fn member(name: &Name<'_>, start: usize, out: &mut String) -> serde_json::Result<()> {
    if out.len() > start {
        out.push(',');
    }
    match &name.0 {
        Cow::Borrowed(plain) => {
            out.push('"');
            out.push_str(plain);
            out.push('"');
        }
        Cow::Owned(name) => out.push_str(&serde_json::to_string(name)?),
    }
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
            assert_eq!(merge(target, patch).unwrap(), expected, "{target} with {patch}");
        }
    }

    #[test]
    fn what_is_not_patched_keeps_its_bytes() {
        let row = r#"{"z":1.50,"a":"9007199254740993","ñ":"\u00e1", "n":12345678901234567890}"#;
        let merged = merge(row, r#"{"a":"x","nuevo":true}"#).unwrap();
        assert_eq!(&*merged, r#"{"z":1.50,"a":"x","ñ":"\u00e1","n":12345678901234567890,"nuevo":true}"#);
    }

    /// A name counts as the row's own wherever it may be one, however it is written.
    #[test]
    fn what_only_adds_is_told_from_what_replaces() {
        for (target, patch, expected) in [
            (r#" { "a" : 1 } "#, r#"{"b":2}"#, r#"{"a" : 1,"b":2}"#),
            (r#"{"a" : 1}"#, r#"{"a":2}"#, r#"{"a":2}"#),
            (r#"{"\u0061":1}"#, r#"{"a":2}"#, r#"{"a":2}"#),
            (r#"{"a":1}"#, r#"{"\u0061":2}"#, r#"{"a":2}"#),
            (r#"{"q\"":1,"z":2}"#, r#"{"q\"":3}"#, r#"{"q\"":3,"z":2}"#),
            (r#"{"z":2}"#, r#"{"q\"":3}"#, r#"{"z":2,"q\"":3}"#),
            (r#"{"a":"b","c":{"b":1}}"#, r#"{"b":2}"#, r#"{"a":"b","c":{"b":1},"b":2}"#),
            (r#"{"a":1}"#, r#"{"b":null,"c":{"d":null,"e":1},"f":2,"f":3}"#, r#"{"a":1,"c":{"e":1},"f":3}"#),
            ("{ }", r#"{"a":1}"#, r#"{"a":1}"#),
        ] {
            assert_eq!(merge(target, patch).unwrap(), expected, "{target} with {patch}");
        }
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
        assert_eq!(merge("{}", &nested(128)).unwrap(), nested(128));
        let error = merge("{}", &nested(129)).unwrap_err().to_string();
        assert!(error.contains("more than 128 deep"), "{error}");
        assert!(merge(&nested(40_000), &nested(40_000)).is_err());
    }

    #[test]
    fn a_patch_of_many_members_takes_no_longer_than_its_bytes() {
        let many: Vec<String> = (0..20_000).map(|n| format!("\"k{n}\":{n}")).collect();
        let many = format!("{{{}}}", many.join(","));
        let began = std::time::Instant::now();
        assert_eq!(merge("{}", &many).unwrap(), many);
        assert_eq!(merge(&many, &many).unwrap(), many);
        let others = many.replace('k', "o");
        let both = format!("{},{}", &others[..others.len() - 1], &many[1..]);
        assert_eq!(merge(&others, &many).unwrap(), both);
        assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    }
}
