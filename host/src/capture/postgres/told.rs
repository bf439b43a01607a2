//! What the stream tells within a transaction, made into changes.

use std::sync::Arc;

use crate::event::Operation;

use super::super::error::CaptureError;
use super::decode::{DecodeError, Message, decode};
use super::relation::Relation;
use super::stream::Session;
use super::transaction::lsn;
use super::transport::Transport;

impl<T: Transport> Session<'_, T> {
    /// Takes in one message of the open transaction.
    pub(super) async fn message(&mut self, bytes: &[u8]) -> Result<(), CaptureError> {
        let lsn_of = |session: &Self| session.transactions.open_commit().map_or_else(String::new, lsn);
        match decode(bytes)? {
            Message::Relation(message) => self.relation(&message).await?,
            Message::Insert { relation, new } => {
                let changes = match self.known(relation)? {
                    Some(relation) => {
                        fits(&relation, &new)?;
                        let made = relation.insert(Operation::Insert, &new);
                        Some(made.map_err(|_| untold(&relation, lsn_of(self)))?)
                    }
                    None => None,
                };
                self.transactions.row(changes)?;
            }
            Message::Update { relation, old, new } => {
                let (first, second) = match self.known(relation)? {
                    Some(relation) => {
                        fits(&relation, &new)?;
                        let made = relation.update(old.as_ref(), &new);
                        made.map_err(|_| untold(&relation, lsn_of(self)))?
                    }
                    None => (None, None),
                };
                self.transactions.row(first.into_iter().chain(second))?;
            }
            Message::Delete { relation, old } => {
                let changes = match self.known(relation)? {
                    Some(relation) => {
                        fits(&relation, &old.values)?;
                        let made = relation.delete(&old);
                        Some(made.map_err(|_| untold(&relation, lsn_of(self)))?)
                    }
                    None => None,
                };
                self.transactions.row(changes)?;
            }
            Message::Truncate { relations } => {
                for relation in relations {
                    let changes = self.known(relation)?.map(|relation| relation.truncate());
                    self.transactions.row(changes)?;
                    self.emptied.insert(relation);
                }
            }
            Message::Other => {}
        }
        Ok(())
    }

    fn known(&mut self, id: u32) -> Result<Option<Arc<Relation>>, CaptureError> {
        self.parts.behind();
        if !self.emptied.is_empty() {
            // It has rows again.
            self.emptied.remove(&id);
        }
        if self.unwatched.contains(&id) {
            return Ok(None);
        }
        match self.relations.get(&id) {
            Some(relation) => Ok(relation.clone()),
            None => Err(DecodeError::Unknown("table", '?').into()),
        }
    }
}

/// The stream's own word: a row has as many values as its table has columns.
fn fits(relation: &Relation, values: &[super::decode::Datum<'_>]) -> Result<(), DecodeError> {
    if values.len() == relation.columns.len() { Ok(()) } else { Err(DecodeError::Short) }
}

fn untold(relation: &Relation, lsn: String) -> CaptureError {
    CaptureError::Untold { table: relation.table.to_string(), lsn }
}
