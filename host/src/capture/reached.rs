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
    /// A digest of the forms of all tables up to that one ([`form`]): it stands in each chunk, however many there are.
    pub form: Box<str>,
    /// The table that is being read; those before it are done. After all of them: how many there are.
    pub at: usize,
    /// The key of its last row, as the database writes it, column by column. Empty: none, or its rows have no order.
    pub after: Vec<String>,
    /// Read so far, and their bytes as events.
    pub rows: u64,
    pub bytes: u64,
    /// How many keys were said not to count, over all cuts, and what whoever folds the rows needs to remember them.
    pub void: Void,
}

/// Keys that a snapshot said not to count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Void {
    pub keys: u64,
    /// In memory, about.
    pub bytes: u64,
}

/// The longest token, in bytes: a record has room for it beside a chunk's events.
pub(crate) const LONGEST_TOKEN: usize = 8 << 10;

impl Reached {
    /// Empty where a key is so long that there is no room for it: behind that chunk nobody goes on, and behind the next
    /// one somebody may.
    pub(crate) fn write(&self) -> Box<str> {
        // Numbers, texts and lists of them: this can't fail, and without it the rows would only be read anew.
        let token = serde_json::to_string(self).unwrap_or_default();
        if token.len() <= LONGEST_TOKEN { token.into() } else { "".into() }
    }

    /// None: other versions of relevo, and sources of another kind, write something else, or nothing.
    pub(crate) fn read(token: &str) -> Option<Self> {
        serde_json::from_str(token).ok()
    }
}

/// What [`Reached::form`] is: of these tables up to the one at a place, or of all.
pub(crate) fn form(forms: &[Box<str>], at: usize) -> Box<str> {
    let read = forms.get(..=at).unwrap_or(forms).join(" ");
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, read.as_bytes()).simple().to_string().into()
}
