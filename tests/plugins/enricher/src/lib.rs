//! A plugin for tests: adds `"enriched": true` to each row, and drops deletes.
#![cfg(target_arch = "wasm32")]

mod bindings {
    #![expect(unsafe_code, reason = "generated")]
    wit_bindgen::generate!({ path: "../../../wit", world: "enricher" });
    super::bindings::export!(Enricher with_types_in self);
    use super::Enricher;
}

use bindings::exports::relevo::plugin::{enrich, lifecycle};
use bindings::relevo::plugin::types::{Batch, Error, Patch, Patches, Span};

struct Enricher;

const DELETE: u8 = 2;

impl lifecycle::Guest for Enricher {
    fn init(_: lifecycle::Setup) -> Result<(), Error> {
        Ok(())
    }
}

impl enrich::Guest for Enricher {
    fn enrich(batch: Batch) -> Result<Patches, Error> {
        let arena = br#"{"enriched":true}"#.to_vec();
        let body = Span { start: 0, len: arena.len() as u32 };
        let patch = |(index, operation): (usize, u8)| {
            let dropped = operation == DELETE;
            let body = if dropped { Span { start: 0, len: 0 } } else { body };
            Patch { event: index as u32, flags: u32::from(dropped), body }
        };
        let items = batch.events.iter().map(|event| event.operation).enumerate().map(patch).collect();
        Ok(Patches { arena, items })
    }
}
