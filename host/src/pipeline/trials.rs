//! Trials that somebody asks for at the desk: on recorded events, or beside the running version.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::desk::Desk;
use super::error::DeployError;
use super::failure::Stop;
use super::trial::{self, Range, Report, Tell};
use crate::event::{Name, Number};
use crate::sandbox::Plugin;
use crate::store::{Origin, Package};

/// How long the last report of a shadow waits to be read.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What is to be tried where.
#[derive(Debug)]
pub struct Wish {
    pub plugin: Name,
    pub pipeline: String,
    pub package: Package,
    /// From the newest checkpoint at or before this place; none: for recorded events the oldest that is kept,
    /// for a shadow the newest.
    pub from: Option<Number>,
}

/// The reports of a shadow, one a second; an error ends it. Dropped, it ends the trial.
pub type Reports = mpsc::Receiver<Result<Report, DeployError>>;

impl Desk {
    /// Tries a version on recorded events, up to `to` (none: all), and says what differs; nothing is
    /// published or kept.
    ///
    /// # Errors
    /// The version can't be used, or the journal fails.
    pub async fn trial(&self, wish: Wish, to: Option<Number>) -> Result<Report, DeployError> {
        let this = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let inner = &this.0;
            let range = Range {
                from: Some(wish.from.unwrap_or_default()),
                to: to.unwrap_or(inner.journal.head()),
                events: inner.config.plugins.trial_events,
                within: inner.config.plugins.trial_within,
                until_fault: false,
                live: false,
            };
            this.prepared(&wish).and_then(|ready| this.try_out(&wish, &ready, &range, &mut |_| true))
        });
        task.await.map_err(|_| DeployError::Stopping)?
    }

    /// Runs a version beside the one that serves, for `within` at most (none, or more than
    /// `plugins.shadow_within`: that), and says each second what differs.
    ///
    /// # Errors
    /// The version can't be used, or there are `plugins.shadows` already.
    pub async fn shadow(&self, wish: Wish, within: Option<Duration>) -> Result<Reports, DeployError> {
        let settings = &self.0.config.plugins;
        let place = self.0.shadows.clone().try_acquire_owned();
        let place = place.map_err(|_| DeployError::TooManyShadows(settings.shadows))?;
        let longest = settings.shadow_within;
        let range = Range::live(wish.from, within.map_or(longest, |within| within.min(longest)));
        let this = self.clone();
        let prepared = tokio::task::spawn_blocking(move || this.prepared(&wish).map(|ready| (wish, ready)));
        let (wish, ready) = prepared.await.map_err(|_| DeployError::Stopping)??;
        let (sender, reports) = mpsc::channel(1);
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let _place = place;
            let until = Instant::now() + range.within;
            let told = this.try_out(&wish, &ready, &range, &mut |report| this.send(&sender, Ok(report), until));
            // Nobody may be there any more to hear of the end.
            this.send(&sender, told, Instant::now() + LAST_WORD);
        });
        Ok(reports)
    }

    /// Hands a report over; false: nobody took it in time, or the server stops. Whoever doesn't read must not keep
    /// a shadow's place for ever. Blocks.
    fn send(
        &self,
        reports: &mpsc::Sender<Result<Report, DeployError>>,
        report: Result<Report, DeployError>,
        until: Instant,
    ) -> bool {
        let mut stopping = self.0.stopping.clone();
        self.0.handle.block_on(async {
            tokio::select! {
                sent = reports.send(report) => sent.is_ok(),
                () = tokio::time::sleep_until(until.into()) => false,
                _ = stopping.wait_for(|stop| *stop) => false,
            }
        })
    }

    /// Compiles and checks the version. Blocks.
    fn prepared(&self, wish: &Wish) -> Result<Plugin, DeployError> {
        let Wish { plugin, pipeline, package, .. } = wish;
        if !self.0.pipeline(pipeline)?.has(plugin) {
            let reason = format!("pipeline {pipeline} does not have it; try it in one whose plugins name it");
            return Err(DeployError::refused(plugin, reason));
        }
        self.0.library.prepare(plugin, package, Origin::Http).map_err(|unfit| DeployError::unfit(plugin, unfit))
    }

    /// Blocks.
    fn try_out(&self, wish: &Wish, ready: &Plugin, range: &Range, tell: Tell<'_>) -> Result<Report, DeployError> {
        let known = self.0.pipeline(&wish.pipeline)?;
        match trial::run(&self.0.aside(known), &known.board, &wish.plugin, ready.id(), range, tell) {
            Ok(report) => Ok(report),
            Err(Stop::Quiet | Stop::Again) => Err(DeployError::Stopping),
            Err(Stop::Journal(error)) => Err(error.into()),
            Err(Stop::Conflict(reason) | Stop::Broken { reason, .. }) => {
                Err(DeployError::refused(&wish.plugin, reason))
            }
        }
    }
}
