//! What sources and pipelines lost: every control that tells of a gap of the journal up to where a shard stands, so that a
//! session that resumes across one is told of it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::event::Number;
use crate::journal::Control;

/// What a control record says was lost, for clients.
pub(crate) fn lost(control: &Control) -> Option<Box<str>> {
    match control {
        Control::Gap { reason, .. } | Control::TableGap { reason, .. } => Some(reason.clone()),
        Control::PipelineGap { pipeline } => Some(format!("pipeline {pipeline} fell behind").into()),
        Control::PipelineRemoved { pipeline } => {
            Some(format!("pipeline {pipeline} was taken out of the settings: what it sends begins anew").into())
        }
        _ => None,
    }
}

/// Written by one shard, read by its sessions while they are behind.
#[derive(Clone, Default)]
pub(crate) struct Gaps(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// The shard has passed everything up to here.
    up_to: Number,
    /// In rising order; something is rarely lost, so this stays small.
    gaps: Vec<(Number, Box<str>)>,
}

impl Gaps {
    pub(crate) fn new(gaps: Vec<(Number, Box<str>)>) -> Self {
        Self(Arc::new(Mutex::new(Known { up_to: Number::ZERO, gaps })))
    }

    /// The shard met a gap.
    pub(crate) fn add(&self, number: Number, reason: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.gaps.last().is_none_or(|(last, _)| *last < number) {
            known.gaps.push((number, reason.into()));
        }
    }

    /// The shard has passed `number`, and added the gaps before it.
    pub(crate) fn passed(&self, number: Number) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).up_to = number;
    }

    /// The gaps after a number, and up to where they are all known.
    pub(crate) fn after(&self, after: Number) -> (Vec<(Number, Box<str>)>, Number) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gaps = known.gaps.iter().filter(|(n, _)| *n > after && *n <= known.up_to).cloned().collect();
        (gaps, known.up_to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_hear_of_what_sources_and_pipelines_lost() {
        let source = Control::Gap { source: "gad".into(), reason: "restored".into() };
        assert_eq!(lost(&source).as_deref(), Some("restored"));
        let tables = vec!["tareas".into()];
        let table = Control::TableGap { source: "gad".into(), tables, reason: "table tareas was dropped".into() };
        assert_eq!(lost(&table).as_deref(), Some("table tareas was dropped"));
        let pipeline = Control::PipelineGap { pipeline: "panel".into() };
        assert_eq!(lost(&pipeline).as_deref(), Some("pipeline panel fell behind"));
        let removed = lost(&Control::PipelineRemoved { pipeline: "panel".into() }).unwrap();
        assert!(removed.contains("pipeline panel was taken out"), "{removed}");
        assert_eq!(lost(&Control::RebuildWanted { pipeline: "panel".into() }), None);
    }
}
