//! From what plugins want sent to messages: channel, kind, id and time are the host's to give.

use std::fmt::Write as _;

use sha1::{Digest as _, Sha1};
use uuid::Uuid;

use super::batch::Item;
use super::failure::Blame;
use crate::config::Config;
use crate::event::Number;
use crate::event::{Body, Event, Name, Operation};
use crate::message::{ChannelName, Frames, Message, is_reserved_kind};
use crate::sandbox::{Draft, Fault, Manifest};

/// A draft, the item that it comes from, and the plugin.
pub(super) struct Made<'m> {
    pub(super) item: usize,
    pub(super) by: &'m Manifest,
    pub(super) draft: Draft,
}

/// The messages of a batch in the order of events, and of plugins within an event.
///
/// # Errors
/// If a plugin sends to a channel that its manifest doesn't name, or that has no rule, or a kind that is
/// the protocol's own.
pub(super) fn messages(
    pipeline: &Name,
    config: &Config,
    items: &[Item],
    mut made: Vec<Made<'_>>,
) -> Result<Vec<Message>, Blame> {
    made.sort_by_key(|made| made.item);
    let mut ids = Ids::new(pipeline);
    made.into_iter()
        .map(|Made { item, by, draft }| {
            let blame = |fault| Blame { plugin: Some(by.name.clone()), fault, item: Some(item) };
            let wrong = |reason: String| blame(Fault::BadOutput(reason));
            let channel = &draft.channel;
            if !by.may_send(channel) {
                return Err(blame(Fault::Undeclared(channel.clone())));
            }
            let Some(rule) = config.channel(channel) else {
                return Err(wrong(format!("sends to {channel}, for which there is no [[channel]] in the settings")));
            };
            if is_reserved_kind(&draft.kind) {
                return Err(wrong(format!("sends the kind {:?}, which is the protocol's own", draft.kind)));
            }
            let Item { event, origin, .. } = &items[item];
            let Draft { channel, key, deleted, kind, event_type, data, event: _ } = draft;
            Ok(Message {
                number: Number::ZERO,
                pipeline: pipeline.clone(),
                channel_kind: rule.kind,
                channel,
                key,
                deleted,
                late: event.late,
                kind,
                event_type,
                data,
                timestamp: event.committed_at,
                id: ids.next(item, event, origin),
                frames: Frames::default(),
            })
        })
        .collect()
}

/// Gives the messages of each event their ids, name-based UUIDs: the first, the second …, whoever made them.
pub(super) struct Ids<'p> {
    pipeline: &'p str,
    item: usize,
    index: usize,
    /// What the names of the event's messages begin with; each one's index comes behind it.
    name: String,
}

impl<'p> Ids<'p> {
    pub(super) fn new(pipeline: &'p str) -> Self {
        Self { pipeline, item: usize::MAX, index: 0, name: String::new() }
    }

    pub(super) fn next(&mut self, item: usize, event: &Event, origin: &str) -> Uuid {
        if item != self.item {
            (self.item, self.index) = (item, 0);
            self.name.clear();
            match &event.body {
                // Two snapshots may give different rows the same position.
                Body::Change(change) if change.operation == Operation::Snapshot => {
                    let origin = format_args!("{origin}/{}/{}", change.table, change.key);
                    event.message_name(origin, self.pipeline, &mut self.name);
                }
                _ => event.message_name(origin, self.pipeline, &mut self.name),
            }
        }
        let begun = self.name.len();
        // Writing to a String can't fail.
        let _ = write!(self.name, "{}", self.index);
        let id = named(&self.name);
        self.name.truncate(begun);
        self.index += 1;
        id
    }
}

/// What the ids of all that a rebuild makes begin with: it is not what was sent before.
pub(super) fn rebuild_origin(incarnation: &str, request: Number) -> Name {
    format!("{incarnation}/rebuild/{request}").into()
}

/// What the ids of all that a dead letter's replay makes begin with: other plugins may have made messages
/// of the event when it failed, with ids of its own.
pub(super) fn replay_origin(origin: &str, letter: Number) -> Name {
    format!("{origin}/letter/{letter}").into()
}

/// The id of a rebuild's tombstone.
pub(super) fn tombstone_id(origin: &str, pipeline: &str, channel: &ChannelName, key: &str) -> Uuid {
    named(&format!("{pipeline}/{origin}/{channel}/{key}"))
}

/// The UUID of this name, version 5. The uuid crate's own SHA-1 doesn't use what processors have for it.
fn named(name: &str) -> Uuid {
    let hash = Sha1::new().chain_update(Uuid::NAMESPACE_OID.as_bytes()).chain_update(name).finalize();
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    uuid::Builder::from_sha1_bytes(first).into_uuid()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::named;

    #[test]
    fn names_have_the_ids_of_rfc_9562() {
        for name in ["", "tareas/gad/i/1/2/0", &"long".repeat(100)] {
            assert_eq!(named(name), Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()));
        }
    }
}
