//! What others have of a source that runs: how it is, and a way to have it begin anew.

use tokio::sync::{mpsc, oneshot, watch};

use crate::event::Name;
use crate::journal::JournalError;

use super::SourceHealth;

/// Somebody wants a source to begin anew.
pub(crate) struct Wish {
    pub by: String,
    /// Gets the outcome, once it is durable.
    pub done: oneshot::Sender<Result<(), JournalError>>,
}

pub(crate) type Wishes = mpsc::Receiver<Wish>;

/// A source of the running server; clones share it.
#[derive(Clone)]
pub struct Handle {
    pub(super) name: Name,
    pub(super) health: watch::Receiver<SourceHealth>,
    pub(super) wishes: mpsc::Sender<Wish>,
}

impl Handle {
    pub fn name(&self) -> &Name {
        &self.name
    }

    pub fn health(&self) -> SourceHealth {
        self.health.borrow().clone()
    }

    /// Ends the source's session and forgets its place: clients are told of a gap, and its pipelines are
    /// rebuilt. Durable when this returns.
    ///
    /// # Errors
    /// `Closed` where capture has stopped; what the journal says.
    pub async fn reset(&self, by: &str) -> Result<(), JournalError> {
        let (done, outcome) = oneshot::channel();
        let wish = Wish { by: by.to_owned(), done };
        self.wishes.send(wish).await.map_err(|_| JournalError::Closed)?;
        outcome.await.unwrap_or(Err(JournalError::Closed))
    }
}
