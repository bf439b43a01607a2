//! A state that is being made: takes what the plugins make of rows and events, publishes nothing, and keeps of
//! it what state channels will show. `rebuild` fills it and puts it in the other's place.

use std::collections::BTreeMap;

use super::chain::{Chain, Memory};
use super::context::Context;
use super::failure::{Made, Sink, Stop};
use super::letters::GivenUp;
use crate::event::Micros;
use crate::journal::{DeadLetter, JournalError};
use crate::message::{ChannelKind, ChannelName, Message};

/// How many letters wait at most: each holds its event.
const UNWRITTEN: usize = 100;

/// Of each key of state channels the newest message, and its place among all.
pub(super) type Newest = BTreeMap<(ChannelName, Box<str>), (usize, Message)>;

/// The state that is being made.
pub(super) struct Anew {
    pub(super) memory: Memory,
    /// Of state channels: the newest message for each key, and its place among all.
    pub(super) newest: Newest,
    /// How many messages there were.
    pub(super) seen: usize,
    /// The time of the newest event.
    pub(super) at: Micros,
    /// The pipeline is not new: what its events mean was sent before.
    pub(super) delivered: bool,
    /// The events that are not to count, and for which plugins.
    pub(super) given_up: GivenUp,
    /// Letters that are written when the state takes its place: while it is made for a version that waits,
    /// the one that serves has handled their events. None: they are written at once.
    pub(super) unwritten: Option<Vec<DeadLetter>>,
}

impl Sink for Anew {
    const REBUILD: bool = true;

    fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }

    fn delivered(&self) -> bool {
        self.delivered
    }

    fn letter(&mut self, context: &Context, letter: DeadLetter) -> Result<(), Stop> {
        context.breaker.bad(&letter.plugin);
        let Some(unwritten) = &mut self.unwritten else { return context.write_letter(letter) };
        if unwritten.len() == UNWRITTEN {
            let reason = format!("more than {UNWRITTEN} events can't be handled, the last is {}", letter.number);
            return Err(Stop::Broken { plugin: Some(letter.plugin), reason });
        }
        unwritten.push(letter);
        Ok(())
    }

    fn accept(&mut self, context: &Context, _: &Chain, made: Made<'_>) -> Result<(), JournalError> {
        for message in made.messages {
            self.seen += 1;
            if message.channel_kind == ChannelKind::State {
                let key = (message.channel.clone(), message.key.clone().unwrap_or_default());
                self.newest.insert(key, (self.seen, message));
            }
        }
        context.board.write(|health| health.events += made.items.len() as u64);
        Ok(())
    }
}
