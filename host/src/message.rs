//! Messages: what pipelines make of events and what clients get, and the channels that they go to.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::{Micros, Name, Number};

/// The name of a channel, like `tasks` or `user:42`: 1 to 128 bytes of letters, digits and `:._-/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChannelName(Arc<str>);

/// Why a text is no channel name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a channel name has 1 to 128 bytes of letters, digits and : . _ - /")]
pub struct BadChannelName;

impl ChannelName {
    /// The name's longest form, in bytes.
    pub const MAX: usize = 128;

    /// # Errors
    /// If the text is empty, too long, or has other characters than a name may have.
    pub fn new(name: &str) -> Result<Self, BadChannelName> {
        let fits = (1..=Self::MAX).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b":._-/".contains(&b));
        fits.then(|| Self(name.into())).ok_or(BadChannelName)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whose own channel it is, if it is one.
    pub fn own(&self) -> Option<Own<'_>> {
        let user = self.0.strip_prefix("user:").map(Own::User);
        user.or_else(|| self.0.strip_prefix("role:").map(Own::Role))
    }
}

/// Whom a `user:` or `role:` channel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own<'a> {
    User(&'a str),
    Role(&'a str),
}

impl TryFrom<String> for ChannelName {
    type Error = BadChannelName;
    fn try_from(name: String) -> Result<Self, BadChannelName> {
        Self::new(&name)
    }
}

impl From<ChannelName> for String {
    fn from(name: ChannelName) -> Self {
        name.0.as_ref().into()
    }
}

impl std::fmt::Display for ChannelName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A channel's name with at most one `*` in it, which stands for any text, also none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ChannelPattern(Box<str>);

impl ChannelPattern {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads a pattern.
    ///
    /// # Errors
    /// Says what a pattern may look like.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        ChannelName::new(&text.replacen('*', "x", 1))
            .map(|_| Self(text.into()))
            .map_err(|_| "1 to 128 letters, digits and : . _ - / with at most one *")
    }

    pub fn matches(&self, channel: &str) -> bool {
        pattern_matches(&self.0, channel)
    }

    /// Whether it means every channel that the other one means.
    pub fn covers(&self, other: &Self) -> bool {
        match (self.0.split_once('*'), other.0.split_once('*')) {
            (None, Some(_)) => false,
            (Some((head, tail)), Some((other_head, other_tail))) => {
                other_head.starts_with(head) && other_tail.ends_with(tail)
            }
            (_, None) => self.matches(&other.0),
        }
    }

    /// The one channel that it means, if it has no `*`.
    pub fn exact(&self) -> Option<ChannelName> {
        ChannelName::new(&self.0).ok()
    }
}

impl TryFrom<String> for ChannelPattern {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        Self::parse(&text)
    }
}

/// Whether a channel's name is one that a pattern means.
pub(crate) fn pattern_matches(pattern: &str, channel: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == channel,
        Some((head, tail)) => {
            channel.len() >= head.len() + tail.len() && channel.starts_with(head) && channel.ends_with(tail)
        }
    }
}

/// Whether a `type` is the protocol's own: a client could not tell such a message from an answer.
pub(crate) fn is_reserved_kind(kind: &str) -> bool {
    ["connected", "subscribed", "unsubscribed", "pong", "position", "gap", "error"].contains(&kind)
}

/// How a channel keeps and delivers its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    /// Every message, in order, resumed by offset.
    Stream,
    /// The newest message for each key.
    State,
    /// Never stored; at most once.
    Ephemeral,
}

/// One message, shared by everybody that it goes to.
#[derive(Debug, Serialize, Deserialize)]
pub struct Message {
    /// Its offset. Given when its record is applied; not stored in the record.
    #[serde(skip)]
    pub number: Number,
    /// The pipeline that made it.
    pub pipeline: Name,
    pub channel: ChannelName,
    pub channel_kind: ChannelKind,
    /// Of a state channel: which value it replaces.
    pub key: Option<Box<str>>,
    /// A tombstone: the key is gone.
    pub deleted: bool,
    /// Made of a dead letter that was replayed.
    pub late: bool,
    /// What the client finds under `type`. One batch's messages share it where it is the same.
    pub kind: Name,
    pub event_type: Name,
    /// Any JSON.
    pub data: Box<str>,
    /// The event's commit time.
    pub timestamp: Micros,
    #[serde(with = "id_bytes")]
    pub id: Uuid,
    /// Its frames, encoded when they are first needed: one for each dialect.
    #[serde(skip)]
    pub frames: Frames,
}

impl Message {
    /// About how much room it takes, in bytes.
    pub fn weight(&self) -> usize {
        self.data.len() + self.kind.len() + self.event_type.len() + self.channel.as_str().len() + 128
    }
}

/// In the journal an id is its 16 bytes.
mod id_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use uuid::Uuid;

    pub(super) fn serialize<S: Serializer>(id: &Uuid, to: S) -> Result<S::Ok, S::Error> {
        id.as_bytes().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Uuid, D::Error> {
        <[u8; 16]>::deserialize(from).map(Uuid::from_bytes)
    }
}

/// The ways in which a message can be written for a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `relevo.v1`.
    #[default]
    Native,
    /// What the original system's clients read.
    Gad,
}

/// A message's frames; a dialect that nobody uses costs nothing.
#[derive(Debug, Default)]
pub struct Frames {
    native: OnceLock<Bytes>,
    gad: OnceLock<Bytes>,
}

impl Frames {
    /// The frame for a dialect, encoded the first time that it is asked for.
    pub fn get_or_encode(&self, dialect: Dialect, encode: impl FnOnce() -> Bytes) -> Bytes {
        let cell = match dialect {
            Dialect::Native => &self.native,
            Dialect::Gad => &self.gad,
        };
        cell.get_or_init(encode).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::ChannelPattern;

    #[test]
    fn a_pattern_is_a_name_or_has_one_star() {
        let matches = |pattern: &str, channel: &str| ChannelPattern::parse(pattern).unwrap().matches(channel);
        assert!(matches("user:*", "user:42") && matches("*", "anything") && matches("a*b", "ab"));
        assert!(!matches("user:*", "users") && !matches("aa*aa", "aaa") && !matches("tasks", "tasks:board"));
        assert!(ChannelPattern::parse("").is_err());
    }

    #[test]
    fn a_pattern_covers_another_if_it_means_all_of_its_channels() {
        let pattern = |text: &str| ChannelPattern::parse(text).unwrap();
        for (one, other) in [("*", "a*"), ("user:*", "user:*"), ("user:*", "user:4*"), ("a*c", "ab*bc"), ("t", "t")] {
            assert!(pattern(one).covers(&pattern(other)), "{one} {other}");
        }
        for (one, other) in [("user:*", "*"), ("user:4*", "user:*"), ("a*c", "a*"), ("a", "a*"), ("aa*aa", "aaa")] {
            assert!(!pattern(one).covers(&pattern(other)), "{one} {other}");
        }
    }
}
