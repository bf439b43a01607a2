//! What operators read of plugins' logs: lines of all pipelines of a plugin, and the next ones when they come.

use std::time::Duration;

use serde::Serialize;

use super::desk::Desk;
use super::error::DeployError;
use crate::event::Name;
use crate::sandbox::{Level, Line};

/// Which lines are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Those after this number; 0: from the oldest that is kept.
    pub after: u64,
    /// Those that matter at least so much.
    pub least: Level,
    /// The newest so many if `after` is 0, the oldest so many otherwise.
    pub limit: usize,
    /// How long to wait for a line if there is none.
    pub wait: Duration,
}

/// Lines of a plugin's log.
#[derive(Debug, Default, Serialize)]
pub struct Logs {
    /// In the order of their numbers.
    pub lines: Vec<LineOf>,
    /// Lines after the wanted number are gone: they gave way to newer ones.
    pub lost: bool,
    /// The number to go on after.
    pub newest: u64,
}

/// A line, and the pipeline that it comes from.
#[derive(Debug, Serialize)]
pub struct LineOf {
    pub pipeline: Name,
    #[serde(flatten)]
    pub line: Line,
}

impl Desk {
    /// Lines of a plugin's log.
    ///
    /// # Errors
    /// No pipeline names it.
    pub async fn logs(&self, plugin: &str, wanted: Wanted) -> Result<Logs, DeployError> {
        let pipelines = self.0.of(plugin)?;
        // Watched before it is looked, so that no line comes between.
        let mut watches: Vec<_> =
            pipelines.iter().filter_map(|known| known.notes.get(plugin)).map(|notes| notes.watch()).collect();
        let begun = tokio::time::Instant::now();
        loop {
            watches.iter_mut().for_each(|watch| watch.mark_unchanged());
            let logs = self.look(plugin, wanted)?;
            if !logs.lines.is_empty() || wanted.wait.is_zero() || watches.is_empty() {
                return Ok(logs);
            }
            let next = futures_util::future::select_all(watches.iter_mut().map(|watch| Box::pin(watch.changed())));
            let mut stopping = self.0.stopping.clone();
            tokio::select! {
                _ = next => {}
                () = tokio::time::sleep_until(begun + wanted.wait) => return Ok(logs),
                _ = stopping.wait_for(|stop| *stop) => return Ok(logs),
            }
        }
    }

    fn look(&self, plugin: &str, wanted: Wanted) -> Result<Logs, DeployError> {
        let mut logs = Logs::default();
        for known in self.0.of(plugin)? {
            let Some(notes) = known.notes.get(plugin) else { continue };
            // Read before the lines, so that none lies between.
            logs.newest = logs.newest.max(*notes.watch().borrow());
            let (lines, lost) = notes.lines(wanted.after, wanted.least);
            logs.lost |= lost && wanted.after > 0;
            logs.lines.extend(lines.into_iter().map(|line| LineOf { pipeline: known.name.clone(), line }));
        }
        logs.lines.sort_by_key(|of| of.line.number);
        let surplus = logs.lines.len().saturating_sub(wanted.limit);
        if wanted.after == 0 {
            logs.lines.drain(..surplus);
        } else if surplus > 0 {
            logs.lines.truncate(wanted.limit);
            logs.newest = 0;
        }
        let last = logs.lines.last().map_or(0, |of| of.line.number);
        logs.newest = logs.newest.max(last).max(wanted.after);
        Ok(logs)
    }
}
