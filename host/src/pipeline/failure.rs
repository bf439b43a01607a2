//! What happens when a batch fails: again on a fresh instance, then halves until the event that is
//! to blame stands alone, then a dead letter, and on without it.

use crate::event::{Event, Name, Number};
use crate::journal::{Control, DeadLetter, JournalError, StateChange};
use crate::message::Message;
use crate::sandbox::{Fault, OnFault};

use super::batch::Item;
use super::chain::{Chain, Memory};
use super::context::Context;

/// Why a batch failed, and who did it.
#[derive(Debug)]
pub(super) struct Blame {
    /// None: the host itself.
    pub(super) plugin: Option<Name>,
    pub(super) fault: Fault,
    /// The event, where it is known: its index in the batch.
    pub(super) item: Option<usize>,
}

/// Why a pipeline's loop ends.
#[derive(Debug)]
pub(super) enum Stop {
    /// Somebody asked for it, or the journal is closed.
    Quiet,
    /// Another process commits for this pipeline: it must not go on.
    Conflict(String),
    /// What is committed is not what it was: the pipeline begins anew from there, at once.
    Again,
    /// The journal can't do what it should: nobody's plugin is to blame. The pipeline begins anew after a while.
    Journal(JournalError),
    /// A plugin can't be loaded, started, or go on. The pipeline begins anew after a while.
    Broken { plugin: Option<Name>, reason: String },
}

impl Stop {
    /// Who is to blame, and why, for people.
    pub(super) fn told(self) -> (Option<Name>, String) {
        match self {
            Self::Quiet | Self::Again => (None, "the server is stopping".into()),
            Self::Conflict(reason) => (None, reason),
            Self::Journal(error) => (None, error.to_string()),
            Self::Broken { plugin, reason } => (plugin, reason),
        }
    }
}

impl From<JournalError> for Stop {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Closed => Self::Quiet,
            JournalError::Conflict { .. } => Self::Conflict(error.to_string()),
            error => Self::Journal(error),
        }
    }
}

/// Where goes what a batch made: into a commit, or into a state that is being made anew.
pub(super) trait Sink {
    /// Whether the plugins are told that the state is being made anew.
    const REBUILD: bool;
    fn memory(&mut self) -> &mut Memory;
    /// Whether there is a letter for an event already: one that failed before the state was made anew.
    fn has_letter(&self, _event: Number) -> bool {
        false
    }
    /// Whether an event that can't be handled may hold the pipeline, where a plugin wishes so.
    fn may_hold(&self, event: Number) -> bool {
        !self.has_letter(event)
    }
    /// Waits for what was taken over and is on its way.
    fn settle(&mut self, _context: &Context) -> Result<(), JournalError> {
        Ok(())
    }
    /// Takes a dead letter, before the commit that passes its event: a crash in between makes two
    /// letters of it, the other order could make none.
    fn letter(&mut self, context: &Context, letter: DeadLetter) -> Result<(), Stop> {
        context.breaker.bad(&letter.plugin);
        context.write_letter(letter)
    }
    /// Whether what its events mean was sent before.
    fn delivered(&self) -> bool {
        false
    }
    /// Whether a fault of the plugin's rolls its version back, rather than cost an event.
    fn on_probation(&self, _context: &Context, _plugin: &Name) -> bool {
        false
    }
    /// Takes the messages over, and what the states and reference tables changed, all or nothing.
    fn accept(&mut self, context: &Context, chain: &Chain, made: Made<'_>) -> Result<(), JournalError>;
}

/// What became of a batch, or of a part of it.
pub(super) struct Made<'a> {
    pub(super) references: &'a [StateChange],
    pub(super) items: &'a [Item],
    pub(super) messages: Vec<Message>,
    /// Everything up to here is done with it.
    pub(super) through: Number,
}

/// A part of a batch that is still to do.
struct Piece {
    items: Vec<Item>,
    through: Number,
    /// It failed as part of a larger one, retries and all.
    retried: bool,
}

/// Brings a batch to its end, whatever its plugins do.
pub(super) fn settle(
    context: &Context,
    chain: &mut Chain,
    sink: &mut impl Sink,
    references: Vec<StateChange>,
    items: Vec<Item>,
    through: Number,
) -> Result<(), Stop> {
    let mut run = Run { context, chain, sink, references };
    // The next piece is at the end.
    let mut todo = vec![Piece { items, through, retried: false }];
    while let Some(piece) = todo.pop() {
        match run.with_retries(&piece)? {
            Some(blame) => run.divide(piece, &blame, &mut todo)?,
            // What became a letter is passed now, and not before.
            None if piece.items.is_empty() => run.context.breaker.check()?,
            None => run.context.breaker.good(),
        }
    }
    Ok(())
}

struct Run<'a, S> {
    context: &'a Context,
    chain: &'a mut Chain,
    sink: &'a mut S,
    /// Changes of reference tables; they go with the first piece that succeeds.
    references: Vec<StateChange>,
}

impl<S: Sink> Run<'_, S> {
    /// None: done.
    fn with_retries(&mut self, piece: &Piece) -> Result<Option<Blame>, Stop> {
        let settings = &self.context.config.plugins;
        let mut wait = settings.retry_after;
        for left in (0..=settings.retries).rev() {
            let Err(blame) = self.once(piece)? else { return Ok(None) };
            self.context.blame(self.chain, &blame);
            let retry = match &blame.fault {
                Fault::Poison { .. } => false,
                // The journal's limit stays what it is.
                Fault::Output { setting: RECORD_BYTES, .. } => false,
                Fault::Transient(_) => true,
                _ => !piece.retried,
            };
            if left == 0 || !retry {
                return match blame.fault {
                    Fault::Init(_) | Fault::Config(_) | Fault::Fatal(_) => {
                        Err(Stop::Broken { plugin: blame.plugin, reason: blame.fault.in_brief() })
                    }
                    _ => Ok(Some(blame)),
                };
            }
            self.context.pause(wait)?;
            wait = wait.saturating_mul(2);
        }
        Ok(None)
    }

    fn once(&mut self, piece: &Piece) -> Result<Result<(), Blame>, Stop> {
        let config = &self.context.config;
        let messages = match self.chain.run(&piece.items, S::REBUILD, self.sink.memory(), config) {
            Ok(messages) => messages,
            Err(blame) => return Ok(Err(blame)),
        };
        let made = Made { references: &self.references, items: &piece.items, messages, through: piece.through };
        match self.sink.accept(self.context, self.chain, made) {
            Ok(()) => {
                self.sink.memory().states.iter_mut().for_each(crate::sandbox::State::keep);
                self.references.clear();
                Ok(Ok(()))
            }
            Err(JournalError::TooLarge { bytes, limit }) => {
                self.chain.discard(self.sink.memory());
                let (found, limit) = (bytes as u64, limit as u64);
                let fault = Fault::Output { setting: RECORD_BYTES, found, limit };
                Ok(Err(Blame { plugin: None, fault, item: None }))
            }
            Err(error) => {
                self.chain.discard(self.sink.memory());
                Err(error.into())
            }
        }
    }

    /// Takes the event that is to blame out of the piece, or halves it to find that event.
    fn divide(&mut self, mut piece: Piece, blame: &Blame, todo: &mut Vec<Piece>) -> Result<(), Stop> {
        piece.retried = true;
        if let Some(plugin) = blame.plugin.as_ref().filter(|plugin| self.sink.on_probation(self.context, plugin)) {
            return Err(Stop::Broken { plugin: Some(plugin.clone()), reason: blame.fault.in_brief() });
        }
        let guilty = blame.item.or((piece.items.len() == 1).then_some(0));
        if let Some(guilty) = guilty.filter(|&guilty| guilty < piece.items.len()) {
            // What comes before it is committed first: a pipeline that stops here doesn't do it again.
            if guilty > 0 {
                let rest = piece.items.split_off(guilty);
                let through = piece.items.last().map_or(piece.through, |item| item.event.number);
                todo.push(Piece { items: rest, ..piece });
                todo.push(Piece { items: piece.items, through, retried: true });
                return Ok(());
            }
            let rest = piece.items.split_off(1);
            let Some(mut item) = piece.items.pop() else { return Ok(()) };
            let number = item.event.number;
            let policy = blame.plugin.as_ref().map_or(OnFault::Skip, |plugin| self.chain.on_fault(plugin));
            if policy == OnFault::Hold && self.sink.may_hold(number) && !self.context.may_skip(number) {
                let reason = format!(
                    "holds before event {number}, which it can't handle ({}; its log has more); deploy a version that can, \
                     or let the event go: relevo plugin skip {} {number}",
                    blame.fault.in_brief(),
                    self.context.name
                );
                return Err(Stop::Broken { plugin: blame.plugin.clone(), reason });
            }
            self.dead_letter(&item, blame, policy)?;
            let through = if rest.is_empty() { piece.through } else { number };
            if !rest.is_empty() {
                todo.push(Piece { items: rest, ..piece });
            }
            let mut alone = Vec::new();
            if policy == OnFault::Bypass {
                item.wanted &= !blame.plugin.as_ref().map_or(0, |plugin| self.chain.bit(plugin));
                alone.extend((item.wanted != 0).then_some(item));
            }
            todo.push(Piece { items: alone, through, retried: true });
        } else if piece.items.is_empty() {
            // Not even a batch without events can be kept: a row of a reference table is too large.
            return Err(Stop::Broken { plugin: blame.plugin.clone(), reason: blame.fault.to_string() });
        } else {
            let second = piece.items.split_off(piece.items.len() / 2);
            let through = piece.items.last().map_or(piece.through, |item| item.event.number);
            todo.push(Piece { items: second, ..piece });
            todo.push(Piece { items: piece.items, through, retried: true });
        }
        Ok(())
    }

    /// Gives up an event that can't be handled.
    fn dead_letter(&mut self, item: &Item, blame: &Blame, policy: OnFault) -> Result<(), Stop> {
        let context = self.context;
        let number = item.event.number;
        if self.sink.has_letter(number) {
            return Ok(());
        }
        let plugin = blame.plugin.as_ref().unwrap_or(&context.name);
        let lacking = match policy {
            OnFault::Bypass => [plugin.clone()].into(),
            OnFault::Skip | OnFault::Hold => self.chain.named(item.wanted).cloned().collect(),
        };
        let version = self.chain.versions().into_iter().find(|version| version.plugin == *plugin);
        let letter = DeadLetter {
            pipeline: context.name.clone(),
            plugin: plugin.clone(),
            version: version.map(|version| version.version).unwrap_or_default(),
            reason: blame.fault.to_string().into(),
            number,
            origin: item.origin.clone(),
            event: Event::clone(&item.event),
            lacking,
            delivered: self.sink.delivered(),
        };
        self.sink.settle(context)?;
        self.sink.letter(context, letter)
    }
}

const RECORD_BYTES: &str = "journal.record_bytes";

impl Context {
    /// Makes a dead letter known.
    pub(super) fn write_letter(&self, letter: DeadLetter) -> Result<(), Stop> {
        let DeadLetter { plugin, number, reason, .. } = &letter;
        tracing::error!(pipeline = %self.name, %plugin, event = %number, reason = &**reason, "an event became a dead letter");
        self.control(Control::DeadLetter(Box::new(letter)))?;
        self.board.write(|health| health.dead_letters += 1);
        Ok(())
    }

    /// Counts and logs a fault.
    fn blame(&self, chain: &Chain, blame: &Blame) {
        let plugin = blame.plugin.as_ref().unwrap_or(&self.name);
        let text = format!("{plugin}: {}", blame.fault);
        tracing::warn!(pipeline = %self.name, %plugin, fault = blame.fault.name(), "{}", blame.fault);
        self.board.fault(blame.fault.name(), &text);
        let version = chain.plugin(plugin).map(|plugin| plugin.version().version.clone()).unwrap_or_default();
        self.notes(plugin).fault(blame.fault.name(), &version, &blame.fault.to_string());
    }
}
