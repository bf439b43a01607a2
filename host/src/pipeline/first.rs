//! Which versions a pipeline begins with where it meets plugins for the first time: those that were deployed
//! while it stood still for want of them, else what the plugins folder holds. `begin` asks.

use std::collections::BTreeMap;

use super::ahead::Ahead;
use super::chain::Chain;
use super::context::Context;
use super::failure::Stop;
use super::meta::Active;
use super::swap;
use super::wants::Wants;
use crate::event::{Name, Number};
use crate::journal::Swap;
use crate::store::VersionId;

/// By plugin that never served here: the newest wish for a version of it.
pub(super) struct First(BTreeMap<Name, (Number, Swap)>);

impl First {
    /// Looks for wishes for the plugins that are not among `known`.
    pub(super) fn of(context: &Context, known: &BTreeMap<Name, VersionId>) -> Result<Self, Stop> {
        if context.plugins.iter().all(|plugin| known.contains_key(plugin)) {
            return Ok(Self(BTreeMap::new()));
        }
        let ahead = Ahead::of(context, context.journal.kept_after())?;
        let newest = ahead.swaps.into_iter().map(|(asked, swap)| (swap.plugin.clone(), (asked, swap)));
        let new = |plugin: &Name| context.plugins.contains(plugin) && !known.contains_key(plugin);
        Ok(Self(newest.filter(|(plugin, _)| new(plugin)).collect()))
    }

    /// Loads a pipeline's plugins, those that served in the versions that are `known`.
    ///
    /// # Errors
    /// One can't run. If it was wished for it is refused, and the next try is without it.
    pub(super) fn load(&self, context: &Context, known: &BTreeMap<Name, VersionId>) -> Result<(Chain, Wants), Stop> {
        let mut versions = known.clone();
        versions.extend(self.0.iter().filter_map(|(plugin, (_, swap))| {
            let id = VersionId::try_from(swap.id.clone()).ok()?;
            // One that can't run, or is gone, was not the last word.
            let about = context.library.versions().about(plugin, &id)?;
            about.refused.is_none().then(|| (plugin.clone(), id))
        }));
        let loaded = Chain::load(context, &versions);
        if let Err(Stop::Broken { plugin: Some(plugin), reason }) = &loaded
            && versions.contains_key(plugin)
            && let Some((asked, swap)) = self.0.get(plugin)
        {
            swap::tell_refused(context, swap, reason)?;
            context.board.write(|health| {
                health.answered.insert(plugin.clone(), *asked);
            });
        }
        loaded
    }

    /// What is written down of a chain's plugins that begin without a former version.
    pub(super) fn versions(&self, chain: &Chain) -> BTreeMap<Name, Active> {
        let asked = |plugin: &Name| self.0.get(plugin).map_or(Number::ZERO, |(asked, _)| *asked);
        let active = |plugin: &crate::sandbox::Plugin| {
            let name = plugin.manifest().name.clone();
            (name.clone(), Active::of(plugin, asked(&name)))
        };
        chain.plugins().map(active).collect()
    }
}
