//! Recorded events and reference rows, one JSON object a line: used as they are, or as the rows after
//! which generated ones are made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::{Body, Change, Micros, Missing, Name, Operation, Published};

/// See the module.
#[derive(Debug, Default)]
pub struct Samples {
    /// With the moments that they name.
    pub(super) events: Vec<(Body, Option<Micros>)>,
    /// Rows of reference tables, by table and key.
    pub(super) lookup: BTreeMap<Name, BTreeMap<Box<str>, Arc<str>>>,
}

/// Why a file of samples can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    #[error("can't read {}: {reason}", .path.display())]
    File { path: PathBuf, reason: String },
    #[error(
        "{}:{line}: {wrong}; allowed on a line: {{\"table\":…,\"operation\":…,\"before\":…,\"after\":…}}, \
         {{\"channel\":…,\"event_type\":…,\"data\":…}}, {{\"tick\":…}} or {{\"lookup\":…,\"key\":…,\"row\":…}}",
        .path.display()
    )]
    Line { path: PathBuf, line: usize, wrong: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    table: Option<Name>,
    #[serde(default = "main_schema")]
    schema: Name,
    operation: Option<String>,
    key: Option<Box<str>>,
    before: Option<Box<RawValue>>,
    after: Option<Box<RawValue>>,
    changed: Option<Vec<Name>>,
    #[serde(default)]
    missing: BTreeMap<Name, u64>,
    channel: Option<Box<str>>,
    #[serde(rename = "type")]
    kind: Option<Box<str>>,
    event_type: Option<Box<str>>,
    data: Option<Box<RawValue>>,
    by: Option<Box<str>>,
    tick: Option<Moment>,
    lookup: Option<Name>,
    row: Option<Box<RawValue>>,
    at: Option<Moment>,
}

fn main_schema() -> Name {
    "main".into()
}

/// Microseconds since 1970, or RFC 3339.
#[derive(Deserialize)]
#[serde(untagged)]
enum Moment {
    Micros(u64),
    Text(String),
}

impl Moment {
    fn read(self) -> Result<Micros, String> {
        match self {
            Self::Micros(micros) => Ok(Micros(micros)),
            Self::Text(text) => {
                let at: Option<jiff::Timestamp> = text.parse().ok();
                let micros = at.and_then(|at| u64::try_from(at.as_microsecond()).ok());
                micros.map(Micros).ok_or_else(|| format!("{text:?} is no moment like 2026-11-25T01:02:03Z"))
            }
        }
    }
}

impl Samples {
    /// Reads a file of them.
    ///
    /// # Errors
    /// Names the line that can't be used, and what a line may look like.
    pub fn read(path: &Path) -> Result<Self, SampleError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| SampleError::File { path: path.into(), reason: e.to_string() })?;
        let mut samples = Self::default();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let read = serde_json::from_str::<Line>(line).map_err(|e| e.to_string());
            let added = read.and_then(|line| samples.add(line));
            added.map_err(|wrong| SampleError::Line { path: path.into(), line: index + 1, wrong })?;
        }
        Ok(samples)
    }

    /// There is no event in it; reference rows there may be.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    fn add(&mut self, line: Line) -> Result<(), String> {
        let at = line.at.map(Moment::read).transpose()?;
        if let Some(table) = line.lookup {
            let row = line.row.ok_or("a reference row needs \"row\"")?;
            let key = line.key.unwrap_or_else(|| key_of(row.get()));
            self.lookup.entry(table).or_default().insert(key, row.get().into());
            return Ok(());
        }
        if let Some(tick) = line.tick {
            let up_to = tick.read()?;
            self.events.push((Body::Tick { up_to }, Some(up_to)));
            return Ok(());
        }
        if let Some(channel) = line.channel {
            let kind = line.kind.unwrap_or_else(|| "event".into());
            let body = Body::Published(Published {
                channel,
                event_type: line.event_type.unwrap_or_else(|| kind.clone()),
                kind,
                data: line.data.map_or_else(|| "null".into(), |data| data.get().into()),
                by: line.by.unwrap_or_else(|| "1".into()),
                idempotency_key: None,
            });
            self.events.push((body, at));
            return Ok(());
        }
        let table = line.table.ok_or("it names no table, channel, tick or lookup")?;
        let operation = operation(line.operation.as_deref().unwrap_or("insert"))?;
        let raw = |row: Option<Box<RawValue>>| row.map(|row| Box::from(row.get()));
        let (before, after): (Option<Box<str>>, Option<Box<str>>) = (raw(line.before), raw(line.after));
        let row = after.as_deref().or(before.as_deref());
        let body = Body::Change(Change {
            schema: line.schema,
            table,
            operation,
            key: line.key.unwrap_or_else(|| row.map_or_else(Box::default, key_of)),
            changed: line
                .changed
                .unwrap_or_else(|| super::rows::changed(operation, before.as_deref(), after.as_deref())),
            missing: line.missing.into_iter().map(|(column, bytes)| Missing { column, bytes }).collect(),
            before,
            after,
        });
        self.events.push((body, at));
        Ok(())
    }
}

fn operation(name: &str) -> Result<Operation, String> {
    Ok(match name {
        "insert" => Operation::Insert,
        "update" => Operation::Update,
        "delete" => Operation::Delete,
        "truncate" => Operation::Truncate,
        "snapshot" => Operation::Snapshot,
        other => return Err(format!("{other:?} is no operation; allowed: insert, update, delete, truncate, snapshot")),
    })
}

/// A row's `id` as text: what most tables have for a key.
fn key_of(row: &str) -> Box<str> {
    let row: serde_json::Value = serde_json::from_str(row).unwrap_or_default();
    super::rows::key(&row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Samples, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Samples::read(file.path()).map_err(|e| e.to_string())
    }

    #[test]
    fn each_kind_of_line_is_read() {
        let samples = read(
            r#"{"table":"t","operation":"update","before":{"id":1,"a":1},"after":{"id":1,"a":2},"at":"1970-01-01T00:00:01Z"}

            {"channel":"system","data":{"x":1}}
            {"tick":5}
            {"lookup":"u","key":"7","row":{"id":7}}
            {"lookup":"u","row":{"id":8}}"#,
        )
        .unwrap();
        let (Body::Change(change), Some(at)) = &samples.events[0] else { panic!("{samples:?}") };
        assert_eq!((&*change.key, &change.changed, *at), ("1", &vec!["a".into()], Micros(1_000_000)));
        let Body::Published(published) = &samples.events[1].0 else { panic!("{samples:?}") };
        assert_eq!((&*published.kind, &*published.event_type, &*published.data), ("event", "event", r#"{"x":1}"#));
        assert_eq!(samples.events[2], (Body::Tick { up_to: Micros(5) }, Some(Micros(5))));
        assert_eq!(samples.lookup["u"].keys().map(|key| &**key).collect::<Vec<_>>(), ["7", "8"]);
    }

    #[test]
    fn a_line_that_is_none_is_named_with_what_is_allowed() {
        for (text, wrong) in [
            ("{}", "names no table, channel, tick or lookup"),
            (r#"{"table":"t","operation":"upsert"}"#, r#""upsert" is no operation"#),
            (r#"{"tick":"soon"}"#, r#""soon" is no moment"#),
            (r#"{"lookup":"u"}"#, "needs \"row\""),
            ("not json", "expected"),
        ] {
            let error = read(&format!("\n{text}")).unwrap_err();
            assert!(error.contains(":2: ") && error.contains(wrong) && error.contains("allowed on a line"), "{error}");
        }
    }
}
