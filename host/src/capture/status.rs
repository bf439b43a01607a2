//! How a source stands, for operators: of a running server by what it knows, else by the journal and the
//! database themselves. `GET /api/v1/sources` and `relevo capture status` show it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::config::SourceSettings;
use crate::event::{Micros, Name, Position};
use crate::journal;

use super::forget::{Forgotten, forgotten};
use super::postgres::{self, SlotHealth};
use super::{SnapshotHealth, SourceHealth, SourceState, joined, sqlite};

/// How long a database may take to answer, where the server doesn't run.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a source stands.
#[derive(Debug, Serialize)]
pub struct Status {
    pub name: Name,
    /// `sqlite` or `postgres`.
    pub kind: &'static str,
    /// `running`; `incomplete`: it runs, but not all that is wanted is captured; `starting`; `failed`: nothing is
    /// captured; `stopped`: the server doesn't run.
    pub state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Which life of the source the journal's position is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Name>,
    /// For people: an LSN and which row of its transaction, or the number of a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// How long the oldest change that isn't in the journal has waited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
    /// How many changes aren't in the journal yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark: Option<String>,
    pub tables: Vec<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publication: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotHealth>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<SnapshotHealth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
}

/// What went wrong last.
#[derive(Debug, Serialize)]
pub struct LastError {
    pub at: String,
    pub what: String,
}

/// What a database says of itself.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub tables: Vec<Name>,
    pub slot: Option<SlotHealth>,
    /// Changes beyond a position.
    pub behind: Option<u64>,
    /// What stands in the way of the next start, and what it will have to tell.
    pub trouble: Vec<String>,
}

/// Of a source of the running server.
pub fn running(settings: &SourceSettings, health: &SourceHealth, known: Option<&journal::SourceState>) -> Status {
    let (state, reason) = match &health.state {
        SourceState::Starting => ("starting", None),
        SourceState::Running => ("running", None),
        SourceState::Incomplete { reason } => ("incomplete", Some(reason.to_string())),
        SourceState::Failed { reason } => ("failed", Some(reason.to_string())),
    };
    let well = matches!(health.state, SourceState::Running);
    let last = |(at, what): &(Micros, Arc<str>)| {
        let what = if well { without_remedy(what) } else { what.to_string() };
        LastError { at: at.rfc3339(), what }
    };
    Status {
        state,
        reason: reason.or_else(|| health.slot.as_ref().and_then(|slot| slot.risk(false))),
        lag_ms: Some(u64::try_from(health.lag.as_millis()).unwrap_or(u64::MAX)),
        behind: Some(health.behind),
        watermark: (health.watermark.0 > 0).then(|| health.watermark.rfc3339()),
        tables: health.tables.to_vec(),
        slot: health.slot.clone(),
        snapshots: health.snapshots.clone(),
        last_error: health.last_error.as_ref().map(last),
        ..blank(settings, known)
    }
}

/// What went wrong, without what to do about it, which stands behind a line's first semicolon: it is well again.
fn without_remedy(what: &str) -> String {
    what.lines().map(|line| line.split_once("; ").map_or(line, |(what, _)| what)).collect::<Vec<_>>().join("\n")
}

/// Of a source of a server that doesn't run, by its database. Changes nothing there. `all`: what the journal has of
/// each source, and of each table of one.
pub async fn stopped(settings: &SourceSettings, data: &Path, all: &BTreeMap<Name, journal::SourceState>) -> Status {
    let known = all.get(&settings.name);
    let mut status = blank(settings, known);
    let position = known.map(|known| known.position);
    let look = async {
        if settings.is_postgres() {
            postgres::look(settings, known).await
        } else {
            sqlite::look(settings, data, position.map_or(0, |position| position.commit)).await
        }
    };
    match tokio::time::timeout(PATIENCE, look).await {
        Ok(Ok(Found { tables, slot, behind, trouble })) => {
            (status.tables, status.slot, status.behind) = (tables, slot, behind);
            let risk = status.slot.as_ref().and_then(|slot| slot.risk(false));
            let all: Vec<String> = risk.into_iter().chain(trouble).collect();
            status.reason = (!all.is_empty()).then(|| joined(&all));
        }
        Ok(Err(error)) => status.reason = Some(unknown(&error.to_string())),
        Err(_) => status.reason = Some(unknown(&format!("it doesn't answer within {} s", PATIENCE.as_secs()))),
    }
    if status.tables.is_empty() {
        status.tables = watched_last(&settings.name, all);
    }
    status
}

/// The tables that were watched when the journal was last written: those whose form it has.
fn watched_last(source: &str, all: &BTreeMap<Name, journal::SourceState>) -> Vec<Name> {
    let table = |name: &Name| {
        let table = name.strip_prefix(source)?.strip_prefix(':')?;
        Some(Name::from(table.strip_prefix("public.").unwrap_or(table)))
    };
    all.iter().filter(|(_, form)| !form.token.is_empty()).filter_map(|(name, _)| table(name)).collect()
}

/// What is known and what isn't while a database can't be asked.
fn unknown(why: &str) -> String {
    format!(
        "the database can't be asked ({why}): what is shown is of relevo's own journal; the tables are those that were watched last; how many changes wait, and whether the database still keeps them, isn't known"
    )
}

fn blank(settings: &SourceSettings, known: Option<&journal::SourceState>) -> Status {
    let lost = known.and_then(forgotten);
    let place = known.filter(|_| lost.is_none());
    Status {
        name: Name::clone(&settings.name),
        kind: if settings.is_postgres() { "postgres" } else { "sqlite" },
        state: "stopped",
        reason: None,
        incarnation: place.map(|known| Name::clone(&known.incarnation)),
        position: match (lost, place) {
            (Some(Forgotten::Reset), _) => Some("none: it was reset, and begins anew".into()),
            (Some(Forgotten::Gap | Forgotten::Unreadable), _) => Some("none: it had a gap, and begins anew".into()),
            (None, Some(known)) => Some(written(settings, known.position)),
            (None, None) => None,
        },
        lag_ms: None,
        behind: None,
        watermark: None,
        tables: Vec::new(),
        publication: settings.is_postgres().then(|| settings.publication()),
        slot: None,
        snapshots: Vec::new(),
        last_error: None,
    }
}

fn written(settings: &SourceSettings, position: Position) -> String {
    if settings.is_postgres() {
        // An event's index is twice its row's number, from 1 on, and one more for the second of two that a row may make.
        let row = match position.index / 2 {
            0 => String::new(),
            row => format!(", row {row} of its transaction"),
        };
        format!("{}{row}", postgres::lsn(position.commit))
    } else {
        position.commit.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_says_what_to_do_only_while_it_stands() {
        let settings: SourceSettings = toml::from_str("name = \"s\"\nurl = \"sqlite:s.db\"").unwrap();
        let mut health = SourceHealth::starting(&"s".into());
        let reason: Arc<str> =
            "role r may not read t; as its owner run: GRANT SELECT ON t TO r;\ntable u does not exist".into();
        health.last_error = Some((Micros(1), Arc::clone(&reason)));
        let told = |health: &SourceHealth| running(&settings, health, None).last_error.unwrap().what;
        health.state = SourceState::Failed { reason: Arc::clone(&reason) };
        assert_eq!(told(&health), *reason);
        health.state = SourceState::Incomplete { reason: Arc::clone(&reason) };
        assert_eq!(told(&health), *reason);
        health.state = SourceState::with(["a", "b"]);
        assert_eq!(running(&settings, &health, None).reason.as_deref(), Some("a\nb"), "a line each");
        health.state = SourceState::Running;
        assert_eq!(told(&health), "role r may not read t\ntable u does not exist");
    }
}
