//! Lays inputs out as the contract wants them, as the real host does.

use super::Input;
use super::input::write;
use crate::Event;
use crate::types::{self, Batch, Table};

/// What it told the instance, and where it stands in the journal and in time.
#[derive(Debug)]
pub(super) struct Writer {
    /// Tables that the instance was told of.
    tables: Vec<Table>,
    sources: Vec<String>,
    number: u64,
    now: u64,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { tables: Vec::new(), sources: Vec::new(), number: 0, now: 1_700_000_000_000_000 }
    }

    /// Another instance has to be told again.
    pub(super) fn forget(&mut self) {
        self.tables.clear();
        self.sources.clear();
    }

    pub(super) fn write(&mut self, events: Vec<Input>) -> Batch {
        let mut batch = Batch::default();
        for input in events {
            self.number += 1;
            self.now = input.at.unwrap_or(self.now);
            let table = self.table(&input.table, &mut batch.tables);
            let source = self.source(input.kind, &mut batch.sources);
            let arena = &mut batch.arena;
            batch.events.push(types::Event {
                number: self.number,
                committed_us: self.now,
                transaction: self.number,
                flags: input.flags,
                source,
                kind: input.kind,
                operation: input.operation,
                table,
                key: write(arena, Some(input.key)),
                before: write(arena, input.before.map(|row| row.to_string())),
                after: write(arena, input.after.map(|row| row.to_string())),
                changed: write(arena, input.meta.map(|meta| meta.to_string())),
            });
        }
        batch
    }

    fn source(&mut self, kind: u8, new: &mut Vec<String>) -> u16 {
        let name = ["db", "ingest", "clock"].get(usize::from(kind)).copied().unwrap_or("db");
        let index = self.sources.iter().position(|source| source == name).unwrap_or_else(|| {
            self.sources.push(name.into());
            new.push(name.into());
            self.sources.len() - 1
        });
        u16::try_from(index).unwrap_or(u16::MAX)
    }

    fn table(&mut self, name: &str, new: &mut Vec<Table>) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let index = self.tables.iter().position(|table| table.name == name).unwrap_or_else(|| {
            let table = Table { schema: "main".into(), name: name.into() };
            self.tables.push(table.clone());
            new.push(table);
            self.tables.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }
}

/// Looks at one event as a plugin sees it, to test a function that takes an [`Event`].
///
/// ```
/// use relevo_plugin::Event;
/// use relevo_plugin::test::{see, update};
/// use serde_json::json;
///
/// fn is_done(event: &Event<'_>) -> bool {
///     event.after().text("estado").is_ok_and(|estado| estado == "COMPLETED")
/// }
///
/// let done = update("tareas", json!({ "estado": "PAUSED" }), json!({ "estado": "COMPLETED" }));
/// assert!(see(done, is_done));
/// ```
pub fn see<T>(event: Input, look: impl FnOnce(&Event<'_>) -> T) -> T {
    let Batch { arena, events, tables, sources } = Writer::new().write(vec![event]);
    let arena = String::from_utf8_lossy(&arena);
    let head = &events[0];
    let table = if head.kind == 0 { tables.get(head.table as usize) } else { None };
    let source = sources.get(usize::from(head.source)).map_or("", String::as_str);
    look(&Event::new(&arena, head, table, source, 0))
}
