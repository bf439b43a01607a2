//! Makes a pipeline's state anew: from what is kept of older events that no rows stand for
//! (publications), from a snapshot's rows, then from the streamed events that the snapshot does not
//! contain, up to where the pipeline stood. What was sent to stream channels is
//! not sent again; state channels get what changed for good, in one commit.

use std::collections::BTreeMap;

use crate::event::{Micros, Name, Number};
use crate::journal::{Commit, Control, JournalError, Record, StateChange, Swap};
use crate::telemetry::milliseconds;

use super::ahead::PAGE;
use super::anew::Anew;
use super::batch::{Item, Next, View, cut};
use super::context::Context;
use super::failure::{Stop, settle};
use super::feed::Feed;
use super::health::Status;
use super::meta::{Contained, Meta};
use super::outputs::rebuild_origin;
use super::reference;
use super::snapshot::{Snapshot, Void};
use super::swap::{self, Place};
use super::worker::Worker;

impl Worker<'_> {
    /// Makes the state of the snapshot that begins with `record`. `former`: where the pipeline
    /// stood; none if it is new.
    pub(super) fn rebuild(&mut self, record: &Record, former: Option<Number>) -> Result<(), Stop> {
        let made = self.make_of_rows(record, former);
        self.or_refuse(made)
    }

    fn make_of_rows(&mut self, record: &Record, former: Option<Number>) -> Result<(), Stop> {
        let Some(snapshot) = Snapshot::of(record) else { return Ok(()) };
        let (context, begun) = (self.context, std::time::Instant::now());
        context.board.status(Status::Rebuilding);
        let mut anew = self.nothing(former.is_some())?;
        let origin = rebuild_origin(&snapshot.incarnation, snapshot.part.request);

        // The rows are those of one moment: what plugins look up is there before they see any.
        let wants = &self.wants;
        let (mut void, mut contains) = (Void::default(), snapshot.part.contains);
        snapshot.each_chunk(context, |append| {
            for event in &append.events {
                void.see(event);
                reference::apply(event, wants, &mut anew.memory.lookup);
                anew.at = anew.at.max(event.committed_at);
            }
            // Of one that was cut and went on, the last says what all of it contains.
            contains = append.snapshot.as_ref().map_or(contains, |part| part.contains);
            reference::bounded(&anew.memory.lookup, context.config.plugins.lookup_bytes)
        })?;
        let beyond = context.handle.block_on(context.journal.number_at(&snapshot.source, contains))?;
        let beyond = beyond.min(snapshot.before);
        let told = Contained {
            incarnation: snapshot.incarnation.clone(),
            position: contains,
            tables: self.wants.kept.tables(),
            through: beyond,
            before: snapshot.before,
        };
        let contained = BTreeMap::from([(snapshot.source.clone(), told)]);
        let stands = self.live.meta.rebuild.as_ref().is_some_and(|rebuild| rebuild.stands);
        let cursor = match former {
            None => self.before_wishes(beyond)?,
            Some(former) if stands => former.max(self.before_wishes(beyond)?),
            Some(former) => former,
        };
        if former.is_some() && self.wants.more_than_rows() {
            // They come before the rows, as they happened.
            self.replay(&mut anew, context.journal.kept_after(), beyond.min(cursor), &contained, &origin)?;
        }

        let (chain, wants) = (&mut self.chain, &self.wants);
        snapshot.each_chunk(context, |append| {
            let rows = append.events.iter().filter(|event| void.counts(event)).filter_map(|event| {
                let wanted = wants.mask(event);
                (wanted != 0).then(|| Item { event: event.clone(), origin: origin.clone(), wanted })
            });
            for items in by_size(rows, context) {
                let through = items.last().map_or(snapshot.before, |item| item.event.number);
                settle(context, chain, &mut anew, Vec::new(), items, through)?;
            }
            Ok(())
        })?;

        if former.is_some() && beyond < cursor {
            self.replay(&mut anew, beyond, cursor, &contained, &origin)?;
        }
        self.replace(anew, &origin, former, cursor, contained, None)?;
        if former.is_none() {
            context.wait_durable()?;
        }
        tracing::info!(
            pipeline = %context.name, %cursor, duration_ms = milliseconds(begun.elapsed()), "the state is made of the source's rows"
        );
        Ok(())
    }

    /// Makes the state of a pipeline that needs no rows: of the events that are kept.
    pub(super) fn reset(&mut self, cursor: Number) -> Result<(), Stop> {
        let made = self.make_of_events(cursor);
        self.or_refuse(made)
    }

    fn make_of_events(&mut self, cursor: Number) -> Result<(), Stop> {
        let (mut anew, origin) = (self.nothing(true)?, rebuild_origin("", cursor));
        self.replay(&mut anew, self.context.journal.kept_after(), cursor, &BTreeMap::new(), &origin)?;
        self.replace(anew, &origin, Some(cursor), cursor, BTreeMap::new(), None)
    }

    /// Goes back to the state of a checkpoint and folds what came since, with the version that waits.
    /// False: the checkpoint can't tell what state channels should show now, or is gone.
    pub(super) fn restore(&mut self, checkpoint: Number) -> Result<bool, Stop> {
        let made = self.make_of_checkpoint(checkpoint);
        self.or_refuse(made)
    }

    fn make_of_checkpoint(&mut self, checkpoint: Number) -> Result<bool, Stop> {
        let (context, cursor) = (self.context, self.live.cursor());
        let Some(mut stored) = context.handle.block_on(context.journal.checkpoint(checkpoint))? else {
            return Ok(false);
        };
        let Ok(then) = Meta::take(&mut stored) else { return Ok(false) };
        context.board.status(Status::Rebuilding);
        let mut anew = self.nothing(true)?;
        anew.memory = super::worker::take_memory(&self.chain, &self.wants, &mut stored);
        let origin = rebuild_origin("checkpoint", context.journal.head());
        self.replay(&mut anew, stored.cursor, cursor, &then.contained, &origin)?;
        if !self.gone(&anew, checkpoint)?.is_empty() {
            // What stood there before the version that leaves wrote over it is not known any more.
            return Ok(false);
        }
        self.replace(anew, &origin, Some(cursor), cursor, then.contained, Some(checkpoint))?;
        context.board.status(Status::Running);
        Ok(true)
    }

    /// The version that waits for its state, if it is the one that makes it.
    fn in_the_making(&self) -> Option<Swap> {
        let swap = &self.live.meta.pending.as_ref()?.swap;
        let fits = self.chain.plugin(&swap.plugin).is_none_or(|plugin| plugin.id().as_str() == &*swap.id);
        fits.then(|| swap.clone())
    }

    /// A version that can't make its state is refused: the one that serves goes on where it stood.
    fn or_refuse<T>(&self, made: Result<T, Stop>) -> Result<T, Stop> {
        let (plugin, reason) = match made {
            Err(Stop::Broken { plugin: Some(plugin), reason }) => (plugin, reason),
            made => return made,
        };
        let Some(swap) = self.in_the_making() else {
            return Err(Stop::Broken { plugin: Some(plugin), reason });
        };
        self.context.breaker.good();
        let meta = Meta { pending: None, ..self.live.meta.clone() };
        let place = Place { meta: &meta, committed: self.live.committed(), cursor: self.live.cursor() };
        let reason = format!("its state can't be made: {plugin}: {reason}");
        swap::refuse(self.context, &place, meta.clone(), &swap, &reason)?;
        Err(Stop::Again)
    }

    /// A pipeline that goes on at `cursor` without what lies before it: but not beyond what somebody wished
    /// for while it stood still.
    fn before_wishes(&self, cursor: Number) -> Result<Number, Stop> {
        let context = self.context;
        let mut after = self.feed.at().max(context.journal.kept_after());
        while after < cursor {
            let page = context.handle.block_on(context.journal.controls(after, PAGE))?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            let first = page.iter().find(|(number, control)| match control {
                Control::SwapWanted(swap) => swap.pipeline == context.name && self.is_news(swap, *number),
                Control::PauseWanted { pipeline, .. } | Control::ReplayWanted { pipeline, .. } => {
                    *pipeline == context.name
                }
                _ => false,
            });
            if let Some((number, _)) = first {
                return Ok(cursor.min(Number(number.0.saturating_sub(1))));
            }
        }
        Ok(cursor)
    }

    /// `delivered`: what the events mean was sent before.
    fn nothing(&mut self, delivered: bool) -> Result<Anew, Stop> {
        self.chain.renew();
        // An event's letter, and its end, come after it: whoever has the event has them.
        let given_up = self.given_up(self.context.journal.kept_after())?;
        let unwritten = self.in_the_making().is_some().then(Vec::new);
        let memory = super::worker::take_memory(&self.chain, &self.wants, &mut Default::default());
        Ok(Anew { memory, newest: BTreeMap::new(), seen: 0, at: Micros::default(), delivered, given_up, unwritten })
    }

    /// Runs again what the snapshot does not contain and the pipeline has seen.
    fn replay(
        &mut self,
        anew: &mut Anew,
        after: Number,
        until: Number,
        contained: &BTreeMap<Name, Contained>,
        origin: &Name,
    ) -> Result<(), Stop> {
        let context = self.context;
        let mut feed = Feed::new(&context.journal, &context.handle, after);
        while feed.at() < until {
            context.go_on()?;
            match feed.fill() {
                // These rows are too old by now: others must be asked for.
                Err(JournalError::Pruned { .. }) => {
                    *self.asked = None;
                    let reason = "retention took events while the state was made anew; it begins again with newer rows";
                    return Err(Stop::Broken { plugin: None, reason: reason.into() });
                }
                filled => filled?,
            }
            let view = View {
                pipeline: &context.name,
                wants: &self.wants,
                contained,
                awaited: None,
                until,
                replayed_as: Some(origin),
            };
            match cut(feed.records(), feed.at(), context.size(), &view, feed.more()) {
                Next::Batch(batch) => {
                    let lookup = &mut anew.memory.lookup;
                    for event in &batch.references {
                        reference::apply(event, &self.wants, lookup);
                    }
                    if let Some(last) = batch.items.last() {
                        anew.at = anew.at.max(last.event.committed_at);
                    }
                    let mut items = batch.items;
                    items.retain_mut(|item| {
                        item.wanted &= !anew.given_up.get(&item.event.number).map_or(0, |(_, mask)| *mask);
                        item.wanted != 0
                    });
                    if !items.is_empty() {
                        settle(context, &mut self.chain, anew, Vec::new(), items, batch.through)?;
                    }
                    feed.pass(batch.through);
                }
                Next::Control(_) | Next::Snapshot(_) | Next::Nothing => break,
            }
        }
        Ok(())
    }

    /// Puts the new state in the place of the old one, in one commit. `since`: it goes back to that
    /// checkpoint only, and what state channels showed before stays.
    fn replace(
        &mut self,
        anew: Anew,
        origin: &Name,
        former: Option<Number>,
        cursor: Number,
        contained: BTreeMap<Name, Contained>,
        since: Option<Number>,
    ) -> Result<(), Stop> {
        let context = self.context;
        let mut meta = self.live.meta.clone();
        (meta.kept, meta.rebuild, meta.contained) = (self.wants.kept.clone(), None, contained);
        let making = self.in_the_making();
        if let Some(swap) = &making {
            meta.pending = None;
            let checkpoint = swap::keep_state(context, swap)?;
            if let Some(plugin) = self.chain.plugin(&swap.plugin) {
                swap::take_over(context, &mut meta, swap, plugin, checkpoint, cursor)?;
            }
        }
        let mut messages = self.tombstones(&anew, origin, since.unwrap_or_default())?;
        let shows = !(messages.is_empty() && anew.newest.is_empty());
        if shows || (making.is_none() && since.is_none()) {
            // What state channels show now is no longer what an earlier state and the events since give; nor is the state,
            // which somebody may have had made anew since it was wrong.
            meta.remade = Some(context.journal.head());
        }
        let mut state = meta.changes();
        state.extend(reference::all(&self.wants, &anew.memory.lookup));
        for (owner, entries) in self.chain.names().zip(&anew.memory.states) {
            state.extend(entries.entries().map(|(key, value)| StateChange {
                owner: owner.clone(),
                key: key.into(),
                value: Some(value.clone()),
            }));
        }
        let mut newest = self.differing(anew.newest)?;
        newest.sort_by_key(|(place, _)| *place);
        messages.extend(newest.into_iter().map(|(_, message)| message));
        let count = messages.len() as u64;
        for letter in anew.unwritten.into_iter().flatten() {
            context.write_letter(letter)?;
        }
        let commit = Commit {
            pipeline: context.name.clone(),
            after: former.map(|_| self.live.committed()),
            cursor,
            reset: true,
            state,
            messages,
            plugins: self.chain.versions(),
        };
        context.crash.point();
        context.handle.block_on(context.journal.commit(commit))?;
        context.crash.point();
        self.chain.renew();
        self.live.begin_anew(anew.memory, meta, cursor);
        self.feed = Feed::new(&context.journal, &context.handle, cursor);
        *self.asked = None;
        context.board.write(|health| {
            (health.cursor, health.rebuild_asked) = (cursor, false);
            health.batches += 1;
            health.messages += count;
        });
        self.tell_versions();
        Ok(())
    }
}

fn by_size(rows: impl Iterator<Item = Item>, context: &Context) -> Vec<Vec<Item>> {
    let size = context.size();
    let mut pieces: Vec<Vec<Item>> = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let weight = row.event.weight();
        match pieces.last_mut() {
            Some(piece) if piece.len() < size.events && bytes + weight <= size.bytes => {
                piece.push(row);
                bytes += weight;
            }
            _ => {
                pieces.push(vec![row]);
                bytes = weight;
            }
        }
    }
    pieces
}
