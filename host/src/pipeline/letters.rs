//! Dead letters that somebody wants tried again: each is a late event of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ahead::PAGE;
use super::batch::Item;
use super::context::Context;
use super::failure::{Stop, settle};
use super::meta::{Meta, Replayed};
use super::outputs::replay_origin;
use super::wants::Mask;
use super::worker::Worker;
use crate::event::{Event, Number};
use crate::journal::{Control, DeadLetter, LetterEnd};
use crate::sandbox::{By, Level};

/// By event: its newest letter, and the plugins for which it does not count.
pub(super) type GivenUp = BTreeMap<Number, (Number, Mask)>;

impl Worker<'_> {
    /// Runs a letter's event through the plugins, marked as late. What fails again becomes a letter
    /// again. `through`: the place of the wish.
    pub(super) fn replay_letter(&mut self, letter: Number, by: &str, through: Number) -> Result<(), Stop> {
        let context = self.context;
        let stored = context.handle.block_on(context.journal.dead_letter(letter))?;
        let Some(stored) = stored.filter(|stored| stored.letter.pipeline == context.name) else {
            tracing::warn!(pipeline = %context.name, %letter, "a dead letter that is to be tried again is gone");
            return Ok(());
        };
        let DeadLetter { plugin, number, origin, event, lacking, delivered, .. } = stored.letter;
        let event = Event { number, late: true, ..event };
        let replayed = Replayed { letter, by: by.into() };
        let mut wanted = self.wants.mask(&event) & self.chain.lacking(&plugin, &lacking);
        if self.live.meta.contained.get(&event.source).is_some_and(|contained| contained.stands_for(&event)) {
            // The state was made of newer rows since, and they have it.
            wanted &= !self.wants.told(&event);
        } else if wanted == 0 {
            // It was not tried, so it must not be gone.
            let why =
                format!("dead letter {letter} can't be tried again: no plugin that lacks its event wants it any more");
            tracing::warn!(pipeline = %context.name, %plugin, "{why}");
            context.notes(&plugin).say(By::Host, Level::Warn, "", &why);
            return Ok(());
        }
        if self.live.given_up.get(&number).is_some_and(|(newest, _)| *newest > through) {
            // It failed again, and a crash came before that was saved.
            let known = vec![Meta::replayed_change(&replayed)];
            self.live.write(context, through, known)?;
            return close(context, replayed);
        }
        let item = Item { event: Arc::new(event), origin: replay_origin(&origin, letter), wanted };
        // Committed with what comes of it, so that a crash can't make it happen twice, or not at all.
        let known = vec![Meta::replayed_change(&replayed)];
        (self.live.muted, self.live.replaying) = (delivered, true);
        let settled = settle(context, &mut self.chain, &mut self.live, known, vec![item], through);
        (self.live.muted, self.live.replaying) = (false, false);
        settled?;
        self.live.settle(context)?;
        close(context, replayed)
    }

    /// The kept events that count in no state, and for which plugins: their letters are open, or were let go.
    /// One that was tried again with success counts like any other.
    /// Looks at the letters that were written after `after`.
    pub(super) fn given_up(&self, mut after: Number) -> Result<GivenUp, Stop> {
        let context = self.context;
        let mut letters: BTreeMap<Number, (Number, Mask)> = BTreeMap::new();
        loop {
            let page = context.handle.block_on(context.journal.controls(after, PAGE))?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            for (number, control) in page {
                match control {
                    Control::DeadLetter(letter) if letter.pipeline == context.name => {
                        letters.insert(number, (letter.number, self.chain.lacking(&letter.plugin, &letter.lacking)));
                    }
                    Control::LetterClosed { pipeline, letter, end: LetterEnd::Replayed, .. }
                        if pipeline == context.name =>
                    {
                        letters.remove(&letter);
                    }
                    _ => {}
                }
            }
        }
        let mut given_up = GivenUp::new();
        for (letter, (event, lacking)) in letters {
            let (newest, mask) = given_up.entry(event).or_default();
            *newest = letter;
            *mask |= lacking;
        }
        Ok(given_up)
    }

    /// Closes the letter that was tried last, if a crash came in between.
    pub(super) fn close_replayed(&mut self) -> Result<(), Stop> {
        let Some(replayed) = self.live.meta.replayed.take() else { return Ok(()) };
        let left = self.context.handle.block_on(self.context.journal.dead_letter(replayed.letter))?;
        if left.is_some() { close(self.context, replayed) } else { Ok(()) }
    }
}

fn close(context: &Context, replayed: Replayed) -> Result<(), Stop> {
    let Replayed { letter, by } = replayed;
    context.control(Control::LetterClosed { pipeline: context.name.clone(), letter, end: LetterEnd::Replayed, by })?;
    Ok(())
}
