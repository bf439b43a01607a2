//! Looks at what people wish for further on in the journal, for a pipeline that stands still and would
//! never come there: a version that mends it, an event to let go, the end of a pause.

use std::collections::BTreeSet;

use super::context::Context;
use super::failure::Stop;
use crate::event::Number;
use crate::journal::{Control, Swap};

/// How many controls are read at once: a letter may be as large as a record.
pub(super) const PAGE: usize = 32;

/// What lies ahead of a cursor for one pipeline.
#[derive(Default)]
pub(super) struct Ahead {
    /// The wishes for versions, in their order.
    pub(super) swaps: Vec<(Number, Swap)>,
    /// Events that are to be let go.
    pub(super) skips: BTreeSet<Number>,
    /// The newest wish that a pause ends.
    pub(super) resumed: Option<Number>,
    /// Everything up to here was looked at.
    pub(super) seen: Number,
}

impl Ahead {
    /// Looks on from where it stopped.
    pub(super) fn look(&mut self, context: &Context) -> Result<(), Stop> {
        loop {
            let page = context.handle.block_on(context.journal.controls(self.seen, PAGE))?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            self.seen = *last;
            for (number, control) in page {
                match control {
                    Control::SwapWanted(swap) if swap.pipeline == context.name => self.swaps.push((number, *swap)),
                    Control::SkipWanted { pipeline, event, .. } if pipeline == context.name => {
                        self.skips.insert(event);
                    }
                    Control::ResumeWanted { pipeline, .. } if pipeline == context.name => self.resumed = Some(number),
                    _ => {}
                }
            }
        }
    }

    /// What lies ahead of `cursor`.
    pub(super) fn of(context: &Context, cursor: Number) -> Result<Self, Stop> {
        let mut ahead = Self { seen: cursor, ..Self::default() };
        ahead.look(context)?;
        Ok(ahead)
    }
}
