//! Tries a version on recorded events: from a checkpoint over a range of the journal. What it makes is
//! compared with what was committed, and published nowhere. One mechanism for the canary before a swap
//! and for whoever asks on a quiet afternoon.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use uuid::Uuid;

use super::batch::{Next, View, cut};
use super::chain::{Chain, Memory};
use super::failure::{Made, Sink, Stop, settle};
use super::feed::Feed;
use super::meta::Meta;
use super::outputs::Ids;
use super::reference;
use super::swap;
use super::worker::{Context, take_memory};
use crate::event::{Name, Number};
use crate::journal::{Control, DeadLetter, JournalError, RecordBody};
use crate::message::{ChannelKind, Message};
use crate::sandbox::State;
use crate::store::VersionId;

/// How many faults and differences a report names; it counts them all.
const NAMED: usize = 100;

/// What is to be tried.
pub(super) struct Range {
    /// From the newest checkpoint at or before this place; none: from the newest of all.
    pub(super) from: Option<Number>,
    pub(super) to: Number,
    pub(super) events: usize,
    pub(super) within: Duration,
    /// Ends at the first fault that the version that serves did not have.
    pub(super) until_fault: bool,
}

/// What a trial found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub pipeline: Box<str>,
    pub plugin: Box<str>,
    pub version: Box<str>,
    /// The checkpoint's place: the first event is behind it.
    pub from: Number,
    /// The place up to which events were tried and compared.
    pub to: Number,
    pub events: u64,
    pub took_ms: u64,
    /// What must be known to read the rest.
    pub notes: Vec<String>,
    /// Faults that the version that serves did not have.
    pub faults: u64,
    /// Faults of both.
    pub known_faults: u64,
    pub first_faults: Vec<SeenFault>,
    /// Messages to stream channels, and last values of state channels' keys, that are as committed.
    pub same: u64,
    pub added: u64,
    pub missing: u64,
    pub changed: u64,
    pub differences: Vec<Difference>,
}

/// An event that the version can't handle.
#[derive(Debug, Clone, Serialize)]
pub struct SeenFault {
    pub event: Number,
    pub reason: Box<str>,
}

/// Something that the version makes otherwise.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// `added`, `missing` or `changed`.
    pub what: &'static str,
    pub channel: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Box<str>>,
    /// The event that it comes of, where the version made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Number>,
    /// The committed message's offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is: Option<Shown>,
}

/// A message as a report shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    pub event_type: Box<str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    pub data: Box<serde_json::value::RawValue>,
}

/// Takes what the version makes, and keeps it here.
struct Tried {
    memory: Memory,
    made: Vec<(Number, Message)>,
    events: u64,
    faults: Vec<SeenFault>,
    new_faults: u64,
    known_faults: u64,
    known: BTreeSet<Number>,
    until_fault: bool,
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
        if self.known.contains(&letter.number) {
            self.known_faults += 1;
            return Ok(());
        }
        self.new_faults += 1;
        let DeadLetter { number: event, reason, plugin, .. } = letter;
        if self.faults.len() < NAMED {
            self.faults.push(SeenFault { event, reason: reason.clone() });
        }
        if self.until_fault {
            return Err(Stop::Broken { plugin: Some(plugin), reason: format!("event {event}: {reason}") });
        }
        Ok(())
    }

    fn accept(&mut self, context: &Context, _: &Chain, made: Made<'_>) -> Result<(), JournalError> {
        self.events += made.items.len() as u64;
        let mut ids = made.items.iter().enumerate().peekable();
        let mut maker = Ids::new(&context.name);
        for message in made.messages {
            // Messages come in the order of their events, each with the next id of its event.
            while let Some((at, item)) = ids.peek() {
                if maker.next(*at, &item.event, &item.origin) == message.id {
                    self.made.push((item.event.number, message));
                    break;
                }
                ids.next();
            }
        }
        Ok(())
    }
}

/// Tries a version of a plugin in a pipeline. The context is one of its own: what happens here counts
/// nowhere else.
///
/// # Errors
/// The version can't even be loaded, there is no checkpoint, or the journal fails. What the version
/// does is in the report, unless it was to end at a fault.
pub(super) fn run(context: &Context, plugin: &Name, id: &VersionId, range: &Range) -> Result<Report, Stop> {
    let begun = Instant::now();
    let broken = |reason: String| Stop::Broken { plugin: Some(plugin.clone()), reason };
    let checkpoints = context.handle.block_on(context.journal.checkpoints(&context.name))?;
    let chosen = checkpoints.iter().rev().find(|kept| range.from.is_none_or(|from| kept.cursor <= from));
    let Some(chosen) = chosen.or(checkpoints.first()) else {
        return Err(broken(format!("pipeline {} has no checkpoint yet to try a version from", context.name)));
    };
    let Some(mut stored) = context.handle.block_on(context.journal.checkpoint(chosen.number))? else {
        return Err(broken("the checkpoint is gone; try again".into()));
    };
    let then = Meta::take(&mut stored).map_err(broken)?;
    let (mut chain, wants) = swap::with(context, &then, plugin, id)?;
    let mut report = Report {
        pipeline: context.name.as_ref().into(),
        plugin: plugin.as_ref().into(),
        from: stored.cursor,
        to: stored.cursor,
        ..Report::default()
    };
    let mut from_layout = None;
    if let Some(tried) = chain.plugin(plugin) {
        report.version = tried.version().version.clone();
        let layout = then.versions.get(plugin).map(|active| active.layout);
        let other = layout.filter(|layout| *layout != tried.manifest().state_layout);
        if wants.kept == then.kept {
            from_layout = other.filter(|from| tried.migrates(*from));
        }
        if other.is_some() && from_layout.is_none() {
            stored.state.remove(plugin);
            report.notes.push("its state has another layout: it began empty, so what comes of it differs".into());
        }
    }
    if wants.kept != then.kept {
        report.notes.push("it wants other rows than are kept: it did not have them here".into());
    }
    let letters = context.handle.block_on(context.journal.events_with_letters(&context.name))?;
    let mut memory = take_memory(&chain, &wants, &mut stored);
    if let Some(from) = from_layout {
        chain
            .migrate(plugin, from, &mut memory, &context.config)
            .map_err(|fault| broken(format!("it can't bring over the state of layout {from}: {fault}")))?;
        memory.states.iter_mut().for_each(State::keep);
        report.notes.push(format!("it brought over the state of layout {from}"));
    }
    let mut tried = Tried {
        memory,
        made: Vec::new(),
        events: 0,
        faults: Vec::new(),
        new_faults: 0,
        known_faults: 0,
        known: letters.into_iter().collect(),
        until_fault: range.until_fault,
    };
    let mut feed = Feed::new(&context.journal, &context.handle, stored.cursor);
    let view = View {
        pipeline: &context.name,
        wants: &wants,
        contained: &then.contained,
        awaited: None,
        until: range.to,
        replayed_as: None,
    };
    while feed.at() < range.to {
        context.go_on()?;
        if tried.events >= range.events as u64 {
            report.notes.push(format!("ended after {} events", tried.events));
            break;
        }
        if begun.elapsed() >= range.within {
            report.notes.push(format!("ended after {:?}", range.within));
            break;
        }
        feed.fill()?;
        match cut(feed.records(), feed.at(), context.size(), &view, feed.more()) {
            Next::Batch(batch) => {
                let lookup = &mut tried.memory.lookup;
                for event in &batch.references {
                    reference::apply(event, &wants, lookup);
                }
                if !batch.items.is_empty() {
                    settle(context, &mut chain, &mut tried, Vec::new(), batch.items, batch.through)?;
                }
                feed.pass(batch.through);
            }
            Next::Control(record) => match &record.body {
                RecordBody::Control(
                    Control::Gap { .. } | Control::PipelineGap { .. } | Control::RebuildWanted { .. },
                ) => {
                    report.notes.push(format!("ended at {}, where the state was made anew", record.first));
                    break;
                }
                _ => feed.pass(record.last),
            },
            Next::Snapshot(_) | Next::Nothing => break,
        }
    }
    report.events = tried.events;
    (report.faults, report.known_faults) = (tried.new_faults, tried.known_faults);
    report.first_faults = tried.faults;
    let (committed, to) = committed(context, stored.cursor, feed.at())?;
    report.to = to;
    // In the order of events; what lies beyond has nothing to be compared with.
    let within = tried.made.partition_point(|(event, _)| *event <= to);
    compare(&mut report, &tried.made[..within], &committed);
    report.took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

/// What the pipeline committed for the events of a range, and the end of the last commit within it.
fn committed(context: &Context, from: Number, to: Number) -> Result<(Vec<Arc<Message>>, Number), Stop> {
    let mut feed = Feed::new(&context.journal, &context.handle, from);
    let (mut messages, mut end) = (Vec::new(), from);
    loop {
        feed.fill()?;
        let records: Vec<_> = feed.records().cloned().collect();
        let Some(last) = records.last().map(|record| record.last) else { return Ok((messages, end)) };
        for record in &records {
            let RecordBody::Commit(commit) = &record.body else { continue };
            if commit.pipeline != context.name || commit.cursor <= from {
                continue;
            }
            if commit.cursor > to || commit.reset {
                return Ok((messages, end));
            }
            end = commit.cursor;
            messages.extend(commit.messages.iter().cloned());
        }
        feed.pass(last);
    }
}

/// Stream channels message by message, state channels by what each key shows at the end.
fn compare(report: &mut Report, made: &[(Number, Message)], committed: &[Arc<Message>]) {
    let is_state = |message: &Message| message.channel_kind == ChannelKind::State;
    let mut streamed: HashMap<Uuid, &Message> =
        committed.iter().filter(|message| !is_state(message)).map(|message| (message.id, &**message)).collect();
    for (event, message) in made.iter().filter(|(_, message)| !is_state(message)) {
        let was = streamed.remove(&message.id);
        note(report, was, Some((*event, message)));
    }
    let mut left: Vec<&Message> = streamed.into_values().collect();
    left.sort_by_key(|message| message.number);
    for message in left {
        note(report, Some(message), None);
    }
    type Keys<'m, T> = BTreeMap<(&'m str, Option<&'m str>), T>;
    let shown: Keys<'_, &Message> = committed
        .iter()
        .filter(|message| is_state(message))
        .map(|message| ((message.channel.as_str(), message.key.as_deref()), &**message))
        .collect();
    let shows: Keys<'_, (Number, &Message)> = made
        .iter()
        .filter(|(_, message)| is_state(message))
        .map(|(event, message)| ((message.channel.as_str(), message.key.as_deref()), (*event, message)))
        .collect();
    let keys: BTreeSet<_> = shown.keys().chain(shows.keys()).copied().collect();
    for key in keys {
        note(report, shown.get(&key).copied(), shows.get(&key).copied());
    }
}

fn note(report: &mut Report, was: Option<&Message>, is: Option<(Number, &Message)>) {
    let what = match (was, is) {
        (Some(was), Some((_, is))) if alike(was, is) => {
            report.same += 1;
            return;
        }
        (Some(_), Some(_)) => {
            report.changed += 1;
            "changed"
        }
        (Some(_), None) => {
            report.missing += 1;
            "missing"
        }
        (None, Some(_)) => {
            report.added += 1;
            "added"
        }
        (None, None) => return,
    };
    if report.differences.len() >= NAMED {
        return;
    }
    let Some(either) = was.or(is.map(|(_, message)| message)) else { return };
    report.differences.push(Difference {
        what,
        channel: either.channel.as_str().into(),
        key: either.key.clone(),
        event: is.map(|(event, _)| event),
        offset: was.map(|message| message.number),
        was: was.map(shown),
        is: is.map(|(_, message)| shown(message)),
    });
}

fn alike(was: &Message, is: &Message) -> bool {
    was.channel == is.channel
        && was.key == is.key
        && was.deleted == is.deleted
        && was.kind == is.kind
        && was.event_type == is.event_type
        && was.data == is.data
}

fn shown(message: &Message) -> Shown {
    // The sandbox has checked that it is JSON.
    let data = serde_json::value::RawValue::from_string(message.data.to_string()).unwrap_or_default();
    Shown { event_type: message.event_type.clone(), deleted: message.deleted, data }
}
