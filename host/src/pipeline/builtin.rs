//! The built-in pipeline: what is published goes to its channel, so an alert depends on no plugin.

use super::batch::Item;
use super::failure::Blame;
use super::outputs::Ids;
use crate::config::Config;
use crate::event::{Body, Name, Number};
use crate::message::{ChannelName, Frames, Message};
use crate::sandbox::Fault;

/// Its name.
pub const PUBLICATIONS: &str = "publications";

/// One message for each publication.
///
/// # Errors
/// If a publication's channel has no rule: whoever let it in had other settings.
pub(super) fn publish(pipeline: &Name, config: &Config, items: &[Item]) -> Result<Vec<Message>, Blame> {
    let mut ids = Ids::new(pipeline);
    let mut messages = Vec::with_capacity(items.len());
    for (at, Item { event, origin, .. }) in items.iter().enumerate() {
        let Body::Published(published) = &event.body else { continue };
        let channel = ChannelName::new(&published.channel).ok();
        let Some((channel, rule)) = channel.and_then(|channel| Some((channel.clone(), config.channel(&channel)?)))
        else {
            let reason =
                format!("published to {:?}, for which there is no [[channel]] in the settings", published.channel);
            return Err(Blame { plugin: None, fault: Fault::Poison { event: at, reason }, item: Some(at) });
        };
        messages.push(Message {
            number: Number::ZERO,
            pipeline: pipeline.clone(),
            channel,
            channel_kind: rule.kind,
            key: None,
            deleted: false,
            late: event.late,
            kind: published.kind.as_ref().into(),
            event_type: published.event_type.as_ref().into(),
            data: published.data.clone(),
            timestamp: event.committed_at,
            id: ids.next(at, event, origin),
            frames: Frames::default(),
        });
    }
    Ok(messages)
}
