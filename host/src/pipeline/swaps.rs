//! Who took over when, as operators see it: gathered from the journal once, and read on from there whenever the
//! desk is asked.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::ahead::PAGE;
use crate::event::{Name, Number};
use crate::journal::{Control, Journal, JournalError, Swap, SwapReason};

/// How many swaps of a plugin are told.
const TOLD: usize = 100;

/// A version took the place of another.
#[derive(Debug, Clone, Serialize)]
pub struct TookOver {
    /// The record's number: messages with a higher offset are the new version's.
    pub offset: Number,
    pub pipeline: Name,
    pub version: Box<str>,
    pub former: Box<str>,
    /// The events after this number are the new version's.
    pub cursor: Number,
    pub why: SwapReason,
    pub by: Box<str>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Swaps {
    /// By plugin, the newest last.
    of: BTreeMap<Name, VecDeque<TookOver>>,
    /// Everything up to here was read.
    read: Number,
}

impl Swaps {
    /// Those of a plugin that the journal still has, the newest last.
    pub(super) async fn of(&mut self, journal: &Journal, plugin: &str) -> Result<Vec<TookOver>, JournalError> {
        loop {
            // Asked first: what is written meanwhile is read the next time.
            let head = journal.head();
            let page = journal.controls(self.read, PAGE).await?;
            if page.is_empty() {
                self.read = self.read.max(head);
                break;
            }
            for (offset, control) in page {
                self.take(offset, control);
            }
        }
        let kept_after = journal.kept_after();
        let swaps = self.of.get(plugin).into_iter().flatten();
        Ok(swaps.filter(|swap| swap.offset > kept_after).cloned().collect())
    }

    fn take(&mut self, offset: Number, control: Control) {
        self.read = offset;
        let Control::Swapped { swap, former, cursor } = control else { return };
        let Swap { pipeline, plugin, version, why, by, .. } = *swap;
        let swaps = self.of.entry(plugin).or_default();
        swaps.push_back(TookOver { offset, pipeline, version, former, cursor, why, by });
        if swaps.len() > TOLD {
            swaps.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::JournalSettings;

    fn swapped(plugin: &str, version: &str) -> Control {
        let swap = Swap {
            pipeline: "p".into(),
            plugin: plugin.into(),
            id: "a".repeat(64).into(),
            version: version.into(),
            why: SwapReason::Deploy,
            by: "7".into(),
        };
        Control::Swapped { swap: Box::new(swap), former: "v0".into(), cursor: Number(1) }
    }

    #[tokio::test]
    async fn what_was_read_once_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), &JournalSettings::default(), &[]).await.unwrap();
        let mut swaps = Swaps::default();
        let mut last = Number::ZERO;
        for version in 0..150 {
            last = journal.control(swapped("panel", &version.to_string())).await.unwrap();
            journal.control(swapped("other", "x")).await.unwrap();
            if version % 40 == 0 {
                let told = swaps.of(&journal, "panel").await.unwrap();
                assert_eq!(told.len(), (version + 1).min(100));
                assert_eq!((told.last().unwrap().offset, swaps.read), (last, journal.head()));
            }
        }
        let told = swaps.of(&journal, "panel").await.unwrap();
        let versions: Vec<&str> = told.iter().map(|swap| &*swap.version).collect();
        assert_eq!((versions.len(), versions[0], versions[99]), (100, "50", "149"));
        assert_eq!((told[99].offset, swaps.read), (last, journal.head()));
        assert!(swaps.of(&journal, "nobody").await.unwrap().is_empty());
    }
}
