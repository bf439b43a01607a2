//! The operators' desk: what they see of plugins, and where they leave their wishes. Each wish becomes a
//! control record; the pipeline heeds it at its place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};

use super::ahead::Ahead;
use super::breaker::Breaker;
use super::context::{Context, Crash};
use super::error::DeployError;
use super::failure::Stop;
use super::health::{Board, Health};
use super::library::Library;
use super::meta::Meta;
use super::probation::Probations;
use super::swaps::{Swaps, TookOver};
use crate::config::Config;
use crate::event::{Name, Number};
use crate::journal::{Control, Journal, LetterEnd, StoredLetter};
use crate::sandbox::{Metric, Notes, Usage};
use crate::store::{About, Package, StoreError, VersionId};

/// A plugin as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct PluginView {
    pub plugin: Name,
    pub pipelines: Vec<Health>,
    /// What it used up and counted in each of them.
    pub noted: Vec<Noted>,
    pub versions: Vec<About>,
    /// Who took over when, the newest last; as long as the journal keeps it.
    pub swaps: Vec<TookOver>,
    pub dead_letters: u64,
}

/// What a plugin used up and counted in a pipeline since the server started.
#[derive(Debug, Clone, Serialize)]
pub struct Noted {
    pub plugin: Name,
    pub pipeline: Name,
    #[serde(flatten)]
    pub usage: Usage,
    /// The plugin's own, by name.
    pub metrics: BTreeMap<Box<str>, Metric>,
}

/// A pipeline, as the desk knows it.
pub(super) struct Known {
    pub(super) name: Name,
    pub(super) plugins: Vec<Name>,
    pub(super) board: Board,
    pub(super) bell: Arc<Notify>,
    pub(super) notes: BTreeMap<Name, Notes>,
}

impl Known {
    pub(super) fn has(&self, plugin: &str) -> bool {
        self.plugins.iter().any(|name| **name == *plugin)
    }
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Desk(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) config: Arc<Config>,
    pub(super) library: Arc<Library>,
    pub(super) journal: Journal,
    pub(super) handle: Handle,
    pub(super) stopping: watch::Receiver<bool>,
    pipelines: Vec<Known>,
    /// One deployment at a time: the second is tried against what the first left.
    pub(super) deploying: tokio::sync::Mutex<()>,
    /// Who took over when, as far as the journal was read for it.
    swaps: tokio::sync::Mutex<Swaps>,
    /// A place for each version that may run beside the one that serves.
    pub(super) shadows: Arc<Semaphore>,
}

impl Inner {
    pub(super) fn new(
        config: Arc<Config>,
        library: Arc<Library>,
        journal: Journal,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            shadows: Arc::new(Semaphore::new(config.plugins.shadows)),
            config,
            library,
            journal,
            handle: Handle::current(),
            stopping,
            pipelines: Vec::new(),
            deploying: tokio::sync::Mutex::default(),
            swaps: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn add(&mut self, pipeline: Known) {
        self.pipelines.push(pipeline);
    }

    pub(super) fn open(self) -> Desk {
        Desk(Arc::new(self))
    }

    pub(super) fn of(&self, plugin: &str) -> Result<Vec<&Known>, DeployError> {
        let found: Vec<&Known> = self.pipelines.iter().filter(|known| known.has(plugin)).collect();
        if found.is_empty() {
            let names: BTreeSet<&Name> = self.pipelines.iter().flat_map(|known| &known.plugins).collect();
            let known = names.into_iter().map(|name| name.to_string()).collect();
            return Err(DeployError::UnknownPlugin { plugin: plugin.into(), known });
        }
        Ok(found)
    }

    pub(super) fn pipeline(&self, name: &str) -> Result<&Known, DeployError> {
        let names = || self.pipelines.iter().map(|known| known.name.as_ref()).collect::<Vec<_>>().join(", ");
        let found = self.pipelines.iter().find(|known| *known.name == *name);
        found.ok_or_else(|| DeployError::UnknownPipeline(name.into(), names()))
    }

    /// A context for a trial: what happens there counts nowhere else.
    pub(super) fn aside(&self, known: &Known) -> Context {
        let mut config = Config::clone(&self.config);
        // What fails is what a trial is for.
        config.plugins.retries = 0;
        Context {
            name: known.name.clone(),
            plugins: known.plugins.clone(),
            config: Arc::new(config),
            library: self.library.clone(),
            journal: self.journal.clone(),
            handle: self.handle.clone(),
            board: Board::new(known.name.clone()),
            stopping: self.stopping.clone(),
            bell: Arc::default(),
            breaker: Breaker::new(u32::MAX),
            probations: Probations::new(self.config.plugins.probation),
            notes: BTreeMap::new(),
            skips: Mutex::new(BTreeSet::new()),
            unfinished: AtomicBool::new(false),
            crash: Crash::default(),
        }
    }

    /// The versions that must stay: those that a pipeline names, or will when it comes to a wish that lies
    /// ahead of it. Blocks.
    pub(super) fn needed(&self, plugin: &str) -> Result<Vec<VersionId>, Stop> {
        let mut needed = Vec::new();
        for known in self.pipelines.iter().filter(|known| known.has(plugin)) {
            let stored = self.handle.block_on(self.journal.pipeline(&known.name))?;
            let Some(mut stored) = stored else { continue };
            let broken = |reason| Stop::Broken { plugin: None, reason };
            let Meta { versions, pending, .. } = Meta::take(&mut stored).map_err(broken)?;
            if let Some(active) = versions.get(plugin) {
                needed.push(active.id.clone());
                needed.extend(active.former.iter().map(|former| former.id.clone()));
            }
            let ahead = Ahead::of(&self.aside(known), stored.cursor)?;
            let wished = ahead.swaps.into_iter().map(|(_, swap)| swap).chain(pending.map(|pending| pending.swap));
            needed.extend(
                wished.filter(|swap| *swap.plugin == *plugin).filter_map(|swap| VersionId::try_from(swap.id).ok()),
            );
        }
        Ok(needed)
    }

    /// Where a pipeline would go back to, the best first: from a version that waits to the one that serves,
    /// from that one to those that served before.
    pub(super) async fn before(&self, pipelines: &[&Known], plugin: &Name) -> Result<Vec<VersionId>, DeployError> {
        let mut before = Vec::new();
        for known in pipelines {
            let Some(mut stored) = self.journal.pipeline(&known.name).await? else { continue };
            let refused = |reason| DeployError::refused(plugin, reason);
            let Meta { versions, pending, .. } = Meta::take(&mut stored).map_err(refused)?;
            let Some(active) = versions.get(plugin) else { continue };
            if pending.is_some_and(|pending| pending.swap.plugin == *plugin) {
                before.push(active.id.clone());
            }
            let earlier = active.former.iter().rev().filter(|former| !former.undone);
            before.extend(earlier.map(|former| former.id.clone()));
        }
        Ok(before)
    }
}

#[cfg(test)]
impl Desk {
    /// A desk without a pipeline behind it.
    pub(crate) fn alone(config: &Config, journal: &Journal, folder: &std::path::Path) -> Self {
        let config = Arc::new(Config { data: folder.into(), ..config.clone() });
        let sandbox = Arc::new(crate::sandbox::Sandbox::new(&folder.join("compiled")).unwrap());
        let library = Arc::new(Library::open(config.clone(), sandbox).unwrap());
        Inner::new(config, library, journal.clone(), watch::channel(false).1).open()
    }
}

impl Desk {
    /// All plugins that pipelines name.
    ///
    /// # Errors
    /// The journal's.
    pub async fn plugins(&self) -> Result<Vec<PluginView>, DeployError> {
        let names: BTreeSet<&Name> = self.0.pipelines.iter().flat_map(|known| &known.plugins).collect();
        let mut views = Vec::new();
        for plugin in names {
            views.push(self.plugin(plugin).await?);
        }
        Ok(views)
    }

    /// One plugin: where it runs, its versions, its dead letters.
    ///
    /// # Errors
    /// No pipeline names it; the journal's.
    pub async fn plugin(&self, plugin: &str) -> Result<PluginView, DeployError> {
        let pipelines = self.0.of(plugin)?;
        let head = self.0.journal.head();
        let health = |known: &&Known| {
            let mut health = known.board.read();
            health.lag = head.0.saturating_sub(health.cursor.0);
            health
        };
        let counts = self.0.journal.dead_letter_count().await?;
        let dead_letters = pipelines.iter().filter_map(|known| counts.get(&known.name)).sum();
        Ok(PluginView {
            plugin: plugin.into(),
            swaps: self.0.swaps.lock().await.of(&self.0.journal, plugin).await?,
            pipelines: pipelines.iter().map(health).collect(),
            noted: self.noted().into_iter().filter(|noted| *noted.plugin == *plugin).collect(),
            versions: self.0.library.versions().list(plugin),
            dead_letters,
        })
    }

    /// What all plugins used up and counted, by pipeline.
    pub fn noted(&self) -> Vec<Noted> {
        let of = |known: &Known| {
            let note = |(plugin, notes): (&Name, &Notes)| Noted {
                plugin: plugin.clone(),
                pipeline: known.name.clone(),
                usage: notes.usage(),
                metrics: notes.metrics().into_iter().collect(),
            };
            known.notes.iter().map(note).collect::<Vec<_>>()
        };
        self.0.pipelines.iter().flat_map(of).collect()
    }

    /// What the plugins folder holds.
    pub(super) fn in_folder(&self, plugin: &str) -> Result<Package, (std::path::PathBuf, std::io::Error)> {
        self.0.library.in_folder(plugin)
    }

    /// Which version the plugins folder held when it was last looked at.
    pub(super) fn seen(&self, plugin: &str) -> Option<String> {
        self.0.library.versions().seen(plugin)
    }

    /// Remembers what the plugins folder holds.
    pub(super) fn see(&self, plugin: &str, mark: &str) -> Result<(), StoreError> {
        self.0.library.versions().see(plugin, mark)
    }

    /// The plugins that pipelines name.
    pub(super) fn names(&self) -> BTreeSet<Name> {
        self.0.pipelines.iter().flat_map(|known| known.plugins.iter().cloned()).collect()
    }

    /// Whether a plugin serves in any pipeline yet.
    pub(super) fn serves(&self, plugin: &str) -> bool {
        self.0.pipelines.iter().any(|known| known.board.read().answered.contains_key(plugin))
    }

    /// Has a pipeline stand still behind what was appended so far.
    ///
    /// # Errors
    /// There is no such pipeline; the journal's.
    pub async fn pause(&self, pipeline: &str, by: &str) -> Result<Number, DeployError> {
        let pipeline = self.0.pipeline(pipeline)?.name.clone();
        Ok(self.0.journal.control(Control::PauseWanted { pipeline, by: by.into() }).await?)
    }

    /// Has a paused pipeline go on; one that stands still because of a fault tries again at once.
    ///
    /// # Errors
    /// There is no such pipeline; the journal's.
    pub async fn resume(&self, pipeline: &str, by: &str) -> Result<Number, DeployError> {
        let known = self.0.pipeline(pipeline)?;
        let control = Control::ResumeWanted { pipeline: known.name.clone(), by: by.into() };
        let place = self.0.journal.control(control).await?;
        known.bell.notify_one();
        Ok(place)
    }

    /// Lets an event go that holds a pipeline: it becomes a dead letter.
    ///
    /// # Errors
    /// There is no such pipeline; the journal's.
    pub async fn skip(&self, pipeline: &str, event: Number, by: &str) -> Result<Number, DeployError> {
        let known = self.0.pipeline(pipeline)?;
        let control = Control::SkipWanted { pipeline: known.name.clone(), event, by: by.into() };
        let place = self.0.journal.control(control).await?;
        known.bell.notify_one();
        Ok(place)
    }

    /// Dead letters after a place, oldest first.
    ///
    /// # Errors
    /// The journal's.
    pub async fn dead_letters(
        &self,
        pipeline: Option<&str>,
        after: Number,
        limit: usize,
    ) -> Result<Vec<StoredLetter>, DeployError> {
        Ok(self.0.journal.dead_letters(pipeline, after, limit).await?)
    }

    /// Has a letter's event tried again, as a late one.
    ///
    /// # Errors
    /// There is no such letter; the journal's.
    pub async fn replay(&self, letter: Number, by: &str) -> Result<Number, DeployError> {
        let stored = self.0.journal.dead_letter(letter).await?.ok_or(DeployError::UnknownLetter(letter))?;
        let control = Control::ReplayWanted { pipeline: stored.letter.pipeline, letter, by: by.into() };
        Ok(self.0.journal.control(control).await?)
    }

    /// Lets a letter go for good.
    ///
    /// # Errors
    /// There is no such letter; the journal's.
    pub async fn drop_letter(&self, letter: Number, by: &str) -> Result<Number, DeployError> {
        let stored = self.0.journal.dead_letter(letter).await?.ok_or(DeployError::UnknownLetter(letter))?;
        let control =
            Control::LetterClosed { pipeline: stored.letter.pipeline, letter, end: LetterEnd::Dropped, by: by.into() };
        Ok(self.0.journal.control(control).await?)
    }
}
