//! The operators' desk: brings versions to pipelines that run, and takes their other wishes. Each wish
//! becomes a control record; the pipeline heeds it at its place.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::breaker::Breaker;
use super::failure::Stop;
use super::health::{Board, Health};
use super::library::Library;
use super::trial::{self, Range, Report};
use super::worker::{Context, Crash};
use crate::config::Config;
use crate::event::{Name, Number};
use crate::journal::{Control, Journal, JournalError, LetterEnd, StoredLetter, Swap, SwapReason};
use crate::store::{About, Origin, Package, StoreError, VersionId};

/// How long a deployment waits for the pipelines to come to its place.
const COME_WITHIN: Duration = Duration::from_secs(10);

/// What a wish can't be done for.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    #[error(
        "no [[pipeline]] in relevo.toml names the plugin {0}; add it to the plugins of one, and restart the server"
    )]
    NoPipeline(Name),
    #[error("there is no pipeline {0:?}; there are: {1}")]
    UnknownPipeline(String, String),
    #[error("there is no version {wanted} of {plugin}; there are: {known}")]
    UnknownVersion { plugin: Name, wanted: String, known: String },
    #[error("there is no version of {0} to go back to")]
    NoFormer(Name),
    #[error("there is no dead letter {0}")]
    UnknownLetter(Number),
    #[error("{plugin} can't be used: {reason}")]
    Refused { plugin: Name, reason: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the server is stopping")]
    Stopping,
}

/// What became of a version in a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It serves: it did before, or it took over.
    Serves,
    /// It takes over when its state is made of the source's rows.
    WaitsForState,
    /// It takes over when the pipeline comes to its place.
    Waits {
        cursor: Number,
        place: Number,
    },
    Refused {
        reason: String,
    },
}

/// What a deployment did.
#[derive(Debug, Clone, Serialize)]
pub struct Deployed {
    pub plugin: Name,
    pub id: VersionId,
    pub version: Box<str>,
    /// By pipeline.
    pub pipelines: Vec<InPipeline>,
}

#[derive(Debug, Clone, Serialize)]
pub struct InPipeline {
    pub pipeline: Name,
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What it did with recorded events before; none where there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Report>,
}

/// A plugin as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct PluginView {
    pub plugin: Name,
    pub pipelines: Vec<Health>,
    pub versions: Vec<About>,
    pub dead_letters: u64,
}

/// A pipeline, as the desk knows it.
struct Known {
    name: Name,
    plugins: Vec<Name>,
    board: Board,
    bell: Arc<Notify>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

pub(super) struct Inner {
    config: Arc<Config>,
    library: Arc<Library>,
    journal: Journal,
    handle: Handle,
    stopping: watch::Receiver<bool>,
    pipelines: Vec<Known>,
    /// One deployment at a time: the second is tried against what the first left.
    deploying: tokio::sync::Mutex<()>,
}

impl Desk {
    pub(super) fn new(
        config: Arc<Config>,
        library: Arc<Library>,
        journal: Journal,
        stopping: watch::Receiver<bool>,
    ) -> Inner {
        Inner {
            config,
            library,
            journal,
            handle: Handle::current(),
            stopping,
            pipelines: Vec::new(),
            deploying: tokio::sync::Mutex::default(),
        }
    }
}

impl Inner {
    pub(super) fn add(&mut self, name: Name, plugins: Vec<Name>, board: Board, bell: Arc<Notify>) {
        self.pipelines.push(Known { name, plugins, board, bell });
    }

    pub(super) fn open(self) -> Desk {
        Desk(Arc::new(self))
    }

    fn of(&self, plugin: &str) -> Result<Vec<&Known>, DeployError> {
        let found: Vec<&Known> =
            self.pipelines.iter().filter(|known| known.plugins.iter().any(|name| **name == *plugin)).collect();
        if found.is_empty() { Err(DeployError::NoPipeline(plugin.into())) } else { Ok(found) }
    }

    fn pipeline(&self, name: &str) -> Result<&Known, DeployError> {
        let names = || self.pipelines.iter().map(|known| known.name.as_ref()).collect::<Vec<_>>().join(", ");
        let found = self.pipelines.iter().find(|known| *known.name == *name);
        found.ok_or_else(|| DeployError::UnknownPipeline(name.into(), names()))
    }

    /// A context for a trial: what happens there counts nowhere else.
    fn aside(&self, known: &Known) -> Context {
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
            skips: Mutex::new(BTreeSet::new()),
            crash: Crash::default(),
        }
    }

    /// The versions that serve, or did before, in any pipeline.
    fn in_use(&self, plugin: &str) -> Vec<VersionId> {
        let serving: Vec<Box<str>> = self
            .pipelines
            .iter()
            .flat_map(|known| known.board.read().versions)
            .filter(|(name, _)| **name == *plugin)
            .map(|(_, version)| version)
            .collect();
        let versions = self.library.versions().list(plugin);
        versions.into_iter().filter(|about| serving.contains(&about.version)).map(|about| about.id).collect()
    }
}

#[cfg(test)]
impl Desk {
    /// A desk without a pipeline behind it.
    pub(crate) fn alone(config: &Config, journal: &Journal, folder: &std::path::Path) -> Self {
        let config = Arc::new(Config { data: folder.into(), ..config.clone() });
        let sandbox = Arc::new(crate::sandbox::Sandbox::new(&folder.join("compiled")).unwrap());
        let library = Arc::new(Library::open(config.clone(), sandbox).unwrap());
        Self::new(config, library, journal.clone(), watch::channel(false).1).open()
    }
}

impl Desk {
    /// Brings a version: checks it, tries it on recorded events, and has it take over between two
    /// batches. Whatever fails leaves the one that serves.
    ///
    /// # Errors
    /// Which step failed, and why; the version is then kept with that reason.
    pub async fn deploy(
        &self,
        plugin: &str,
        package: Package,
        by: &str,
        origin: Origin,
    ) -> Result<Deployed, DeployError> {
        let _one = self.0.deploying.lock().await;
        self.0.of(plugin)?;
        let (this, name, by): (Self, Name, Box<str>) = (self.clone(), plugin.into(), by.into());
        let (tried_by, tried_name) = (by.clone(), name.clone());
        let (about, tried) = tokio::task::spawn_blocking(move || this.admit(&tried_name, &package, &tried_by, origin))
            .await
            .map_err(|_| DeployError::Stopping)??;
        let mut pipelines = Vec::new();
        for (known, canary) in self.0.of(plugin)?.into_iter().zip(tried) {
            let outcome = self.swap(known, &about, SwapReason::Deploy, &by).await?;
            pipelines.push(InPipeline { pipeline: known.name.clone(), outcome, canary });
        }
        Ok(Deployed { plugin: name, id: about.id, version: about.version, pipelines })
    }

    /// Checks a version and tries it, off the paths of events. Blocks.
    fn admit(
        &self,
        plugin: &Name,
        package: &Package,
        by: &str,
        origin: Origin,
    ) -> Result<(About, Vec<Option<Report>>), DeployError> {
        let inner = &self.0;
        let refused = |reason: String| DeployError::Refused { plugin: plugin.clone(), reason };
        let ready = inner.library.prepare(plugin, package).map_err(refused)?;
        let about = inner.library.keep(&ready, package, by, origin, &inner.in_use(plugin))?;
        let settings = &inner.config.plugins;
        let mut reports = Vec::new();
        for known in inner.of(plugin)? {
            let context = inner.aside(known);
            let checkpoints = inner.handle.block_on(inner.journal.checkpoints(&known.name))?;
            if checkpoints.is_empty() {
                // A pipeline that has not begun yet has nothing to be tried on.
                reports.push(None);
                continue;
            }
            let range = Range {
                from: None,
                to: inner.journal.head(),
                events: settings.canary_events,
                within: settings.canary_within,
                until_fault: true,
            };
            match trial::run(&context, plugin, ready.id(), &range) {
                Ok(report) => reports.push(Some(report)),
                Err(Stop::Quiet | Stop::Again) => return Err(DeployError::Stopping),
                Err(Stop::Conflict(reason) | Stop::Broken { reason, .. }) => {
                    let reason = format!("it failed on recorded events of pipeline {}: {reason}", known.name);
                    inner.library.refuse(plugin, ready.id(), &reason);
                    return Err(refused(reason));
                }
            }
        }
        Ok((about, reports))
    }

    async fn swap(&self, known: &Known, about: &About, why: SwapReason, by: &str) -> Result<Outcome, DeployError> {
        let swap = Swap {
            pipeline: known.name.clone(),
            plugin: about.plugin.clone(),
            id: about.id.clone().into(),
            version: about.version.clone(),
            why,
            by: by.into(),
        };
        let place = self.0.journal.control(Control::SwapWanted(Box::new(swap))).await?;
        known.bell.notify_one();
        let mut board = known.board.watch();
        let answered = board.wait_for(|health| health.answered.get(&about.plugin).is_some_and(|at| *at >= place));
        let health = match tokio::time::timeout(COME_WITHIN, answered).await {
            Ok(Ok(health)) => health.clone(),
            Ok(Err(_)) => return Err(DeployError::Stopping),
            Err(_) => return Ok(Outcome::Waits { cursor: known.board.read().cursor, place }),
        };
        let serves = health.versions.iter().any(|(name, version)| *name == about.plugin && *version == about.version);
        if serves {
            return Ok(Outcome::Serves);
        }
        if health.pending.as_ref() == Some(&about.version) {
            return Ok(Outcome::WaitsForState);
        }
        let known = self.0.library.versions().about(&about.plugin, &about.id);
        let reason = known.and_then(|about| about.refused).unwrap_or_else(|| "another version came after it".into());
        Ok(Outcome::Refused { reason: reason.into() })
    }

    /// Has an earlier version take over again: the one before, or the one that `version` begins or
    /// ends with the id of.
    ///
    /// # Errors
    /// There is no such version, or the journal fails.
    pub async fn roll_back(&self, plugin: &str, version: Option<&str>, by: &str) -> Result<Deployed, DeployError> {
        let _one = self.0.deploying.lock().await;
        let pipelines = self.0.of(plugin)?;
        let name: Name = plugin.into();
        let versions = self.0.library.versions().list(plugin);
        let serving = self.0.in_use(plugin);
        let about = match version {
            Some(wanted) => {
                let is = |about: &&About| {
                    *about.version == *wanted || (wanted.len() >= 4 && about.id.as_str().starts_with(wanted))
                };
                versions.iter().find(is).ok_or_else(|| DeployError::UnknownVersion {
                    plugin: name.clone(),
                    wanted: wanted.into(),
                    known: versions.iter().map(|about| &*about.version).collect::<Vec<_>>().join(", "),
                })?
            }
            // The newest that served well and doesn't now.
            None => versions
                .iter()
                .find(|about| about.refused.is_none() && !serving.contains(&about.id))
                .ok_or_else(|| DeployError::NoFormer(name.clone()))?,
        };
        let mut done = Vec::new();
        for known in pipelines {
            let outcome = self.swap(known, about, SwapReason::Rollback, by).await?;
            done.push(InPipeline { pipeline: known.name.clone(), outcome, canary: None });
        }
        Ok(Deployed { plugin: name, id: about.id.clone(), version: about.version.clone(), pipelines: done })
    }

    /// Tries a version on recorded events and says what differs; nothing is published or kept.
    ///
    /// # Errors
    /// The version can't be used, or the journal fails.
    pub async fn trial(
        &self,
        plugin: &str,
        pipeline: &str,
        package: Package,
        from: Option<Number>,
        to: Option<Number>,
    ) -> Result<Report, DeployError> {
        let (this, plugin, pipeline): (Self, Name, String) = (self.clone(), plugin.into(), pipeline.into());
        let task = tokio::task::spawn_blocking(move || {
            let inner = &this.0;
            let known = inner.pipeline(&pipeline)?;
            let refused = |reason: String| DeployError::Refused { plugin: plugin.clone(), reason };
            let ready = inner.library.prepare(&plugin, &package).map_err(refused)?;
            let range = Range {
                from: Some(from.unwrap_or_default()),
                to: to.unwrap_or(inner.journal.head()),
                events: inner.config.plugins.trial_events,
                within: inner.config.plugins.trial_within,
                until_fault: false,
            };
            match trial::run(&inner.aside(known), &plugin, ready.id(), &range) {
                Ok(report) => Ok(report),
                Err(Stop::Quiet | Stop::Again) => Err(DeployError::Stopping),
                Err(Stop::Conflict(reason) | Stop::Broken { reason, .. }) => Err(refused(reason)),
            }
        });
        task.await.map_err(|_| DeployError::Stopping)?
    }

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
            pipelines: pipelines.iter().map(health).collect(),
            versions: self.0.library.versions().list(plugin),
            dead_letters,
        })
    }

    /// Which version the plugins folder held when it was last looked at.
    pub(super) fn seen(&self, plugin: &str) -> Option<VersionId> {
        self.0.library.versions().seen(plugin)
    }

    /// Remembers what the plugins folder holds.
    pub(super) fn see(&self, plugin: &str, id: &VersionId) -> Result<(), StoreError> {
        self.0.library.versions().see(plugin, id)
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
