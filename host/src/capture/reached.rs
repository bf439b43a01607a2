//! How far a snapshot is whose rows are read in the order of their keys: each of its chunks says so, and whoever takes
//! the snapshot up after a cut goes on from the last one.

use serde::{Deserialize, Serialize};

use crate::event::Number;

/// Written into the token of a snapshot's appends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reached {
    /// The server, and its history: where another one says it, nothing of this holds.
    pub server: Box<str>,
    /// The rows hold no commit from this LSN on.
    pub since: u64,
    /// All commits from there on come after this number in the journal.
    pub head: Number,
    /// The form of each table, in the order in which they are read.
    pub forms: Vec<Box<str>>,
    /// The table that is being read; those before it are done. After all of them: how many there are.
    pub at: usize,
    /// The key of its last row, as the database writes it, column by column. Empty: none, or its rows have no order.
    pub after: Vec<String>,
    /// Read so far, and their bytes as events.
    pub rows: u64,
    pub bytes: u64,
}

impl Reached {
    pub(crate) fn write(&self) -> Box<str> {
        // Numbers, texts and lists of them: this can't fail, and without it the rows would only be read anew.
        serde_json::to_string(self).unwrap_or_default().into()
    }

    /// None: other versions of relevo, and sources of another kind, write something else, or nothing.
    pub(crate) fn read(token: &str) -> Option<Self> {
        serde_json::from_str(token).ok()
    }
}
