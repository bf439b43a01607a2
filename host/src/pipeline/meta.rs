//! What a pipeline remembers about itself: entries of its state under owners that no plugin has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::wants::Kept;
use crate::event::{Name, Position};
use crate::journal::{PipelineState, StateChange};

const META: &str = "@meta";
/// What it keeps of its source's rows: [`Kept`].
const KEPT: &str = "kept";
/// [`Rebuild`]; absent if the state is good.
const REBUILD: &str = "rebuild";
/// By source: [`Contained`].
const SOURCE: &str = "@source";

/// What a snapshot told: changes up to here must not count again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contained {
    pub(super) incarnation: Name,
    pub(super) position: Position,
    pub(super) tables: BTreeSet<Name>,
}

/// The state has to be made anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rebuild {
    pub(super) reason: String,
    /// Events are lost: until then the pipeline stands still.
    pub(super) stands: bool,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) kept: Kept,
    pub(super) rebuild: Option<Rebuild>,
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
            rebuild: meta.remove(REBUILD).map(|json| read(META, REBUILD, &json)).transpose()?,
            contained: contained.collect::<Result<_, String>>()?,
        })
    }

    /// All entries, as changes of a state.
    pub(super) fn changes(&self) -> Vec<StateChange> {
        let mut changes = vec![change(META, KEPT, json(&self.kept)), self.rebuild_change()];
        changes.extend(self.contained.iter().map(|(source, contained)| change(SOURCE, source, json(contained))));
        changes
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
        let meta = Meta {
            kept: Kept {
                snapshot: [("panel".into(), BTreeSet::from(["tareas".into()]))].into(),
                lookup: [("usuarios".into(), BTreeSet::from(["id".into()]))].into(),
            },
            rebuild: Some(Rebuild { reason: "gap".into(), stands: true }),
            contained: [(
                "gad".into(),
                Contained {
                    incarnation: "i1".into(),
                    position: Position { commit: 7, index: 2 },
                    tables: BTreeSet::from(["tareas".into()]),
                },
            )]
            .into(),
        };
        let mut stored = PipelineState::default();
        for StateChange { owner, key, value } in meta.changes() {
            stored.state.entry(owner).or_default().insert(key, value.unwrap());
        }
        assert_eq!(Meta::take(&mut stored), Ok(meta));
        assert!(stored.state.is_empty());

        stored.state.entry(META.into()).or_default().insert(REBUILD.into(), b"{".as_slice().into());
        let refused = Meta::take(&mut stored).unwrap_err();
        assert!(refused.contains("@meta/rebuild can't be read"), "{refused}");
    }
}
