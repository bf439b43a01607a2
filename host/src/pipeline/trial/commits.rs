//! What a pipeline committed, in order: what a trial is compared with.

use std::sync::Arc;

use super::super::context::Context;
use super::super::failure::Stop;
use super::super::feed::Feed;
use crate::event::{Body, Number};
use crate::journal::{Committed, Control, LetterEnd, Record, RecordBody};

/// What comes next of what concerns a trial.
pub(super) enum Seen {
    /// It covers what lies between the one before and its cursor.
    Commit(Arc<Record>),
    /// The next commit goes beyond what is compared; it covers what lies behind this number.
    Beyond(Number),
    /// The running version gave this event up.
    Letter(Number),
    /// Something that has to be known to read the report.
    Note(String),
    /// Every source had delivered all that it committed up to a time.
    Tick(Number),
    /// The state was made anew at this place: nothing behind it compares.
    Anew(Number),
}

pub(super) struct Commits<'a> {
    context: &'a Context,
    pub(super) feed: Feed,
    from: Number,
}

impl<'a> Commits<'a> {
    /// Those of the events behind `from`.
    pub(super) fn behind(context: &'a Context, from: Number) -> Self {
        Self { context, feed: Feed::whole(&context.journal, &context.handle, from), from }
    }

    /// The next of what the journal has; commits up to the cursor `done`.
    pub(super) fn next(&mut self, done: Number) -> Result<Option<Seen>, Stop> {
        loop {
            self.feed.fill()?;
            let Some(record) = self.feed.records().next().cloned() else { return Ok(None) };
            let seen = match &record.body {
                RecordBody::Commit(commit) => match self.commit(commit, &record, done) {
                    // They are met again.
                    Some(seen @ (Seen::Beyond(_) | Seen::Anew(_))) => return Ok(Some(seen)),
                    seen => seen,
                },
                RecordBody::Control(control) => self.control(control),
                RecordBody::Append(append) => {
                    let is_tick = |event: &Body| matches!(event, Body::Tick { .. });
                    append.events.iter().find(|event| is_tick(&event.body)).map(|event| Seen::Tick(event.number))
                }
            };
            self.feed.pass(record.last);
            if seen.is_some() {
                return Ok(seen);
            }
        }
    }

    fn commit(&self, commit: &Committed, record: &Arc<Record>, done: Number) -> Option<Seen> {
        if commit.pipeline != self.context.name || commit.cursor <= self.from {
            return None;
        }
        if commit.reset {
            return Some(Seen::Anew(record.first));
        }
        if commit.cursor > done {
            return Some(Seen::Beyond(commit.after.unwrap_or_default()));
        }
        Some(Seen::Commit(record.clone()))
    }

    fn control(&self, control: &Control) -> Option<Seen> {
        let name = &self.context.name;
        match control {
            Control::DeadLetter(letter) if letter.pipeline == *name => Some(Seen::Letter(letter.number)),
            Control::Swapped { swap, former, cursor } if swap.pipeline == *name && *cursor >= self.from => {
                let (plugin, version) = (&swap.plugin, &swap.version);
                Some(Seen::Note(format!("after {cursor}, {plugin} {version} took over from {former}")))
            }
            Control::LetterClosed { pipeline, letter, end: LetterEnd::Replayed, .. } if pipeline == name => {
                Some(Seen::Note(format!("dead letter {letter} was replayed, here not: what counts its event differs")))
            }
            _ => None,
        }
    }
}
