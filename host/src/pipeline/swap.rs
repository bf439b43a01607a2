//! A version of a plugin takes over: between two batches, at a place that the journal knows. What
//! makes it true is a commit of the pipeline; controls before it tell people and tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ahead::PAGE;
use super::chain::Chain;
use super::context::Context;
use super::failure::Stop;
use super::meta::{Active, Former, Meta, Pending};
use super::wants::Wants;
use super::worker::take_memory;
use crate::event::{Micros, Name, Number};
use crate::journal::{Commit, Control, LetterEnd, StateChange, Swap, SwapReason};
use crate::sandbox::{By, Fault, Level, Plugin};
use crate::store::VersionId;

/// Where the pipeline stands when a swap is wished for.
pub(super) struct Place<'a> {
    pub(super) meta: &'a Meta,
    /// The cursor as the journal knows it.
    pub(super) committed: Number,
    /// Everything up to here is done; the version takes over behind it.
    pub(super) cursor: Number,
}

/// How a version takes over.
enum How {
    /// With the state as it is.
    GoOn,
    /// With the state as it is, which the version brings over from this layout.
    Migrate(u32),
    /// With the state of a checkpoint, and what came since.
    From(Number),
    /// With a state of its own, made anew.
    Anew,
}

/// The chain in which a version has taken its place, and what it wants.
pub(super) fn with(context: &Context, meta: &Meta, plugin: &Name, id: &VersionId) -> Result<(Chain, Wants), Stop> {
    with_beside(context, meta, &Wished::new(), plugin, id)
}

/// By plugin: the version that is wished for, where there is a wish that was not heeded yet.
pub(super) type Wished = BTreeMap<Name, VersionId>;

/// The same, with other plugins in the versions that are wished for.
fn with_beside(
    context: &Context,
    meta: &Meta,
    beside: &Wished,
    plugin: &Name,
    id: &VersionId,
) -> Result<(Chain, Wants), Stop> {
    let mut ids: BTreeMap<Name, VersionId> =
        meta.versions.iter().map(|(name, active)| (name.clone(), active.id.clone())).collect();
    ids.extend(beside.iter().map(|(name, id)| (name.clone(), id.clone())));
    ids.insert(plugin.clone(), id.clone());
    Chain::load(context, &ids)
}

/// Whether it is another plugin that stands in the way.
fn is_of_another(loaded: &Result<(Chain, Wants), Stop>, plugin: &Name) -> bool {
    matches!(loaded, Err(Stop::Broken { plugin: Some(other), .. }) if other != plugin)
}

/// Heeds a wish: the version takes over, or waits for a state of its own, or is refused; all of it is
/// committed, with the cursor at the place. The pipeline then begins anew from what is committed.
///
/// # Errors
/// The journal's; a version that can't take over is none.
pub(super) fn heed(context: &Context, place: &Place<'_>, swap: &Swap, asked: Number) -> Result<(), Stop> {
    heed_beside(context, place, swap, asked, None).map(|_| ())
}

/// The same, for a pipeline that stands still, where `wished` may mend other plugins. False: one of those can't
/// even be loaded, so the wish waits: two that are broken must not keep each other from being mended.
///
/// # Errors
/// As [`heed`].
pub(super) fn heed_beside(
    context: &Context,
    place: &Place<'_>,
    swap: &Swap,
    asked: Number,
    wished: Option<&Wished>,
) -> Result<bool, Stop> {
    let mut meta = place.meta.clone();
    let done = |()| true;
    let Some(active) = meta.versions.get_mut(&swap.plugin) else {
        return refuse(context, place, meta, swap, "the pipeline does not have this plugin").map(done);
    };
    active.asked = active.asked.max(asked);
    let Ok(id) = VersionId::try_from(swap.id.clone()) else {
        return refuse(context, place, meta, swap, "its id can't be read").map(done);
    };
    if meta.pending.as_ref().is_some_and(|pending| pending.swap.plugin == swap.plugin) {
        meta.pending = None;
    }
    if meta.versions[&swap.plugin].id == id {
        return write(context, place, &meta).map(done);
    }
    let mut loaded = with(context, &meta, &swap.plugin, &id);
    if let Some(wished) = wished.filter(|_| is_of_another(&loaded, &swap.plugin)) {
        loaded = with_beside(context, &meta, wished, &swap.plugin, &id);
        if is_of_another(&loaded, &swap.plugin) {
            return Ok(false);
        }
    }
    match loaded {
        Ok((chain, wants)) => take_place(context, place, meta, swap, asked, chain, &wants),
        Err(Stop::Broken { reason, .. }) => refuse(context, place, meta, swap, &reason),
        Err(stop) => Err(stop),
    }
    .map(done)
}

/// How a version that can run takes over: at once, or with a state of its own.
fn take_place(
    context: &Context,
    place: &Place<'_>,
    mut meta: Meta,
    swap: &Swap,
    asked: Number,
    mut chain: Chain,
    wants: &Wants,
) -> Result<(), Stop> {
    let Some(plugin) = chain.plugin(&swap.plugin) else {
        return refuse(context, place, meta, swap, "the pipeline does not have this plugin");
    };
    let plugin = plugin.clone();
    let checkpoint = match how(context, place, &meta, wants, &plugin)? {
        How::GoOn => {
            let checkpoint = keep_state(context, swap)?;
            take_over(context, &mut meta, swap, &plugin, checkpoint, place.cursor)?;
            return write(context, place, &meta);
        }
        How::Migrate(from) => {
            let moved = match migrated(context, &mut chain, wants, &swap.plugin, from)? {
                Ok(moved) => moved,
                Err(fault) => {
                    let reason = format!("it can't bring over the state of layout {from}: {fault}");
                    return refuse(context, place, meta, swap, &reason);
                }
            };
            let checkpoint = keep_state(context, swap)?;
            take_over(context, &mut meta, swap, &plugin, checkpoint, place.cursor)?;
            return write_with(context, place, &meta, moved);
        }
        How::From(checkpoint) => Some(checkpoint),
        How::Anew => None,
    };
    // A state is made for one version at a time.
    if let Some(Pending { swap: other, .. }) = &meta.pending {
        if swap.why != SwapReason::Probation {
            let reason = format!("{} {} waits for its state; try again after that", other.plugin, other.version);
            return refuse(context, place, meta, swap, &reason);
        }
        tell_refused(context, other, &format!("{} has to be rolled back; deploy it again after that", swap.plugin))?;
    }
    meta.pending = Some(Pending { swap: swap.clone(), asked, checkpoint });
    write(context, place, &meta)
}

/// What the version makes of the state that is committed, as changes to it.
fn migrated(
    context: &Context,
    chain: &mut Chain,
    wants: &Wants,
    plugin: &Name,
    from: u32,
) -> Result<Result<Vec<StateChange>, Fault>, Stop> {
    let stored = context.handle.block_on(context.journal.pipeline(&context.name))?;
    let mut memory = take_memory(chain, wants, &mut stored.unwrap_or_default());
    if let Err(fault) = chain.migrate(plugin, from, &mut memory, &context.config) {
        return Ok(Err(fault));
    }
    let at = chain.names().position(|name| name == plugin);
    let changes = at.into_iter().flat_map(|at| memory.states[at].changes());
    let change = |(key, value): (&str, Option<&Arc<[u8]>>)| StateChange {
        owner: plugin.clone(),
        key: key.into(),
        value: value.cloned(),
    };
    Ok(Ok(changes.map(change).collect()))
}

/// Writes that the version serves from `cursor` on: into the meta, and into the journal for people.
pub(super) fn take_over(
    context: &Context,
    meta: &mut Meta,
    swap: &Swap,
    plugin: &Plugin,
    checkpoint: Number,
    cursor: Number,
) -> Result<(), Stop> {
    let Some(active) = meta.versions.get_mut(&swap.plugin) else { return Ok(()) };
    let settings = &context.config.plugins;
    let former = std::mem::replace(
        active,
        Active {
            probation_until: match swap.why {
                SwapReason::Deploy => context.probations.begin(&swap.plugin, plugin.id()),
                // What served before has nothing to prove.
                SwapReason::Rollback | SwapReason::Probation => Micros::default(),
            },
            former: Vec::new(),
            ..Active::of(plugin, active.asked)
        },
    );
    let left = former.version.clone();
    let mut known = former.former;
    let place = known.iter().position(|known| known.id == *plugin.id());
    let back = place.filter(|at| swap.why != SwapReason::Deploy && !known[*at].undone);
    known.iter_mut().skip(back.unwrap_or(usize::MAX)).for_each(|passed| passed.undone = true);
    active.former.extend(known.into_iter().filter(|known| known.id != *plugin.id()));
    let Active { id, version, layout, .. } = former;
    active.former.push(Former { id, version, layout, checkpoint, undone: back.is_some() });
    let surplus = active.former.len().saturating_sub(settings.keep_versions);
    active.former.drain(..surplus);
    tracing::info!(
        pipeline = %context.name, plugin = %swap.plugin, version = &*swap.version, former = &*left, by = &*swap.by,
        why = ?swap.why, %cursor, "a version takes over"
    );
    let text = format!("takes over from {left} ({})", swap.by);
    context.notes(&swap.plugin).say(By::Host, Level::Info, &swap.version, &text);
    context.control(Control::Swapped { swap: Box::new(swap.clone()), former: left, cursor })?;
    Ok(())
}

/// Keeps the state as it is, to come back to it. Returns the checkpoint's number.
pub(super) fn keep_state(context: &Context, swap: &Swap) -> Result<Number, Stop> {
    let reason = format!("before {} {}", swap.plugin, swap.version).into();
    Ok(context.control(Control::Checkpoint { pipeline: context.name.clone(), reason })?)
}

/// The wish is answered with no: the version that serves goes on.
pub(super) fn refuse(
    context: &Context,
    place: &Place<'_>,
    mut meta: Meta,
    swap: &Swap,
    reason: &str,
) -> Result<(), Stop> {
    tell_refused(context, swap, reason)?;
    if swap.why == SwapReason::Probation
        && let Some(active) = meta.versions.get_mut(&swap.plugin)
    {
        // There is nothing to go back to. From now on a fault costs an event: else each one would only ask
        // for the former version again, for as long as the probation lasts.
        active.probation_until = Micros::default();
    }
    write(context, place, &meta)
}

/// Tells people that a version does not take over, and why.
pub(super) fn tell_refused(context: &Context, swap: &Swap, reason: &str) -> Result<(), Stop> {
    tracing::error!(
        pipeline = %context.name, plugin = %swap.plugin, version = &*swap.version, reason,
        "a version can't take over; the former one goes on"
    );
    let text = format!("can't take over: {reason}");
    context.notes(&swap.plugin).say(By::Host, Level::Error, &swap.version, &text);
    if let Ok(id) = VersionId::try_from(swap.id.clone()) {
        context.library.refuse(&swap.plugin, &id, reason);
    }
    context.control(Control::SwapRefused { swap: Box::new(swap.clone()), reason: reason.into() })?;
    Ok(())
}

/// A version that failed within its probation gives its place back. False: there is no former one.
pub(super) fn roll_back(context: &Context, place: &Place<'_>, plugin: &Name, reason: &str) -> Result<bool, Stop> {
    let Some(active) = place.meta.versions.get(plugin) else { return Ok(false) };
    let Some(former) = active.former.last() else { return Ok(false) };
    let why = format!("failed within its probation: {reason}");
    tracing::error!(
        pipeline = %context.name, %plugin, version = &*active.version, former = &*former.version, reason,
        "a version failed within its probation and is rolled back"
    );
    context.library.refuse(plugin, &active.id, &why);
    let swap = Swap {
        pipeline: context.name.clone(),
        plugin: plugin.clone(),
        id: former.id.clone().into(),
        version: former.version.clone(),
        why: SwapReason::Probation,
        by: why.into(),
    };
    heed(context, place, &swap, active.asked)?;
    Ok(true)
}

fn how(context: &Context, place: &Place<'_>, meta: &Meta, wants: &Wants, plugin: &Plugin) -> Result<How, Stop> {
    let Some(active) = meta.versions.get(&plugin.manifest().name) else { return Ok(How::Anew) };
    let same_layout = active.layout == plugin.manifest().state_layout;
    if same_layout && wants.kept == meta.kept {
        return Ok(How::GoOn);
    }
    // A version that served before has left its state.
    let left = active.former.iter().rev().find(|former| former.id == *plugin.id());
    if let Some(left) = left
        && restorable(context, place, wants, plugin, left.checkpoint)?
    {
        return Ok(How::From(left.checkpoint));
    }
    if plugin.migrates(active.layout) && wants.kept == meta.kept && meta.rebuild.is_none() {
        return Ok(How::Migrate(active.layout));
    }
    Ok(How::Anew)
}

/// Whether the state of a checkpoint and the events since then give what the version would know now.
fn restorable(
    context: &Context,
    place: &Place<'_>,
    wants: &Wants,
    plugin: &Plugin,
    checkpoint: Number,
) -> Result<bool, Stop> {
    let stored = context.handle.block_on(context.journal.checkpoint(checkpoint))?;
    let Some(mut stored) = stored else { return Ok(false) };
    let Ok(then) = Meta::take(&mut stored) else { return Ok(false) };
    let others = place.meta.versions.iter().filter(|(name, _)| **name != plugin.manifest().name);
    let mut as_now =
        others.map(|(name, now)| then.versions.get(name).is_some_and(|before| before.layout == now.layout));
    // The same rows stood for the state, and nothing was lost or made anew since.
    Ok(then.kept == wants.kept
        && then.contained == place.meta.contained
        && then.remade == place.meta.remade
        && then.rebuild.is_none()
        && place.meta.rebuild.is_none()
        && as_now.all(|same| same)
        && stored.cursor >= context.journal.kept_after()
        && !tried_again(context, checkpoint)?)
}

/// Whether a dead letter was tried again since: its event, which may lie before, is not met again.
fn tried_again(context: &Context, mut after: Number) -> Result<bool, Stop> {
    loop {
        let page = context.handle.block_on(context.journal.controls(after, PAGE))?;
        let Some((last, _)) = page.last() else { return Ok(false) };
        after = *last;
        let replays = |control: &Control| matches!(control, Control::LetterClosed { pipeline, end: LetterEnd::Replayed, .. } if *pipeline == context.name);
        if page.iter().any(|(_, control)| replays(control)) {
            return Ok(true);
        }
    }
}

fn write(context: &Context, place: &Place<'_>, meta: &Meta) -> Result<(), Stop> {
    write_with(context, place, meta, Vec::new())
}

/// The same, with what else changes in the state.
fn write_with(context: &Context, place: &Place<'_>, meta: &Meta, mut state: Vec<StateChange>) -> Result<(), Stop> {
    state.extend(meta.changes());
    let commit = Commit {
        pipeline: context.name.clone(),
        after: Some(place.committed),
        cursor: place.cursor,
        state,
        ..Commit::default()
    };
    context.crash.point();
    context.handle.block_on(context.journal.commit(commit))?;
    context.crash.point();
    Ok(())
}
