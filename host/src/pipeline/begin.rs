//! How a pipeline takes up its work: from what is committed, with the versions that are committed, or,
//! if it is new, from the rows that are there.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::ahead::Ahead;
use super::chain::Chain;
use super::commit::Live;
use super::context::Context;
use super::failure::Stop;
use super::feed::Feed;
use super::first::First;
use super::health::Status;
use super::meta::{Meta, Paused, Rebuild};
use super::swap::{self, Place};
use super::wants::Wants;
use super::worker::{Asked, Worker, take_memory};
use crate::event::{Name, Number};
use crate::journal::{Commit, Control, PipelineState, StateChange, Swap};
use crate::store::VersionId;

/// How often a pipeline that was paused looks whether it may go on, where nobody rings.
const PAUSE_LOOK: std::time::Duration = std::time::Duration::from_secs(1);

impl<'a> Worker<'a> {
    /// Takes up what is committed; a new pipeline waits for the rows that are there, if it needs any.
    /// `stuck`: it stood still, so what is wished for ahead of its cursor counts now.
    pub(super) fn begin(context: &'a Context, asked: &'a mut Option<Asked>, stuck: bool) -> Result<Self, Stop> {
        let stored = context.handle.block_on(context.journal.pipeline(&context.name))?;
        let Some(mut stored) = stored else {
            return Self::begin_new(context, asked);
        };
        let meta = Meta::take(&mut stored).map_err(|reason| {
            let remedy = "run the relevo version that wrote it, or restore a backup of the data folder";
            Stop::Broken { plugin: None, reason: format!("pipeline {}: {reason}; {remedy}", context.name) }
        })?;
        context.probations.take_up(&meta);
        context.board.write(|health| health.cursor = stored.cursor);
        if let Some(paused) = meta.paused.clone() {
            return Err(wait_while_paused(context, meta, stored.cursor, &paused));
        }
        if stuck {
            look_ahead(context, &meta, stored.cursor)?;
        }
        let versions: BTreeMap<Name, VersionId> =
            meta.versions.iter().map(|(name, active)| (name.clone(), active.id.clone())).collect();
        let next = match &meta.pending {
            Some(pending) => Some(next(context, &meta, stored.cursor, pending)?),
            None => None,
        };
        let first = First::of(context, &versions)?;
        let (chain, wants, next) = match (first.load(context, &versions), next) {
            (Ok((chain, wants)), next) => (chain, wants, next),
            // The version that serves can't even run: the one that waits stands in its place.
            (Err(Stop::Broken { .. }), Some((chain, wants))) => (chain, wants, None),
            (Err(stop), _) => return Err(stop),
        };
        let has_next = next.is_some();
        let memory = take_memory(&chain, &wants, &mut stored);
        let feed = Feed::new(&context.journal, &context.handle, stored.cursor);
        let live = Live::new(memory, meta, stored.cursor);
        let mut worker = Self { context, chain, wants, next, live, feed, asked };
        worker.live.given_up = worker.given_up(stored.cursor)?;
        worker.know_versions(&first)?;
        worker.close_replayed()?;
        worker.plan_checkpoint()?;
        if let Some(pending) = worker.live.meta.pending.clone() {
            worker.pending(&pending, has_next)?;
        } else {
            worker.compare_kept(&stored)?;
        }
        worker.tell_versions();
        if let Some(rebuild) = worker.live.meta.rebuild.clone() {
            worker.ask(false)?;
            if rebuild.stands {
                worker.stand()?;
            }
        }
        // It has asked, or needs none.
        context.keep_snapshots(None)?;
        Ok(worker)
    }

    fn begin_new(context: &'a Context, asked: &'a mut Option<Asked>) -> Result<Self, Stop> {
        let (none, head) = (BTreeMap::new(), context.journal.head());
        let first = First::of(context, &none)?;
        let (chain, wants) = first.load(context, &none)?;
        let memory = take_memory(&chain, &wants, &mut PipelineState::default());
        let versions = first.versions(&chain);
        let meta = Meta { kept: wants.kept.clone(), versions: versions.clone(), ..Meta::default() };
        let feed = Feed::new(&context.journal, &context.handle, head);
        let needs_rows = !wants.kept.tables().is_empty();
        if needs_rows {
            let live = Live::new(memory, Meta { versions, ..Meta::default() }, Number::ZERO);
            let mut worker = Self { context, chain, wants, next: None, live, feed, asked };
            worker.tell_versions();
            worker.ask(false)?;
            worker.wait_for_rows(None)?;
            worker.plan_checkpoint()?;
            return Ok(worker);
        }
        context.keep_snapshots(None)?;
        // With an entry of its own, so that the beginning is saved at once.
        let (pipeline, state) = (context.name.clone(), meta.changes());
        let commit = Commit { pipeline, after: None, cursor: head, state, ..Commit::default() };
        context.handle.block_on(context.journal.commit(commit))?;
        let live = Live::new(memory, meta, head);
        context.board.write(|health| health.cursor = head);
        let mut worker = Self { context, chain, wants, next: None, live, feed, asked };
        worker.tell_versions();
        worker.plan_checkpoint()?;
        Ok(worker)
    }

    /// Plugins that serve for the first time are written down.
    fn know_versions(&mut self, first: &First) -> Result<(), Stop> {
        let first = first.versions(&self.chain);
        let versions = &mut self.live.meta.versions;
        let known = versions.len();
        versions.retain(|name, _| first.contains_key(name));
        let mut changed = versions.len() != known;
        for (name, active) in first {
            if let Entry::Vacant(place) = versions.entry(name) {
                place.insert(active);
                changed = true;
            }
        }
        if changed {
            let changes = self.live.meta.changes();
            self.live.write(self.context, self.live.cursor(), changes)?;
        }
        Ok(())
    }

    pub(super) fn tell_versions(&self) {
        let versions = self.chain.versions();
        let meta = &self.live.meta;
        let answered = meta.versions.iter().map(|(name, active)| (name.clone(), active.asked)).collect();
        self.context.board.write(|health| {
            health.answered = answered;
            health.versions = versions.into_iter().map(|version| (version.plugin, version.version)).collect();
            health.pending = meta.pending.as_ref().map(|pending| pending.swap.version.clone());
        });
    }

    /// A state that was not kept lately is kept soon.
    fn plan_checkpoint(&mut self) -> Result<(), Stop> {
        let (context, every) = (self.context, self.context.config.plugins.checkpoint_every);
        if self.chain.plugins().next().is_none() {
            return Ok(());
        }
        let kept = context.handle.block_on(context.journal.checkpoints(&context.name))?;
        match kept.last().filter(|newest| context.journal.now() < newest.at.plus(every)) {
            Some(_) => self.live.checkpoint_taken(every),
            None => self.live.checkpoint_soon(),
        }
        Ok(())
    }

    /// If the manifests ask for other rows or columns than are kept, the state is made anew.
    fn compare_kept(&mut self, stored: &PipelineState) -> Result<(), Stop> {
        let kept = &self.wants.kept;
        if self.live.meta.kept == *kept {
            return Ok(());
        }
        if kept.tables().is_empty() {
            // Nothing of it is wanted any more.
            let tables = stored.state.iter().filter(|(owner, _)| owner.starts_with('@'));
            let mut changes: Vec<StateChange> = tables
                .flat_map(|(owner, rows)| rows.keys().map(|key| (owner.clone(), key.clone())))
                .map(|(owner, key)| StateChange { owner, key, value: None })
                .collect();
            self.live.meta.kept = kept.clone();
            self.live.meta.contained = BTreeMap::new();
            self.live.meta.rebuild = None;
            changes.extend(self.live.meta.changes());
            return self.live.write(self.context, self.live.cursor(), changes);
        }
        let reason = "the manifests ask for other rows or columns than are kept";
        self.want_rebuild(reason, false, self.live.cursor())
    }

    /// Remembers that the state has to be made anew.
    pub(super) fn want_rebuild(&mut self, reason: &str, stands: bool, cursor: Number) -> Result<(), Stop> {
        tracing::warn!(pipeline = %self.context.name, reason, "the state will be made anew from the source's rows");
        let stands = stands || self.live.meta.rebuild.as_ref().is_some_and(|rebuild| rebuild.stands);
        self.live.meta.rebuild = Some(Rebuild { reason: reason.into(), stands });
        let change = self.live.meta.rebuild_change();
        self.live.write(self.context, cursor, vec![change])
    }

    /// Asks the source for its rows. `again`: even if it was asked before.
    pub(super) fn ask(&mut self, again: bool) -> Result<(), Stop> {
        let wants = self.next.as_ref().map_or(&self.wants, |(_, wants)| wants);
        let tables: Vec<Name> = wants.kept.tables().into_iter().collect();
        let Some(source) = wants.source.clone() else { return Ok(()) };
        self.context.board.write(|health| health.rebuild_asked = true);
        if !again && self.asked.as_ref().is_some_and(|asked| asked.tables == tables) {
            return Ok(());
        }
        self.context.keep_snapshots(Some(&source))?;
        let pipeline = self.context.name.clone();
        let number = self.context.control(Control::SnapshotWanted {
            pipeline,
            source: source.clone(),
            tables: tables.clone(),
        })?;
        *self.asked = Some(Asked { number, source, tables });
        Ok(())
    }

    /// A version waits for a state of its own.
    fn pending(&mut self, pending: &super::meta::Pending, has_next: bool) -> Result<(), Stop> {
        let wants = self.next.as_ref().map_or(&self.wants, |(_, wants)| wants);
        let needs_rows = wants.source.is_some();
        if let Some(checkpoint) = pending.checkpoint {
            self.take_next();
            if self.restore(checkpoint)? {
                return Ok(());
            }
            // What the checkpoint can't tell, rows do.
            let mut meta = self.live.meta.clone();
            meta.pending = Some(super::meta::Pending { checkpoint: None, ..pending.clone() });
            self.live.write(self.context, self.live.cursor(), meta.changes())?;
            return Err(Stop::Again);
        }
        if !needs_rows {
            self.take_next();
            return self.reset(self.live.cursor());
        }
        self.tell_versions();
        self.ask(false)?;
        if has_next { Ok(()) } else { self.stand() }
    }
}

/// The chain with the version that waits; one that can't run any more is refused.
fn next(
    context: &Context,
    meta: &Meta,
    cursor: Number,
    pending: &super::meta::Pending,
) -> Result<(Chain, Wants), Stop> {
    let id = VersionId::try_from(pending.swap.id.clone());
    let id = id.map_err(|reason| Stop::Broken { plugin: None, reason: reason.into() })?;
    match swap::with(context, meta, &pending.swap.plugin, &id) {
        Err(Stop::Broken { reason, .. }) => {
            let meta = Meta { pending: None, ..meta.clone() };
            let place = Place { meta: &meta, committed: cursor, cursor };
            swap::refuse(context, &place, meta.clone(), &pending.swap, &reason)?;
            Err(Stop::Again)
        }
        loaded => loaded,
    }
}

/// Heeds the newest wish for a version that lies ahead and can be heeded, at the cursor; remembers what may be let go.
fn look_ahead(context: &Context, meta: &Meta, cursor: Number) -> Result<(), Stop> {
    let ahead = Ahead::of(context, cursor)?;
    context.let_go(ahead.skips);
    // By plugin: its newest wish.
    let mut newest: BTreeMap<&Name, (Number, &Swap)> = BTreeMap::new();
    for (asked, swap) in &ahead.swaps {
        if meta.versions.get(&swap.plugin).is_some_and(|active| active.asked < *asked) {
            newest.insert(&swap.plugin, (*asked, swap));
        }
    }
    let id = |swap: &Swap| VersionId::try_from(swap.id.clone()).ok();
    let wished = newest.iter().filter_map(|(name, (_, swap))| Some(((*name).clone(), id(swap)?))).collect();
    let mut news: Vec<(Number, &Swap)> = newest.into_values().collect();
    news.sort_by_key(|(asked, _)| std::cmp::Reverse(*asked));
    for (asked, swap) in news {
        let place = Place { meta, committed: cursor, cursor };
        if swap::heed_beside(context, &place, swap, asked, Some(&wished))? {
            context.breaker.good();
            return Err(Stop::Again);
        }
    }
    Ok(())
}

/// Stands still until somebody wishes that the pipeline goes on.
fn wait_while_paused(context: &Context, mut meta: Meta, cursor: Number, paused: &Paused) -> Stop {
    tracing::info!(pipeline = %context.name, by = &*paused.by, %cursor, "paused");
    context.board.status(Status::Paused { by: paused.by.clone() });
    let waited = || -> Result<(), Stop> {
        let mut ahead = Ahead::of(context, paused.asked)?;
        while ahead.resumed.is_none() {
            context.rest(PAUSE_LOOK)?;
            ahead.look(context)?;
        }
        meta.paused = None;
        let commit = Commit {
            pipeline: context.name.clone(),
            after: Some(cursor),
            cursor,
            state: meta.changes(),
            ..Commit::default()
        };
        context.handle.block_on(context.journal.commit(commit))?;
        Ok(())
    };
    let mut waited = waited;
    match waited() {
        Ok(()) => Stop::Again,
        Err(stop) => stop,
    }
}
