//! The records of `wit/relevo.wit`'s `types`. The generated bindings use them on wasm, and
//! [`test`](crate::test) uses them natively, so that both run the same code.
//!
//! Records of plain numbers cross the boundary as they lie in memory: the bindings take the host's
//! bytes for a `Vec` of them. So they are `repr(C)`, which is the layout of the canonical ABI, with
//! their fields in the order of `wit/relevo.wit`; the assertions below hold them to it.
#![allow(missing_docs, reason = "wit/relevo.wit says what each field is")]

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Span {
    pub start: u32,
    pub len: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub schema: String,
    pub name: String,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Event {
    pub number: u64,
    pub committed_us: u64,
    pub transaction: u64,
    pub flags: u32,
    pub source: u16,
    pub kind: u8,
    pub operation: u8,
    pub table: u32,
    pub key: Span,
    pub before: Span,
    pub after: Span,
    pub changed: Span,
}

#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub arena: Vec<u8>,
    pub events: Vec<Event>,
    pub tables: Vec<Table>,
    pub sources: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Message {
    pub event: u32,
    pub flags: u32,
    pub channel: Span,
    pub key: Span,
    pub kind: Span,
    pub event_type: Span,
    pub data: Span,
}

#[derive(Clone, Debug, Default)]
pub struct Messages {
    pub arena: Vec<u8>,
    pub items: Vec<Message>,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Patch {
    pub event: u32,
    pub flags: u32,
    pub body: Span,
}

#[derive(Clone, Debug, Default)]
pub struct Patches {
    pub arena: Vec<u8>,
    pub items: Vec<Patch>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    Config(String),
    Poison((u32, String)),
    Transient(String),
    Fatal(String),
}

const _: () = {
    use std::mem::{align_of, offset_of, size_of};
    assert!(size_of::<Span>() == 8 && align_of::<Span>() == 4);
    assert!(size_of::<Event>() == 72 && align_of::<Event>() == 8);
    assert!(offset_of!(Event, flags) == 24 && offset_of!(Event, source) == 28);
    assert!(offset_of!(Event, kind) == 30 && offset_of!(Event, operation) == 31);
    assert!(offset_of!(Event, table) == 32 && offset_of!(Event, key) == 36);
    assert!(offset_of!(Event, before) == 44 && offset_of!(Event, after) == 52 && offset_of!(Event, changed) == 60);
    assert!(size_of::<Message>() == 48 && offset_of!(Message, channel) == 8 && offset_of!(Message, data) == 40);
    assert!(size_of::<Patch>() == 16 && offset_of!(Patch, body) == 8);
};

/// Bits of [`Event::flags`].
pub mod event_flag {
    pub const LAST: u32 = 1;
    pub const LATE: u32 = 1 << 1;
    pub const REBUILD: u32 = 1 << 2;
}

/// Bits of [`Message::flags`].
pub mod message_flag {
    pub const DELETED: u32 = 1;
}

/// Bits of [`Patch::flags`].
pub mod patch_flag {
    pub const DROP: u32 = 1;
}

impl Span {
    /// The text that the span points to; empty where it is absent, or points nowhere.
    pub(crate) fn of(self, arena: &str) -> &str {
        let start = self.start as usize;
        start.checked_add(self.len as usize).and_then(|end| arena.get(start..end)).unwrap_or("")
    }
}
