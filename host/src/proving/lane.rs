//! Runs batches through one plugin as a pipeline does, but for the journal: state is kept or undone, a
//! refused event is left out, and what came out can be compared.

use std::time::Duration;

use crate::event::{Name, Number};
use crate::sandbox::{BatchEvent, Fault, Instance, Lookup, Output, Plugin, State, thread_cpu_time};

/// One thing that came out, in a form that can be compared and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    /// The event that it comes from.
    pub(super) event: Number,
    /// Channel and key; empty for a patch.
    pub(super) place: String,
    pub(super) what: String,
}

/// The most that a batch, or the instance, took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) cpu: Duration,
    pub(super) memory: u64,
    pub(super) output_bytes: u64,
    pub(super) messages: usize,
    pub(super) state_bytes: u64,
}

/// See the module.
pub(super) struct Lane<'p> {
    plugin: &'p Plugin,
    pipeline: Name,
    instance: Option<Instance>,
    pub(super) state: State,
    lookup: Lookup,
    /// Events that the plugin called poison, with its reason.
    pub(super) refused: Vec<(Number, String)>,
    pub(super) usage: Usage,
}

impl<'p> Lane<'p> {
    pub(super) fn new(plugin: &'p Plugin, lookup: Lookup) -> Self {
        let state = State::new(Default::default(), plugin.manifest().limits.state_bytes);
        let pipeline = "check".into();
        Self { plugin, pipeline, instance: None, state, lookup, refused: vec![], usage: Usage::default() }
    }

    /// The next batch meets a fresh instance.
    pub(super) fn replace(&mut self) {
        self.instance = None;
    }

    /// Runs a batch; events that the plugin calls poison are left out, as dead letters are.
    pub(super) fn run(&mut self, events: &[BatchEvent]) -> Result<Vec<Made>, Fault> {
        let mut rest = events.to_vec();
        loop {
            match self.once(&rest, None) {
                Err(Fault::Poison { event, reason }) if event < rest.len() => {
                    let gone = rest.remove(event);
                    self.refused.push((gone.event.number, reason));
                    if rest.is_empty() {
                        return Ok(vec![]);
                    }
                }
                other => return other,
            }
        }
    }

    /// Runs a batch as it is; see [`Instance::probe`].
    pub(super) fn once(&mut self, events: &[BatchEvent], disguise: Option<(u8, u8)>) -> Result<Vec<Made>, Fault> {
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => self.plugin.instantiate(&self.pipeline)?,
        };
        let began = thread_cpu_time();
        let result = instance.probe(events, disguise, &mut self.state, &self.lookup);
        self.usage.cpu = self.usage.cpu.max(thread_cpu_time().saturating_sub(began));
        self.usage.memory = self.usage.memory.max(instance.memory());
        self.usage.state_bytes = self.usage.state_bytes.max(self.state.bytes());
        let made = result.and_then(|output| self.made(events, output));
        match &made {
            Ok(_) => {
                self.state.keep();
                self.instance = Some(instance);
            }
            Err(_) => self.state.discard(),
        }
        made
    }

    fn made(&mut self, events: &[BatchEvent], output: Output) -> Result<Vec<Made>, Fault> {
        let number = |event: usize| events.get(event).map_or(Number::ZERO, |item| item.event.number);
        let mut bytes = 0;
        let made: Vec<Made> = match output {
            Output::Patches(patches) => {
                let show = |patch: crate::sandbox::Patch| {
                    let body = patch.body.as_deref().unwrap_or_default();
                    bytes += body.len();
                    let what = if patch.drop { format!("drop {body}") } else { body.to_owned() };
                    Made { event: number(patch.event), place: String::new(), what }
                };
                patches.into_iter().map(show).collect()
            }
            Output::Messages(drafts) => {
                let manifest = self.plugin.manifest();
                if let Some(stray) = drafts.iter().find(|draft| !manifest.may_send(&draft.channel)) {
                    return Err(Fault::Undeclared(stray.channel.clone()));
                }
                let show = |draft: crate::sandbox::Draft| {
                    let key = draft.key.as_deref().unwrap_or_default();
                    bytes += draft.data.len() + key.len() + draft.channel.as_str().len();
                    let gone = if draft.deleted { "deleted " } else { "" };
                    Made {
                        event: number(draft.event),
                        place: if key.is_empty() {
                            draft.channel.to_string()
                        } else {
                            format!("{} {key}", draft.channel)
                        },
                        what: format!("{gone}{} {} {}", draft.kind, draft.event_type, draft.data),
                    }
                };
                drafts.into_iter().map(show).collect()
            }
        };
        self.usage.messages = self.usage.messages.max(made.len());
        self.usage.output_bytes = self.usage.output_bytes.max(bytes as u64);
        Ok(made)
    }
}

impl Usage {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.max(other.cpu),
            memory: self.memory.max(other.memory),
            output_bytes: self.output_bytes.max(other.output_bytes),
            messages: self.messages.max(other.messages),
            state_bytes: self.state_bytes.max(other.state_bytes),
        }
    }
}

/// What an author can do about a fault.
pub(super) fn advice(fault: &Fault) -> &'static str {
    match fault {
        Fault::Trap(_) => {
            "the batch would be tried again, then the event becomes what the manifest's on_fault says (without it: a dead letter); answer with an error instead, like `event.after().text(\"name\")?`, and it does so at once, with your reason"
        }
        Fault::Cpu { .. } => "do less for each event, or ask for more with limits.cpu in the manifest",
        Fault::Memory { .. } => "keep less in memory, or ask for more with limits.memory in the manifest",
        Fault::Output { .. } => {
            "send less for each batch, or ask for more with limits.output_bytes and limits.output_messages"
        }
        Fault::State { .. } => {
            "keep less in state: shorter keys (1 KiB), smaller values (256 KiB), old entries deleted"
        }
        Fault::Config(_) => "the manifest's [config] has to be one that `init` accepts",
        Fault::Poison { .. } => "the event would become a dead letter",
        Fault::Transient(_) => "the host would try again and meet the same: say `poison` where another try can't help",
        Fault::Fatal(_) => "the pipeline would stand still; say `poison` where only the event is at fault",
        Fault::Init(_) => "the plugin has to start with the manifest's [config]",
        Fault::Undeclared(_) => "add the channel to `channels` in the manifest, or send to one that is there",
        Fault::BadOutput(_) => "keep to wit/relevo.wit and to what the manifest asks for",
    }
}
