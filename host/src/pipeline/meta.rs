//! What a pipeline remembers about itself: entries of its state under owners that no plugin has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::wants::Kept;
use crate::event::{Body, Event, Micros, Name, Number, Operation, Position};
use crate::journal::{PipelineState, StateChange, Swap};
use crate::sandbox::Plugin;
use crate::store::VersionId;

pub(super) const META: &str = "@meta";
/// What it keeps of its source's rows: [`Kept`].
const KEPT: &str = "kept";
/// [`Rebuild`]; absent if the state is good.
const REBUILD: &str = "rebuild";
/// By plugin: [`Active`].
const VERSIONS: &str = "versions";
/// [`Pending`]; absent if no version waits.
const PENDING: &str = "pending";
/// [`Paused`]; absent if it isn't.
const PAUSED: &str = "paused";
/// [`Replayed`]: the newest.
const REPLAYED: &str = "replayed";
/// The head when the state was made anew last: by a swap, only where state channels show something of it. Absent if it
/// never was.
const REMADE: &str = "remade";
/// By source: [`Contained`].
const SOURCE: &str = "@source";

/// What a snapshot told: changes up to here must not count again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contained {
    pub(super) incarnation: Name,
    pub(super) position: Position,
    pub(super) tables: BTreeSet<Name>,
    /// The source's events up to this number are those changes, and of lives before.
    #[serde(default)]
    pub(super) through: Number,
    /// The rows' own numbers come after this one.
    #[serde(default)]
    pub(super) before: Number,
}

impl Contained {
    /// Whether the rows stand for an event that was given up.
    pub(super) fn stands_for(&self, event: &Event) -> bool {
        let Body::Change(change) = &event.body else { return false };
        let through = if change.operation == Operation::Snapshot { self.before } else { self.through };
        self.tables.contains(&change.table) && event.number <= through
    }
}

/// The state has to be made anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rebuild {
    pub(super) reason: String,
    /// Events are lost: until then the pipeline stands still.
    pub(super) stands: bool,
}

/// The version of a plugin that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Active {
    pub(super) id: VersionId,
    pub(super) version: Box<str>,
    /// Its state's layout.
    pub(super) layout: u32,
    /// The newest wish for a swap that was heeded: older ones, met later in the journal, are over.
    pub(super) asked: Number,
    /// A fault before this moment rolls it back: see [`super::probation`].
    pub(super) probation_until: Micros,
    /// Those that served before, the newest last.
    pub(super) former: Vec<Former>,
}

impl Active {
    /// A version that begins without a former one.
    pub(super) fn of(plugin: &Plugin, asked: Number) -> Self {
        Self {
            id: plugin.id().clone(),
            version: plugin.version().version.clone(),
            layout: plugin.manifest().state_layout,
            asked,
            probation_until: Micros::default(),
            former: Vec::new(),
        }
    }
}

/// A version that served before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Former {
    pub(super) id: VersionId,
    pub(super) version: Box<str>,
    pub(super) layout: u32,
    /// The control record of the checkpoint that was taken when it left.
    pub(super) checkpoint: Number,
    /// Somebody went back from it, or past it: a rollback that names no version doesn't come to it again.
    #[serde(default)]
    pub(super) undone: bool,
}

/// A version that can't go on with the state that there is: it takes over with one of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) swap: Swap,
    /// The wish's number.
    pub(super) asked: Number,
    /// The checkpoint to go back to; none: the state is made anew.
    pub(super) checkpoint: Option<Number>,
}

/// Somebody stopped the pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Paused {
    pub(super) by: Box<str>,
    /// The wish's number.
    pub(super) asked: Number,
}

/// A dead letter whose event was tried again; its record may still have to be closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Replayed {
    /// The number of the letter's record.
    pub(super) letter: Number,
    pub(super) by: Box<str>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) kept: Kept,
    pub(super) versions: BTreeMap<Name, Active>,
    pub(super) pending: Option<Pending>,
    pub(super) paused: Option<Paused>,
    pub(super) replayed: Option<Replayed>,
    pub(super) rebuild: Option<Rebuild>,
    pub(super) remade: Option<Number>,
    pub(super) contained: BTreeMap<Name, Contained>,
}

impl Meta {
    /// Takes the entries out of a state.
    ///
    /// # Errors
    /// Names the entry that can't be read.
    pub(super) fn take(stored: &mut PipelineState) -> Result<Self, String> {
        let mut meta = stored.state.remove(META).unwrap_or_default();
        let sources = stored.state.remove(SOURCE).unwrap_or_default();
        let contained =
            sources.into_iter().map(|(source, json)| Ok((Name::from(&*source), read(SOURCE, &source, &json)?)));
        Ok(Self {
            kept: meta.remove(KEPT).map(|json| read(META, KEPT, &json)).transpose()?.unwrap_or_default(),
            versions: meta.remove(VERSIONS).map(|json| read(META, VERSIONS, &json)).transpose()?.unwrap_or_default(),
            pending: meta.remove(PENDING).map(|json| read(META, PENDING, &json)).transpose()?,
            paused: meta.remove(PAUSED).map(|json| read(META, PAUSED, &json)).transpose()?,
            replayed: meta.remove(REPLAYED).map(|json| read(META, REPLAYED, &json)).transpose()?,
            rebuild: meta.remove(REBUILD).map(|json| read(META, REBUILD, &json)).transpose()?,
            remade: meta.remove(REMADE).map(|json| read(META, REMADE, &json)).transpose()?,
            contained: contained.collect::<Result<_, String>>()?,
        })
    }

    /// All entries, as changes of a state.
    pub(super) fn changes(&self) -> Vec<StateChange> {
        let mut changes = vec![
            change(META, KEPT, json(&self.kept)),
            change(META, VERSIONS, json(&self.versions)),
            change(META, PENDING, self.pending.as_ref().and_then(json)),
            change(META, PAUSED, self.paused.as_ref().and_then(json)),
            change(META, REPLAYED, self.replayed.as_ref().and_then(json)),
            self.rebuild_change(),
            change(META, REMADE, self.remade.as_ref().and_then(json)),
        ];
        changes.extend(self.contained.iter().map(|(source, contained)| change(SOURCE, source, json(contained))));
        changes
    }

    /// That a letter was tried again, as a change of a state.
    pub(super) fn replayed_change(replayed: &Replayed) -> StateChange {
        change(META, REPLAYED, json(replayed))
    }

    /// Whether it has to be made anew, as a change of a state.
    pub(super) fn rebuild_change(&self) -> StateChange {
        change(META, REBUILD, self.rebuild.as_ref().and_then(json))
    }
}

fn read<T: serde::de::DeserializeOwned>(owner: &str, key: &str, json: &[u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|e| format!("its state's entry {owner}/{key} can't be read ({e})"))
}

fn change(owner: &str, key: &str, value: Option<Arc<[u8]>>) -> StateChange {
    StateChange { owner: owner.into(), key: key.into(), value }
}

fn json(value: &impl Serialize) -> Option<Arc<[u8]>> {
    // Maps with text keys: JSON can hold them.
    serde_json::to_vec(value).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pipeline_remembers_comes_back() {
        let id = VersionId::try_from(Box::<str>::from("a".repeat(64))).unwrap();
        let former = Former { id: id.clone(), version: "1".into(), layout: 1, checkpoint: Number(3), undone: false };
        let active = Active {
            id,
            version: "2".into(),
            layout: 2,
            asked: Number(4),
            probation_until: Micros(5),
            former: vec![former],
        };
        let meta = Meta {
            kept: Kept {
                snapshot: [("panel".into(), BTreeSet::from(["tareas".into()]))].into(),
                lookup: [("usuarios".into(), BTreeSet::from(["id".into()]))].into(),
            },
            versions: [("panel".into(), active.clone())].into(),
            pending: None,
            paused: Some(Paused { by: "7".into(), asked: Number(9) }),
            replayed: Some(Replayed { letter: Number(3), by: "7".into() }),
            rebuild: Some(Rebuild { reason: "gap".into(), stands: true }),
            remade: Some(Number(4)),
            contained: [(
                "gad".into(),
                Contained {
                    incarnation: "i1".into(),
                    position: Position { commit: 7, index: 2 },
                    tables: BTreeSet::from(["tareas".into()]),
                    through: Number(8),
                    before: Number(9),
                },
            )]
            .into(),
        };
        let mut stored = PipelineState::default();
        for StateChange { owner, key, value } in meta.changes() {
            if let Some(value) = value {
                stored.state.entry(owner).or_default().insert(key, value);
            }
        }
        assert_eq!(Meta::take(&mut stored), Ok(meta));
        assert!(stored.state.is_empty());

        stored.state.entry(META.into()).or_default().insert(REBUILD.into(), b"{".as_slice().into());
        let refused = Meta::take(&mut stored).unwrap_err();
        assert!(refused.contains("@meta/rebuild can't be read"), "{refused}");
    }
}
