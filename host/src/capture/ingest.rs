//! From a publication to an event: what sessions and the HTTP API send in.

use std::sync::Arc;

use tokio::sync::Mutex;
use uuid::Uuid;

use crate::event::{Body, Event, Micros, Name, Number, Position, Published};
use crate::journal::{Append, Appended, Journal, JournalError};

/// The source that publications come from.
pub const SOURCE: &str = "ingest";

/// Why a publication was not taken.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Appends publications. Clones share it.
#[derive(Clone)]
pub struct Ingest {
    journal: Journal,
    source: Name,
    /// New at each start: nothing is ever read again from here, and so two publications can't get
    /// the same position, whatever a power failure took from the journal.
    incarnation: Name,
    last: Arc<Mutex<Last>>,
}

/// The publication before; held over an append, so that positions enter the journal in order.
#[derive(Default)]
struct Last {
    position: u64,
    committed_at: Micros,
}

impl Ingest {
    pub fn new(journal: Journal) -> Self {
        Self {
            journal,
            source: SOURCE.into(),
            incarnation: Uuid::new_v4().simple().to_string().into(),
            last: Arc::default(),
        }
    }

    /// Appends a publication and returns its number; of two by one user to one channel with the
    /// same idempotency key the second returns the first one's number and does nothing.
    ///
    /// # Errors
    /// What the journal says: it is full, closed, or the publication is too large for a record.
    pub async fn publish(&self, mut published: Published) -> Result<Number, IngestError> {
        published.idempotency_key = published.idempotency_key.map(|key| own(&published.channel, &published.by, &key));
        let mut last = self.last.lock().await;
        // Taken before the append: if the caller goes away in the midst of it, the place is used.
        last.position += 1;
        last.committed_at = last.committed_at.max(self.journal.now());
        let position = Position { commit: last.position, index: 0 };
        let event = Event {
            number: Number::ZERO,
            source: Arc::clone(&self.source),
            position,
            committed_at: last.committed_at,
            transaction: position.commit,
            last_of_transaction: true,
            late: false,
            body: Body::Published(published),
        };
        let append = Append {
            source: Arc::clone(&self.source),
            incarnation: Arc::clone(&self.incarnation),
            position,
            token: "".into(),
            events: vec![Arc::new(event)],
            complete: true,
            snapshot: None,
        };
        match self.journal.append(append).await? {
            Appended::Applied { last, .. } => Ok(last),
            Appended::Already(number) => Ok(number),
            // A complete append is never staged.
            Appended::Staged => Err(JournalError::Closed.into()),
        }
    }
}

/// The journal's keys are one space: each user's for each channel get a part of their own. Only the
/// user's name can hold any character, so its length says where it ends.
fn own(channel: &str, user: &str, key: &str) -> Box<str> {
    format!("{channel} {} {user} {key}", user.len()).into()
}
