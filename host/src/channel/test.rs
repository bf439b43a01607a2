//! What the room's tests share: messages.

use std::sync::Arc;

use uuid::Uuid;

use crate::event::{Micros, Number};
use crate::message::{ChannelKind, ChannelName, Frames, Message};

/// A message of a state channel.
pub(crate) fn state(channel: &str, key: &str) -> Arc<Message> {
    Arc::new(Message { key: Some(key.into()), ..message(channel, ChannelKind::State, 0) })
}

/// A message of a state channel with an offset.
pub(crate) fn numbered_state(key: &str, number: u64) -> Arc<Message> {
    Arc::new(Message { key: Some(key.into()), ..message("board", ChannelKind::State, number) })
}

pub(crate) fn message(channel: &str, kind: ChannelKind, number: u64) -> Message {
    Message {
        number: Number(number),
        pipeline: "test".into(),
        channel: ChannelName::new(channel).unwrap(),
        channel_kind: kind,
        key: None,
        deleted: false,
        late: false,
        kind: "test".into(),
        event_type: "test".into(),
        data: format!("{{\"n\":{number}}}").into(),
        timestamp: Micros(0),
        id: Uuid::from_u128(number.into()),
        frames: Frames::default(),
    }
}
