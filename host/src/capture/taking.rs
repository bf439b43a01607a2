//! Which snapshots are being taken, and for whom; both kinds of sources keep it for a session.

use std::collections::BTreeMap;

use tokio::task::AbortHandle;

use crate::event::{Name, Number};

use super::requests::{Request, Requests};

/// Snapshots that are being taken, by pipeline.
#[derive(Default)]
pub(crate) struct Taking(BTreeMap<Name, (Number, AbortHandle)>);

/// How a snapshot ended.
pub(crate) struct Taken {
    pub pipeline: Name,
    pub number: Number,
    pub complete: bool,
}

impl Taking {
    /// Whether this request's snapshot must be begun; an older one of the pipeline is given up.
    pub(crate) fn wants(&mut self, request: &Request) -> bool {
        if self.0.get(&request.pipeline).is_some_and(|(number, _)| *number == request.number) {
            return false;
        }
        if let Some((_, older)) = self.0.remove(&request.pipeline) {
            older.abort();
        }
        true
    }

    pub(crate) fn began(&mut self, pipeline: Name, number: Number, task: AbortHandle) {
        self.0.insert(pipeline, (number, task));
    }

    /// A snapshot came to an end; one that failed is begun again.
    pub(crate) fn finish(&mut self, requests: &Requests, taken: &Taken) {
        if self.0.get(&taken.pipeline).is_some_and(|(taking, _)| *taking == taken.number) {
            self.0.remove(&taken.pipeline);
        }
        requests.send_if_modified(|waiting| {
            let answered = taken.complete && waiting.get(&taken.pipeline).is_some_and(|r| r.number == taken.number);
            if answered {
                waiting.remove(&taken.pipeline);
            }
            answered
        });
    }
}
