//! Which versions of plugins a journal's pipelines need, read from outside: those that serve, wait, or are wished for.
//! `relevo backup` asks, so that a copy has them all. Those that served before are left out: without one there is
//! nothing to roll back to, and the pipeline runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::meta::{META, Meta};
use crate::event::Name;
use crate::journal::{self, JournalError, Standing};
use crate::store::VersionId;

/// The plugins and their versions that the journal in a folder needs.
///
/// # Errors
/// As opening the journal, but for `Locked`; `Corrupt` if what a pipeline remembers can't be read.
pub(crate) async fn needed(folder: &Path) -> Result<BTreeSet<(Name, VersionId)>, JournalError> {
    let Standing { pipelines, swaps } = journal::standing(folder, META).await?;
    let mut needed = BTreeSet::new();
    let mut wished = swaps;
    for mut stored in pipelines.into_values() {
        let broken = |why| JournalError::Corrupt { path: PathBuf::from(folder), why };
        let Meta { versions, pending, .. } = Meta::take(&mut stored).map_err(broken)?;
        wished.extend(pending.map(|pending| pending.swap));
        for (plugin, active) in versions {
            needed.insert((plugin, active.id));
        }
    }
    needed.extend(wished.into_iter().filter_map(|swap| Some((swap.plugin, VersionId::try_from(swap.id).ok()?))));
    Ok(needed)
}
