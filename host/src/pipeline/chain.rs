//! A pipeline's plugins in order: a batch goes through all of them, or leaves no trace.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::event::Name;
use crate::journal::{PipelineState, PluginVersion};
use crate::message::Message;
use crate::sandbox::{BatchEvent, Fault, Instance, Lookup, Notes, OnFault, Output, Patch, Plugin, State};
use crate::store::VersionId;

use super::batch::Item;
use super::builtin;
use super::context::Context;
use super::failure::{Blame, Stop};
use super::outputs::{self, Made};
use super::patch;
use super::wants::{Mask, Wants};

/// One plugin of the chain.
struct Stage {
    plugin: Plugin,
    /// None: the next batch makes one.
    instance: Option<Instance>,
    /// How many batches the instance took.
    batches: u32,
    notes: Notes,
}

pub(super) struct Chain {
    pipeline: Name,
    /// Empty: the built-in pipeline.
    stages: Vec<Stage>,
    replace_after: u32,
}

/// What the plugins know at one place in the journal.
pub(super) struct Memory {
    /// One for each plugin.
    pub(super) states: Vec<State>,
    pub(super) lookup: Lookup,
}

impl Chain {
    /// Loads the plugins, in these versions or, where none is named, the folder's, and makes their first
    /// instances, so that one which can't run shows at once.
    pub(super) fn load(context: &Context, versions: &BTreeMap<Name, VersionId>) -> Result<(Self, Wants), Stop> {
        let config = &context.config;
        let mut stages = Vec::with_capacity(context.plugins.len());
        for name in &context.plugins {
            let broken = |reason: String| Stop::Broken { plugin: Some(name.clone()), reason };
            let plugin = match versions.get(name) {
                Some(id) => context.library.version(name, id),
                None => context.library.first(name),
            };
            let plugin = plugin.map_err(broken)?;
            let notes = context.notes(name);
            let instance = plugin.instantiate_noting(&context.name, &notes).map_err(|fault| {
                notes.fault(fault.name(), &plugin.version().version, &fault.to_string());
                broken(fault.to_string())
            })?;
            stages.push(Stage { plugin, instance: Some(instance), batches: 0, notes });
        }
        let replace_after = config.plugins.replace_instance_after;
        let chain = Self { pipeline: context.name.clone(), stages, replace_after };
        let wants = if chain.stages.is_empty() {
            Wants::publications()
        } else {
            let manifests = chain.stages.iter().map(|stage| stage.plugin.manifest());
            Wants::new(manifests, config).map_err(|reason| Stop::Broken { plugin: None, reason })?
        };
        Ok((chain, wants))
    }

    /// The plugins, in order.
    pub(super) fn plugins(&self) -> impl Iterator<Item = &Plugin> {
        self.stages.iter().map(|stage| &stage.plugin)
    }

    /// What happens to events that the plugin can't handle.
    pub(super) fn on_fault(&self, name: &Name) -> OnFault {
        self.plugin(name).map_or(OnFault::Skip, |plugin| plugin.manifest().on_fault)
    }

    /// The plugin's bit among those who want an event.
    pub(super) fn bit(&self, name: &Name) -> Mask {
        self.plugins().position(|plugin| plugin.manifest().name == *name).map_or(0, |at| 1 << at)
    }

    /// The names of the plugins in a mask, in order.
    pub(super) fn named(&self, mask: Mask) -> impl Iterator<Item = &Name> {
        self.names().enumerate().filter(move |(at, _)| mask & (1 << at) != 0).map(|(_, name)| name)
    }

    /// The plugins that lack a letter's event because of it.
    pub(super) fn lacking(&self, plugin: &Name, lacking: &[Name]) -> Mask {
        if !lacking.is_empty() {
            return lacking.iter().fold(0, |mask, name| mask | self.bit(name));
        }
        // A letter of before that was written down: all, unless the policy is what it was then.
        if self.on_fault(plugin) == OnFault::Bypass { self.bit(plugin) } else { Mask::MAX }
    }

    pub(super) fn plugin(&self, name: &Name) -> Option<&Plugin> {
        self.plugins().find(|plugin| plugin.manifest().name == *name)
    }

    /// What the plugins know according to a stored state.
    pub(super) fn memory(&self, stored: &mut PipelineState, lookup: Lookup) -> Memory {
        let state = |stage: &Stage| {
            let manifest = stage.plugin.manifest();
            let entries = stored.state.remove(&manifest.name).unwrap_or_default();
            State::new(entries, manifest.limits.state_bytes)
        };
        Memory { states: self.stages.iter().map(state).collect(), lookup }
    }

    /// Has a plugin bring over the state that its version with the layout `from` left. What it changed is in
    /// the plugin's state, to be kept or discarded.
    ///
    /// # Errors
    /// Why it can't.
    pub(super) fn migrate(
        &mut self,
        name: &Name,
        from: u32,
        memory: &mut Memory,
        config: &Config,
    ) -> Result<(), Fault> {
        let Some(at) = self.names().position(|plugin| plugin == name) else { return Ok(()) };
        let (stage, state) = (&mut self.stages[at], &mut memory.states[at]);
        let instance = match stage.instance.take() {
            Some(fresh) if stage.batches == 0 => fresh,
            _ => stage.plugin.instantiate_noting(&self.pipeline, &stage.notes)?,
        };
        instance.migrate(from, state, &memory.lookup, config.plugins.migration_cpu).inspect_err(|fault| {
            state.discard();
            stage.notes.fault(fault.name(), &stage.plugin.version().version, &format!("its migration {fault}"));
        })
    }

    /// The plugins' names, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.stages.iter().map(|stage| &stage.plugin.manifest().name)
    }

    pub(super) fn versions(&self) -> Vec<PluginVersion> {
        self.stages.iter().map(|stage| stage.plugin.version().clone()).collect()
    }

    /// Runs a batch. What it changed is in the states, to be kept or discarded.
    pub(super) fn run(
        &mut self,
        items: &[Item],
        rebuild: bool,
        memory: &mut Memory,
        config: &Config,
    ) -> Result<Vec<Message>, Blame> {
        if self.stages.is_empty() {
            return builtin::publish(&self.pipeline, config, items);
        }
        let result = self.run_stages(items, rebuild, memory, config);
        if result.is_err() {
            self.discard(memory);
        }
        result
    }

    /// Takes back a batch that ran and was not committed. All instances go with it: those that
    /// had no fault may remember what now never happened.
    pub(super) fn discard(&mut self, memory: &mut Memory) {
        memory.states.iter_mut().for_each(State::discard);
        for stage in &mut self.stages {
            stage.instance = None;
        }
    }

    /// Forgets what the instances remember: their state is not what it was.
    pub(super) fn renew(&mut self) {
        for stage in &mut self.stages {
            stage.instance = None;
        }
    }

    fn run_stages(
        &mut self,
        items: &[Item],
        rebuild: bool,
        memory: &mut Memory,
        config: &Config,
    ) -> Result<Vec<Message>, Blame> {
        // The rows as the enrichers changed them, and whom they dropped.
        let mut rows: Vec<Option<Arc<str>>> = vec![None; items.len()];
        let mut dropped = vec![false; items.len()];
        let mut made = Vec::new();
        let (pipeline, replace_after) = (&self.pipeline, self.replace_after);
        for (at, stage) in self.stages.iter_mut().enumerate() {
            let wanted: Vec<usize> =
                (0..items.len()).filter(|&item| items[item].wanted & (1 << at) != 0 && !dropped[item]).collect();
            if wanted.is_empty() {
                continue;
            }
            let events: Vec<BatchEvent> = wanted
                .iter()
                .map(|&item| BatchEvent { event: items[item].event.clone(), after: rows[item].clone(), rebuild })
                .collect();
            let output = stage.call(pipeline, replace_after, &events, &mut memory.states[at], &memory.lookup);
            let manifest = stage.plugin.manifest();
            let blame = |fault: Fault, item: Option<usize>| Blame { plugin: Some(manifest.name.clone()), fault, item };
            match output.map_err(|fault| {
                let item = match &fault {
                    Fault::Poison { event, .. } => wanted.get(*event).copied(),
                    _ => None,
                };
                blame(fault, item)
            })? {
                Output::Messages(drafts) => {
                    made.extend(drafts.into_iter().map(|draft| Made {
                        item: wanted[draft.event],
                        by: manifest,
                        draft,
                    }));
                }
                Output::Patches(patches) => {
                    for Patch { event, drop, body } in patches {
                        let item = wanted[event];
                        dropped[item] |= drop;
                        let Some(body) = body else { continue };
                        let Some(row) = rows[item].as_deref().or_else(|| items[item].event.after()) else { continue };
                        let patched = patch::merge(row, &body)
                            .map_err(|e| blame(Fault::BadOutput(format!("a patch: {e}")), Some(item)))?;
                        rows[item] = Some(patched.into());
                    }
                }
            }
        }
        outputs::messages(pipeline, config, items, made)
    }
}

impl Stage {
    fn call(
        &mut self,
        pipeline: &Name,
        replace_after: u32,
        events: &[BatchEvent],
        state: &mut State,
        lookup: &Lookup,
    ) -> Result<Output, Fault> {
        let mut instance = match self.instance.take() {
            Some(instance) if self.batches < replace_after.max(1) => instance,
            _ => {
                self.batches = 0;
                self.plugin.instantiate_noting(pipeline, &self.notes)?
            }
        };
        let output = instance.call(events, state, lookup)?;
        self.batches += 1;
        self.instance = Some(instance);
        Ok(output)
    }
}
