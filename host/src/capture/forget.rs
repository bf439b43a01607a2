//! Forgets where a source stands: its next session begins anew. After a gap that was told, so that it isn't
//! told again at each try to begin; and when an operator resets the source, with the server running or not.

use crate::event::{Name, Position};
use crate::journal::{Append, Control, Journal, JournalError, SourceState};

/// What stands in the place of a source's token. After a gap, what the database still keeps for us is taken;
/// after one that can't be read across, or a reset, it isn't.
const GAP: &str = "gap";
const UNREADABLE: &str = "unreadable";
const RESET: &str = "reset";

/// Why a source has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forgotten {
    Gap,
    /// A gap, and nothing that the database keeps for us can be read.
    Unreadable,
    Reset,
}

/// Whether a source's place was forgotten, and everybody was told.
pub(crate) fn forgotten(known: &SourceState) -> Option<Forgotten> {
    match &*known.token {
        GAP => Some(Forgotten::Gap),
        UNREADABLE => Some(Forgotten::Unreadable),
        RESET => Some(Forgotten::Reset),
        _ => None,
    }
}

/// Tells of a gap, so that clients hear of it and pipelines are rebuilt, and forgets the place.
pub(crate) async fn gap(journal: &Journal, source: &Name, reason: &str) -> Result<(), JournalError> {
    tell(journal, source, reason, GAP).await
}

/// The same, where nothing can be read of what the database keeps for us: it is not taken.
pub(crate) async fn unreadable(journal: &Journal, source: &Name, reason: &str) -> Result<(), JournalError> {
    tell(journal, source, reason, UNREADABLE).await
}

/// Has a source begin anew, as if it were new. Durable when this returns: a crash does not undo it. Nothing
/// may be appended for the source meanwhile. Does nothing for a source that has not begun.
///
/// # Errors
/// If the journal takes nothing.
pub async fn reset(journal: &Journal, source: &Name, by: &str) -> Result<(), JournalError> {
    if journal.source(source).await?.is_none_or(|known| forgotten(&known).is_some()) {
        return Ok(());
    }
    tell(journal, source, &format!("it was reset by {by}"), RESET).await
}

async fn tell(journal: &Journal, source: &Name, reason: &str, token: &str) -> Result<(), JournalError> {
    tracing::error!(%source, reason, "gap: the source's pipelines are rebuilt");
    journal.control(Control::Gap { source: Name::clone(source), reason: reason.into() }).await?;
    let append = Append {
        source: Name::clone(source),
        incarnation: uuid::Uuid::new_v4().simple().to_string().into(),
        position: Position { commit: 0, index: 0 },
        token: token.into(),
        events: Vec::new(),
        complete: true,
        snapshot: None,
    };
    journal.append(append).await?;
    Ok(())
}
