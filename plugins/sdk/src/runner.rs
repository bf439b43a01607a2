//! Runs a batch through a plugin: the same loop on wasm and in tests.

use crate::lookup::Remembering;
use crate::role::Role;
use crate::types::{self, Batch, Table};
use crate::{Error, Event, Migrate, Setup};

/// One instance of a plugin, with what it has to remember between batches.
#[doc(hidden)]
#[derive(Debug)]
pub struct Runner<R> {
    role: R,
    setup: Setup,
    /// All tables that this instance was told of; events name them by index.
    tables: Vec<Table>,
    /// All sources, likewise.
    sources: Vec<String>,
    /// The buffer of the last batch, emptied: the next output is written into it.
    spare: Vec<u8>,
}

/// A buffer that one huge batch made is not kept.
const KEPT: usize = 1 << 20;

impl<R: Role> Runner<R> {
    pub fn init(setup: &Setup) -> Result<Self, types::Error> {
        let role = R::init(setup).map_err(|why| why.at(0))?;
        Ok(Self { role, setup: setup.clone(), tables: Vec::new(), sources: Vec::new(), spare: Vec::new() })
    }

    pub fn migrate<P: Migrate>(&self, from: u32) -> Result<(), types::Error> {
        P::migrate(&self.setup, from).map_err(|why| why.at(0))
    }

    pub fn run(&mut self, batch: Batch) -> Result<R::Out, types::Error> {
        let Batch { arena, events, tables, sources } = batch;
        self.tables.extend(tables);
        self.sources.extend(sources);
        let text = text(&arena)?;
        let mut out = R::Out::default();
        *R::arena(&mut out) = std::mem::take(&mut self.spare);
        let _rows = Remembering::begin();
        let mut index = 0;
        for head in &events {
            // Only changes have a table; for others the index is 0 and means nothing.
            let table = if head.kind == 0 { self.tables.get(head.table as usize) } else { None };
            let source = self.sources.get(usize::from(head.source)).map_or("", String::as_str);
            let event = Event::new(text, head, table, source, index);
            self.role.event(&event, index, &mut out).map_err(|why| why.at(index))?;
            index += 1;
        }
        self.role.finish(&mut out).map_err(|why: Error| why.at(index.saturating_sub(1)))?;
        if arena.capacity() <= KEPT {
            self.spare = arena;
            self.spare.clear();
        }
        Ok(out)
    }
}

/// The arena is text: the contract says so. Only natively and in a debug build it is looked at once more, as the generated
/// bindings do with the contract's strings.
#[expect(unsafe_code, reason = "a plugin that does little spent a tenth of its time here; see SAFETY")]
fn text(arena: &[u8]) -> Result<&str, types::Error> {
    if cfg!(any(debug_assertions, not(target_arch = "wasm32"))) {
        return std::str::from_utf8(arena).map_err(|why| types::Error::Fatal(format!("the batch: {why}")));
    }
    // SAFETY: `wit/relevo.wit` has the arena be UTF-8, and `sandbox/batch.rs` writes nothing into it but whole `str`s. On
    // wasm, what a host that breaks the contract can spoil is this plugin's own memory, which is the host's anyway.
    Ok(unsafe { std::str::from_utf8_unchecked(arena) })
}
