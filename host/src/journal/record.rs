//! What the journal holds: records of three kinds. Everything else is an index over them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{Event, Name, Number, Position};
use crate::message::{ChannelName, Message};

/// A record as it was applied. Its items (events or messages) have the numbers `first..=last`; a
/// record without items has one number of its own.
#[derive(Debug)]
pub struct Record {
    pub first: Number,
    pub last: Number,
    /// The size of its stored form before compression.
    pub bytes: usize,
    pub body: RecordBody,
}

#[derive(Debug)]
pub enum RecordBody {
    Append(Append),
    Commit(Committed),
    Control(Control),
}

/// Events of one source, in the source's order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Append {
    pub source: Name,
    /// Which life of the source they come from; positions of two incarnations don't compare.
    pub incarnation: Name,
    /// The source is read up to here when this is applied.
    pub position: Position,
    /// What capture wants to find again beside the position (SQLite: the change row's token).
    pub token: Box<str>,
    pub events: Vec<Arc<Event>>,
    /// False: a chunk of a larger transaction. It is kept, and becomes visible, with its numbers,
    /// when an append of the same source (and snapshot) with `complete` is applied.
    pub complete: bool,
    /// Rows that are there already, for one pipeline alone; they don't move the source's position.
    pub snapshot: Option<SnapshotPart>,
}

/// Says of an append that it is part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotPart {
    pub pipeline: Name,
    /// The number of the control record that asked for it.
    pub request: Number,
    /// The rows contain all changes of the source up to here, and none after. Those changes are appended
    /// before the snapshot's last append, so that a pipeline that runs on sends what they mean.
    pub contains: Position,
}

/// What a pipeline wants to make true, all of it or nothing.
#[derive(Debug, Default)]
pub struct Commit {
    pub pipeline: Name,
    /// The cursor as the pipeline knows it; the commit is refused if the journal knows another.
    pub after: Option<Number>,
    /// The cursor from now on.
    pub cursor: Number,
    /// Forget the state that was, before `state` is applied (the end of a rebuild).
    pub reset: bool,
    pub state: Vec<StateChange>,
    /// In the order in which subscribers get them. Their numbers are given by the journal.
    pub messages: Vec<Message>,
    /// Which plugins, in which version, made this.
    pub plugins: Vec<PluginVersion>,
}

/// A commit as others read it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Committed {
    pub pipeline: Name,
    pub after: Option<Number>,
    pub cursor: Number,
    pub reset: bool,
    pub state: Vec<StateChange>,
    pub messages: Vec<Arc<Message>>,
    pub plugins: Vec<PluginVersion>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginVersion {
    pub plugin: Name,
    pub version: Box<str>,
}

/// One entry of a pipeline's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateChange {
    /// Whose entry it is: a plugin's name, or `@TABLE` for a reference table that the host keeps.
    pub owner: Name,
    pub key: Box<str>,
    /// None deletes.
    pub value: Option<Arc<[u8]>>,
}

/// What somebody wants done, or says has happened, at a certain place in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// A pipeline asks a source for the rows that are there.
    SnapshotWanted { pipeline: Name, source: Name, tables: Vec<Name> },
    /// A source is no longer what it was, or lost something: what its pipelines know may be wrong.
    Gap { source: Name, reason: Box<str> },
    /// Retention passed a pipeline's cursor: it stands still until it is rebuilt.
    PipelineGap { pipeline: Name },
    /// An operator wants a pipeline's state made anew.
    RebuildWanted { pipeline: Name },
    /// An event failed for good, and its pipeline went on without it.
    DeadLetter(Box<DeadLetter>),
    /// A version of a plugin is to take over in a pipeline, from this place on.
    SwapWanted(Box<Swap>),
    /// It did: what comes of the events after `cursor` is its own. Written just before the commit that
    /// makes it true; a crash in between makes two of them.
    Swapped { swap: Box<Swap>, former: Box<str>, cursor: Number },
    /// It did not: the former version goes on.
    SwapRefused { swap: Box<Swap>, reason: Box<str> },
    /// An operator wants a pipeline to stand still from this place on.
    PauseWanted { pipeline: Name, by: Box<str> },
    /// An operator wants a pipeline that was paused to go on, wherever it stands.
    ResumeWanted { pipeline: Name, by: Box<str> },
    /// The state of a pipeline, as it is when this is applied, is kept to come back to it.
    Checkpoint { pipeline: Name, reason: Box<str> },
    /// An operator wants a dead letter's event tried again, as a late one.
    ReplayWanted { pipeline: Name, letter: Number, by: Box<str> },
    /// A dead letter is done with. `letter`: the number of its record.
    LetterClosed { pipeline: Name, letter: Number, end: LetterEnd, by: Box<str> },
    /// An operator lets an event go that holds a pipeline: it becomes a dead letter.
    SkipWanted { pipeline: Name, event: Number, by: Box<str> },
    /// A watched table has another form: events after this may be of it. `change`: in words.
    SchemaChanged { source: Name, table: Name, change: Box<str> },
    /// A pipeline is no longer configured: its cursor and state are gone, and if it comes back it begins anew.
    PipelineRemoved { pipeline: Name },
    /// A source lost something of these tables, and of no other: what is known of their rows may be wrong.
    TableGap { source: Name, tables: Vec<Name>, reason: Box<str> },
}

impl Control {
    /// Whether it tells of something that was lost: such records are few, and kept for ever, since whoever resumes across
    /// one is told of it.
    pub fn is_loss(&self) -> bool {
        matches!(
            self,
            Self::Gap { .. } | Self::TableGap { .. } | Self::PipelineGap { .. } | Self::PipelineRemoved { .. }
        )
    }
}

/// A version of a plugin takes the place of another in a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    pub pipeline: Name,
    pub plugin: Name,
    /// The version's content: the hash of component and manifest, in hexadecimal digits.
    pub id: Box<str>,
    /// As people and commits name it.
    pub version: Box<str>,
    pub why: SwapReason,
    /// Who wanted it.
    pub by: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwapReason {
    /// Somebody brought the version.
    Deploy,
    /// An operator wants an earlier one back.
    Rollback,
    /// The newer one failed within its probation.
    Probation,
}

/// What became of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LetterEnd {
    /// Its event was handled as a late one.
    Replayed,
    /// An operator let it go.
    Dropped,
}

/// An event that a pipeline could not handle, with all that it takes to try it again. Kept by rules of
/// its own, longer than the events around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub pipeline: Name,
    /// The plugin that is to blame; the pipeline's own name where none is.
    pub plugin: Name,
    /// That plugin's version; empty where none is to blame.
    pub version: Box<str>,
    pub reason: Box<str>,
    /// The event's number, which the event itself does not carry in the journal.
    pub number: Number,
    /// What the ids of the event's messages begin with.
    pub origin: Name,
    pub event: Event,
    /// The plugins that did not have the event, and have it when it is tried again. Letters of earlier versions
    /// of relevo name none: `on_fault` tells whether it is only `plugin`.
    pub lacking: Box<[Name]>,
    /// What the event means was sent before: it failed only when a state was made anew. Trying it again sends
    /// nothing to stream channels.
    pub delivered: bool,
}

/// Who reads what of a state channel at the start: the newest message for each key.
#[derive(Debug)]
pub struct StateChannel {
    pub channel: ChannelName,
    /// Messages of the channel beyond this number are not in it.
    pub as_of: Number,
    /// In the order of keys; no tombstones.
    pub messages: Vec<Arc<Message>>,
}
