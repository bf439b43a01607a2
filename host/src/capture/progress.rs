//! How far the snapshots of a source are; its health shows it.

use serde::Serialize;
use tokio::sync::watch;

use crate::event::{Name, Number};

use super::SourceHealth;

/// A snapshot that is being taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotHealth {
    /// Who wants the rows.
    pub pipeline: Name,
    #[serde(skip)]
    pub request: Number,
    /// Read so far, also before a cut. 0 also while the database lets nobody begin (PostgreSQL: until older transactions end).
    pub rows: u64,
    /// As events, before they are packed.
    pub bytes: u64,
    /// About how many there are, where the database's statistics say it (PostgreSQL, once analyzed).
    #[serde(rename = "estimated_rows", skip_serializing_if = "Option::is_none")]
    pub estimate: Option<u64>,
    /// What it waits for before it can begin, and what ends that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// For people, without the pipeline.
impl std::fmt::Display for SnapshotHealth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = self.bytes as f64 / f64::from(1 << 20);
        write!(f, "{}", self.rows)?;
        if let Some(estimate) = self.estimate {
            write!(f, " of about {estimate}")?;
        }
        write!(f, " rows read, {mib:.1} MiB")?;
        if let Some(waits_for) = &self.waits_for {
            write!(f, "; it waits for {waits_for}")?;
        }
        Ok(())
    }
}

/// Counts in the source's health, until dropped: however the snapshot ends.
pub(crate) struct Progress {
    health: watch::Sender<SourceHealth>,
    request: Number,
}

impl Progress {
    pub(crate) fn begin(health: &watch::Sender<SourceHealth>, pipeline: &Name, request: Number) -> Self {
        let taking = SnapshotHealth {
            pipeline: Name::clone(pipeline),
            request,
            rows: 0,
            bytes: 0,
            estimate: None,
            waits_for: None,
        };
        health.send_modify(|health| health.snapshots.push(taking));
        Self { health: health.clone(), request }
    }

    pub(crate) fn expects(&self, rows: Option<u64>) {
        self.change(|taking| taking.estimate = rows);
    }

    pub(crate) fn waits_for(&self, what: Option<String>) {
        self.change(|taking| taking.waits_for = what);
    }

    pub(crate) fn read(&self, rows: u64, bytes: u64) {
        self.change(|taking| {
            taking.rows += rows;
            taking.bytes += bytes;
        });
    }

    /// What was read doesn't count.
    pub(crate) fn begin_anew(&self) {
        self.change(|taking| (taking.rows, taking.bytes) = (0, 0));
    }

    fn change(&self, change: impl FnOnce(&mut SnapshotHealth)) {
        self.health.send_modify(|health| {
            if let Some(taking) = health.snapshots.iter_mut().find(|taking| taking.request == self.request) {
                change(taking);
            }
        });
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.health.send_modify(|health| health.snapshots.retain(|taking| taking.request != self.request));
    }
}
