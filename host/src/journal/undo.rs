//! What memory knows after a transaction, or a part of one, that was taken back: it is read again.

use super::JournalError;
use super::index::{Cursor, Index, Unwritten};
use super::writer::Writer;

impl Writer {
    /// The transaction failed: what memory knows is read again. `before`: from before it.
    pub(super) async fn undo(&mut self, before: Unwritten) {
        // Fails if SQLite has rolled back by itself already.
        let _ = self.execute("ROLLBACK").await;
        if let Err(error) = self.reload(before).await {
            tracing::error!(%error, "the journal can't be read again after a failed transaction");
            self.shared.fail(&std::io::Error::other(error.to_string()));
        }
    }

    /// Reads the index again; what only memory has stays.
    pub(super) async fn reload(&mut self, before: Unwritten) -> Result<(), JournalError> {
        let next = self.index.next;
        self.index = Index::load(&mut self.conn).await.map_err(|e| self.shared.storage(e))?;
        // Numbers of records that are gone were never seen; but never give one twice in any case
        // while readers hold the tail: it must go on without a hole.
        debug_assert!(self.index.next <= next);
        for (name, before) in before.cursors {
            if !before.is_saved() {
                let saved = self.index.known.cursors.get(&name).map(|c| c.number);
                self.index.known.cursors.insert(name, Cursor { saved, ..before });
            }
        }
        Ok(())
    }
}
