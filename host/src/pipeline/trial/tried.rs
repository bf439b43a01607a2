//! Takes what a version makes in a trial, and hands it to the comparison.

use std::collections::BTreeSet;

use super::super::chain::{Chain, Memory};
use super::super::context::Context;
use super::super::failure::{Made, Sink, Stop};
use super::super::outputs::Ids;
use super::comparison::Comparison;
use crate::event::{Name, Number};
use crate::journal::{DeadLetter, JournalError};

pub(super) struct Tried {
    pub(super) memory: Memory,
    pub(super) comparison: Comparison,
    /// Events that the version that serves gave up.
    pub(super) known: BTreeSet<Number>,
    /// Other plugins that served in the same version then as now. Others' faults say nothing of this version.
    pub(super) others: BTreeSet<Name>,
    pub(super) until_fault: bool,
    /// Nothing is committed yet of what it makes now.
    pub(super) ahead: bool,
}

impl Sink for Tried {
    const REBUILD: bool = false;

    fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }

    // A trial goes on: what would hold the pipeline is a fault like any other.
    fn may_hold(&self, _: Number) -> bool {
        false
    }

    fn letter(&mut self, _: &Context, letter: DeadLetter) -> Result<(), Stop> {
        let report = &mut self.comparison.report;
        let own = *letter.plugin == *report.plugin;
        // A pipeline may stand still because of another plugin: that must not keep this one from being mended.
        let others = !own && (self.ahead || !self.others.contains(&letter.plugin));
        if others || self.known.contains(&letter.number) {
            report.known_faults += 1;
            return Ok(());
        }
        let DeadLetter { number: event, reason, plugin, .. } = letter;
        report.fault(event, reason.clone());
        if self.until_fault {
            return Err(Stop::Broken { plugin: Some(plugin), reason: format!("event {event}: {reason}") });
        }
        Ok(())
    }

    fn accept(&mut self, context: &Context, _: &Chain, made: Made<'_>) -> Result<(), JournalError> {
        self.comparison.report.events += made.items.len() as u64;
        if self.ahead {
            return Ok(());
        }
        let mut items = made.items.iter().enumerate().peekable();
        let mut ids = Ids::new(&context.name);
        for message in made.messages {
            // Messages come in the order of their events, each with the next id of its event.
            while let Some((at, item)) = items.peek() {
                if ids.next(*at, &item.event, &item.origin) == message.id {
                    self.comparison.made(item.event.number, message);
                    break;
                }
                items.next();
            }
        }
        Ok(())
    }
}
