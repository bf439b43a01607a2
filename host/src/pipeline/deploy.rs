//! Brings versions to pipelines that run: checked, tried on recorded events, and then a control record
//! that each pipeline heeds at its place. Whatever fails leaves the version that serves.

use std::time::Duration;

use serde::Serialize;

use super::desk::{Desk, Known};
use super::error::DeployError;
use super::failure::Stop;
use super::health::{Health, Status};
use super::trial::{self, Range, Report};
use crate::event::{Name, Number};
use crate::journal::{Control, Swap, SwapReason};
use crate::store::{About, Origin, Package, VersionId};

/// How long a deployment waits for the pipelines to come to its place.
const COME_WITHIN: Duration = Duration::from_secs(10);

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
    /// It served before already: nothing changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub already: bool,
    /// What it did with recorded events before; none where there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Report>,
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
        if let Some(reason) = self.0.library.without_place(&plugin.into(), &package) {
            return Err(DeployError::NoPipeline(plugin.into(), reason));
        }
        let (this, name, by): (Self, Name, Box<str>) = (self.clone(), plugin.into(), by.into());
        let (tried_by, tried_name) = (by.clone(), name.clone());
        let (about, tried) = tokio::task::spawn_blocking(move || this.admit(&tried_name, &package, &tried_by, origin))
            .await
            .map_err(|_| DeployError::Stopping)??;
        let mut pipelines = Vec::new();
        for (known, canary) in self.0.of(plugin)?.into_iter().zip(tried) {
            let already = serves(&known.board.read(), &about);
            let outcome = self.swap(known, &about, SwapReason::Deploy, &by).await?;
            pipelines.push(InPipeline { pipeline: known.name.clone(), outcome, already, canary });
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
        let refused = |reason: String| DeployError::refused(plugin, reason);
        let ready =
            inner.library.prepare(plugin, package, origin).map_err(|unfit| DeployError::unfit(plugin, unfit))?;
        let needed = inner.needed(plugin).map_err(|stop| match stop {
            Stop::Quiet | Stop::Again => DeployError::Stopping,
            Stop::Journal(error) => error.into(),
            Stop::Conflict(reason) | Stop::Broken { reason, .. } => refused(reason),
        })?;
        let about = inner.library.keep(&ready, package, by, origin, &needed)?;
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
                live: false,
            };
            match trial::run(&context, &known.board, plugin, ready.id(), &range, &mut |_| true) {
                Ok(report) => reports.push(Some(report)),
                Err(Stop::Quiet | Stop::Again) => return Err(DeployError::Stopping),
                // It says nothing of the version: whoever brings it again may find it well.
                Err(Stop::Journal(error)) => return Err(error.into()),
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
        let answered = |health: &Health| health.answered.get(&about.plugin).is_some_and(|at| *at >= place);
        // One that is paused does not come, however long others wait for their turn.
        let come = board.wait_for(|health| answered(health) || matches!(health.status, Status::Paused { .. }));
        let health = match tokio::time::timeout(COME_WITHIN, come).await {
            Ok(Ok(health)) if answered(&health) => health.clone(),
            Ok(Err(_)) => return Err(DeployError::Stopping),
            Ok(Ok(_)) | Err(_) => return Ok(Outcome::Waits { cursor: known.board.read().cursor, place }),
        };
        if serves(&health, about) {
            return Ok(Outcome::Serves);
        }
        if health.pending.as_ref() == Some(&about.version) {
            return Ok(Outcome::WaitsForState);
        }
        let known = self.0.library.versions().about(&about.plugin, &about.id);
        let reason = known.and_then(|about| about.refused).unwrap_or_else(|| "another version came after it".into());
        Ok(Outcome::Refused { reason: reason.into() })
    }

    /// Has an earlier version take over again: the one before (one that was rolled back is none), or the one that
    /// `version` begins or ends with the id of.
    ///
    /// # Errors
    /// There is no such version, or the journal fails.
    pub async fn roll_back(&self, plugin: &str, version: Option<&str>, by: &str) -> Result<Deployed, DeployError> {
        let _one = self.0.deploying.lock().await;
        let pipelines = self.0.of(plugin)?;
        let name: Name = plugin.into();
        let versions = self.0.library.versions().list(plugin);
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
            None => {
                let before = self.0.before(&pipelines, &name).await?;
                let good = |id: &VersionId| versions.iter().find(|about| about.id == *id && about.refused.is_none());
                before.iter().find_map(good).ok_or_else(|| DeployError::NoFormer(name.clone()))?
            }
        };
        let mut done = Vec::new();
        for known in pipelines {
            let already = serves(&known.board.read(), about);
            let outcome = self.swap(known, about, SwapReason::Rollback, by).await?;
            done.push(InPipeline { pipeline: known.name.clone(), outcome, already, canary: None });
        }
        Ok(Deployed { plugin: name, id: about.id.clone(), version: about.version.clone(), pipelines: done })
    }
}

fn serves(health: &Health, about: &About) -> bool {
    health.versions.iter().any(|(name, version)| *name == about.plugin && *version == about.version)
}
