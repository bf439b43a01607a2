//! Tries a version on events: from a checkpoint over a range of the journal, or beside the running version.
//! What it makes is compared with what was committed, and published nowhere. One mechanism for the canary
//! before a swap, for whoever asks on a quiet afternoon, and for a shadow.

use std::time::{Duration, Instant};

use super::batch::{Next, View, cut};
use super::chain::Chain;
use super::context::Context;
use super::failure::{Stop, settle};
use super::feed::Feed;
use super::health::Board;
use super::meta::Meta;
use super::reference;
use super::swap;
use super::wants::Wants;
use super::worker::take_memory;
use crate::event::{Name, Number};
use crate::journal::{Control, JournalError, RecordBody};
use crate::sandbox::State;
use crate::store::VersionId;

mod commits;
mod comparison;
mod report;
mod tried;

use commits::{Commits, Seen};
use comparison::Comparison;
pub use report::{Difference, Report, SeenFault, Shown};
use tried::Tried;

/// How often a shadow tells how it goes.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What is to be tried.
pub(super) struct Range {
    /// From the newest checkpoint at or before this place; none: from the newest of all.
    pub(super) from: Option<Number>,
    pub(super) to: Number,
    pub(super) events: usize,
    pub(super) within: Duration,
    /// Ends at the first fault that the version that serves did not have.
    pub(super) until_fault: bool,
    /// Goes on with what comes, until `within` is over.
    pub(super) live: bool,
}

impl Range {
    /// Beside the running version, for so long.
    pub(super) fn live(from: Option<Number>, within: Duration) -> Self {
        Self { from, to: Number(u64::MAX), events: usize::MAX, within, until_fault: false, live: true }
    }
}

/// Who wants to know how a shadow goes; false: nobody any more.
pub(super) type Tell<'a> = &'a mut dyn FnMut(Report) -> bool;

/// Tries a version of a plugin in a pipeline, of which `board` says how far it is. The context is one of
/// its own: what happens here counts nowhere else. `tell` gets a report each second if the range is live.
///
/// # Errors
/// The version can't even be loaded, there is no checkpoint, or the journal fails. What the version
/// does is in the report, unless it was to end at a fault.
pub(super) fn run(
    context: &Context,
    board: &Board,
    plugin: &Name,
    id: &VersionId,
    range: &Range,
    tell: Tell<'_>,
) -> Result<Report, Stop> {
    let mut course = match Course::begin(context, plugin, id, range) {
        // A deployment: what keeps another plugin from being loaded must not keep this one from being mended.
        Err(Stop::Broken { plugin: Some(other), reason }) if range.until_fault && other != *plugin => {
            let (pipeline, plugin) = (context.name.as_ref().into(), plugin.as_ref().into());
            let notes = vec![format!("not tried, for {other} can't be loaded: {reason}")];
            return Ok(Report { pipeline, plugin, notes, ended: true, ..Report::default() });
        }
        begun => begun?,
    };
    course.follow(board, tell)?;
    Ok(course.end())
}

/// A version on its way through the events.
struct Course<'a> {
    context: &'a Context,
    range: &'a Range,
    begun: Instant,
    told: Instant,
    chain: Chain,
    wants: Wants,
    /// Of the checkpoint that it began from.
    meta: Meta,
    /// Up to here the pipeline had come, as the journal has it: its board doesn't say before it has begun.
    stood: Number,
    tried: Tried,
    feed: Feed,
    /// The first tick that the state channels were not compared at yet.
    tick: Option<Number>,
    over: bool,
}

impl<'a> Course<'a> {
    fn begin(context: &'a Context, plugin: &Name, id: &VersionId, range: &'a Range) -> Result<Self, Stop> {
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
                report.note("its state has another layout: it began empty, so what comes of it differs".into());
            }
        }
        if wants.kept != then.kept {
            report.note("it wants other rows than are kept: it did not have them here".into());
        }
        let letters = context.handle.block_on(context.journal.events_with_letters(&context.name))?;
        let mut memory = take_memory(&chain, &wants, &mut stored);
        if let Some(from) = from_layout {
            chain
                .migrate(plugin, from, &mut memory, &context.config)
                .map_err(|fault| broken(format!("it can't bring over the state of layout {from}: {fault}")))?;
            memory.states.iter_mut().for_each(State::keep);
            report.note(format!("it brought over the state of layout {from}"));
        }
        let mut now = context.handle.block_on(context.journal.pipeline(&context.name))?.unwrap_or_default();
        let stood = now.cursor;
        let now = Meta::take(&mut now).map_err(broken)?;
        let same =
            now.versions.iter().filter(|(name, now)| then.versions.get(*name).is_some_and(|then| then.id == now.id));
        let others = same.map(|(name, _)| name.clone()).collect();
        let tried = Tried {
            memory,
            others,
            comparison: Comparison::new(report),
            known: letters.into_iter().collect(),
            until_fault: range.until_fault,
            ahead: false,
        };
        let feed = Feed::new(&context.journal, &context.handle, stored.cursor);
        let (meta, told) = (then, begun);
        Ok(Self { context, range, begun, told, chain, wants, meta, stood, tried, feed, tick: None, over: false })
    }

    /// Goes through the events commit by commit, so that both sides always stand at the same place.
    fn follow(&mut self, board: &Board, tell: Tell<'_>) -> Result<(), Stop> {
        let mut commits = Commits::behind(self.context, self.feed.at());
        loop {
            // Asked first: all that was committed up to here is in the journal when it is read.
            let done = board.read().cursor.max(self.stood).min(self.range.to);
            self.catch_up(&mut commits, done, tell)?;
            if self.over || !self.range.live {
                break;
            }
            self.tell(done, tell);
            if !self.over && !self.is_spent() {
                let wait = TELL_EVERY.min(self.range.within.saturating_sub(self.begun.elapsed()));
                commits.feed.wait(&mut self.context.stopping.clone(), Some(wait))?;
                self.context.go_on()?;
            }
        }
        if !self.over {
            // What the running version did not come to yet, or stands still before.
            self.tried.ahead = true;
            let compared = self.report().to;
            self.run_to(self.range.to, false)?;
            self.report().to = compared;
        }
        Ok(())
    }

    /// Runs and compares up to the pipeline's cursor `done`.
    fn catch_up(&mut self, commits: &mut Commits<'_>, done: Number, tell: Tell<'_>) -> Result<(), Stop> {
        while let Some(seen) = commits.next(done)? {
            match seen {
                Seen::Commit(record) => {
                    let RecordBody::Commit(commit) = &record.body else { continue };
                    if self.is_spent() {
                        return Ok(());
                    }
                    self.tried.comparison.expect(commit);
                    self.run_to(commit.cursor, true)?;
                    if self.over {
                        self.tried.comparison.abandon();
                        return Ok(());
                    }
                    self.tried.comparison.through(commit);
                    if self.tick.take_if(|tick| *tick <= commit.cursor).is_some() {
                        self.tried.comparison.tick();
                    }
                    self.tell(done, tell);
                }
                Seen::Beyond(after) => return self.run_to(after.min(done), false),
                Seen::Letter(event) => _ = self.tried.known.insert(event),
                Seen::Note(text) => self.report().note(text),
                Seen::Tick(number) => _ = self.tick.get_or_insert(number),
                Seen::Anew(at) => {
                    self.made_anew(at);
                    return Ok(());
                }
            }
        }
        self.run_to(done, false)
    }

    /// Whether it has had all the events and time that it may have; then it ends.
    fn is_spent(&mut self) -> bool {
        if self.report().events >= self.range.events as u64 {
            let events = self.report().events;
            self.end_with(format!("ended after {events} events"));
        } else if self.begun.elapsed() >= self.range.within {
            self.end_with(format!("ended after {:?}", self.range.within));
        }
        self.over
    }

    /// Runs the version over all events up to a number. `whole`: they were committed together, so that
    /// nothing compares before the end of them.
    fn run_to(&mut self, until: Number, whole: bool) -> Result<(), Stop> {
        while self.feed.at() < until && (whole || !self.is_spent()) {
            self.context.go_on()?;
            match self.feed.fill() {
                Err(JournalError::Pruned { oldest, .. }) => {
                    self.end_with(format!("ended: retention took the events up to {oldest}"));
                    break;
                }
                filled => filled?,
            }
            let view = View {
                pipeline: &self.context.name,
                wants: &self.wants,
                contained: &self.meta.contained,
                awaited: None,
                until,
                replayed_as: None,
            };
            match cut(self.feed.records(), self.feed.at(), self.context.size(), &view, self.feed.more()) {
                Next::Batch(batch) => {
                    let lookup = &mut self.tried.memory.lookup;
                    for event in &batch.references {
                        reference::apply(event, &self.wants, lookup);
                    }
                    if !batch.items.is_empty() {
                        let (chain, tried) = (&mut self.chain, &mut self.tried);
                        settle(self.context, chain, tried, Vec::new(), batch.items, batch.through)?;
                    }
                    self.feed.pass(batch.through);
                }
                Next::Control(record) => match &record.body {
                    RecordBody::Control(
                        Control::Gap { .. }
                        | Control::TableGap { .. }
                        | Control::PipelineGap { .. }
                        | Control::RebuildWanted { .. },
                    ) => {
                        self.made_anew(record.first);
                        break;
                    }
                    _ => self.feed.pass(record.last),
                },
                Next::Snapshot(_) | Next::Nothing => break,
            }
            let at = self.feed.at();
            self.report().to = at;
        }
        Ok(())
    }

    fn report(&mut self) -> &mut Report {
        &mut self.tried.comparison.report
    }

    fn made_anew(&mut self, at: Number) {
        self.end_with(format!("ended at {at}, where the state was made anew"));
    }

    /// What is compared up to here is all there is.
    fn end_with(&mut self, note: String) {
        self.report().note(note);
        self.over = true;
    }

    /// Lets whoever looks know how it goes, once in a while; ends when nobody does, or the time is over.
    fn tell(&mut self, done: Number, tell: Tell<'_>) {
        if !self.range.live {
            return;
        }
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            let took = self.took();
            let report = self.report();
            report.behind = done.0.saturating_sub(report.to.0);
            report.took_ms = took;
            let shown = report.so_far();
            self.over |= !tell(shown);
        }
    }

    fn took(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn end(mut self) -> Report {
        self.tried.comparison.tick();
        let took_ms = self.took();
        Report { took_ms, ended: true, ..self.tried.comparison.report }
    }
}
