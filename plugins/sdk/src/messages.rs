//! What a plugin sends.

use serde::Serialize;

use crate::arena::Arena;
use crate::types::{self, Span, message_flag};
use crate::{Error, Json, Mark};

/// The messages of a batch, in the order in which they will go out.
///
/// ```
/// use relevo_plugin::{Error, Event, Messages};
/// fn tell(event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
///     out.send("tasks").kind("task_event").event_type("task_created").data(&event.key())?;
///     out.send("tasks:board").key(event.key()).kind("task_event").event_type("task_board").data(&1)?;
///     out.delete("tasks:board", "4").kind("task_event").event_type("task_board").data(&())
/// }
/// ```
#[derive(Debug, Default)]
pub struct Messages {
    pub(crate) inner: types::Messages,
    pub(crate) event: u32,
}

impl Messages {
    /// Begins a message for the event at hand. [`Draft::data`] or [`Draft::json`] ends it; without that nothing is sent.
    ///
    /// ```
    /// # use relevo_plugin::{Error, Messages};
    /// fn tell(out: &mut Messages) -> Result<(), Error> {
    ///     out.send("tasks").kind("task_event").data(&serde_json::json!({ "task_id": 7 }))
    /// }
    /// ```
    pub fn send(&mut self, channel: &str) -> Draft<'_> {
        let event = Mark(self.event);
        self.send_at(event, channel)
    }

    /// Begins a message for an earlier event of the same batch, which also gives it its time. The
    /// messages go out in the order of their events.
    ///
    /// ```
    /// # use relevo_plugin::{Error, Mark, Messages};
    /// struct Panel { last: Option<Mark> }
    /// impl Panel {
    ///     fn finish(&mut self, out: &mut Messages) -> Result<(), Error> {
    ///         let Some(mark) = self.last.take() else { return Ok(()) };
    ///         out.send_at(mark, "dashboard:kpis").key("kpis").kind("dashboard_update").data(&1)
    ///     }
    /// }
    /// ```
    pub fn send_at(&mut self, event: Mark, channel: &str) -> Draft<'_> {
        let start = self.inner.arena.len();
        let mut draft = Draft {
            out: self,
            start,
            head: types::Message { event: event.0, ..types::Message::default() },
            sent: false,
        };
        draft.head.channel = draft.write(channel);
        draft
    }

    /// Begins a tombstone, which deletes a key from a state channel.
    ///
    /// ```
    /// # use relevo_plugin::{Error, Messages};
    /// fn tell(out: &mut Messages) -> Result<(), Error> {
    ///     out.delete("tasks:board", "7").kind("task_event").data(&())
    /// }
    /// ```
    pub fn delete(&mut self, channel: &str, key: &str) -> Draft<'_> {
        let mut draft = self.send(channel).key(key);
        draft.head.flags |= message_flag::DELETED;
        draft
    }

    /// Nothing was sent yet.
    ///
    /// ```
    /// # use relevo_plugin::Messages;
    /// assert!(Messages::default().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.inner.items.is_empty()
    }

    /// How many messages were sent.
    ///
    /// ```
    /// # use relevo_plugin::Messages;
    /// assert_eq!(Messages::default().len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.inner.items.len()
    }
}

/// A message that is being written.
///
/// ```
/// use relevo_plugin::{Draft, Error};
/// fn finish(draft: Draft<'_>) -> Result<(), Error> {
///     draft.kind("task_event").event_type("task_created").data("Patrulla")
/// }
/// ```
#[must_use = "a message is sent by `data` or `json`"]
#[derive(Debug)]
pub struct Draft<'a> {
    out: &'a mut Messages,
    /// Where in the arena it begins, to take it back.
    start: usize,
    head: types::Message,
    sent: bool,
}

impl Draft<'_> {
    /// Of a state channel: which value this one replaces.
    ///
    /// ```
    /// # use relevo_plugin::{Error, Messages};
    /// fn tell(out: &mut Messages) -> Result<(), Error> {
    ///     out.send("tasks:board").key("7").data("Patrulla")
    /// }
    /// ```
    pub fn key(mut self, key: &str) -> Self {
        self.head.key = self.write(key);
        self
    }

    /// What the client finds under `type`, like `task_event`. Without it, `event`.
    ///
    /// ```
    /// # use relevo_plugin::{Error, Messages};
    /// fn tell(out: &mut Messages) -> Result<(), Error> {
    ///     out.send("tasks").kind("task_event").data("Patrulla")
    /// }
    /// ```
    pub fn kind(mut self, kind: &str) -> Self {
        self.head.kind = self.write(kind);
        self
    }

    /// What the client finds under `event_type`, like `task_created`. Without it, the same as `type`.
    ///
    /// ```
    /// # use relevo_plugin::{Error, Messages};
    /// fn tell(out: &mut Messages) -> Result<(), Error> {
    ///     out.send("tasks").kind("task_event").event_type("task_created").data("Patrulla")
    /// }
    /// ```
    pub fn event_type(mut self, event_type: &str) -> Self {
        self.head.event_type = self.write(event_type);
        self
    }

    /// Writes the data and sends the message. Data is whatever serde can write.
    ///
    /// ```
    /// # use relevo_plugin::{Error, Messages};
    /// #[derive(serde::Serialize)]
    /// struct Task<'a> { id: i64, titulo: &'a str }
    /// fn tell(out: &mut Messages) -> Result<(), Error> {
    ///     out.send("tasks").data(&Task { id: 7, titulo: "Patrulla" })
    /// }
    /// ```
    ///
    /// # Errors
    /// Poison, if the data can't be written as JSON, like a map whose keys are no texts.
    pub fn data<T: Serialize + ?Sized>(self, data: &T) -> Result<(), Error> {
        let start = self.out.inner.arena.len();
        serde_json::to_writer(Arena(&mut self.out.inner.arena), data)?;
        let data = span(start, self.out.inner.arena.len());
        self.finish(data);
        Ok(())
    }

    /// Sends a row, or a field of one, as it stands; what isn't there is null. [`data`](Self::data) takes it, too, but
    /// reads it first.
    ///
    /// ```
    /// # use relevo_plugin::{Error, Event, Messages};
    /// fn tell(event: &Event<'_>, out: &mut Messages) {
    ///     out.send("tasks").json(&event.after());
    /// }
    /// ```
    ///
    /// A text that is no JSON, your own or a field within a text column, is a fault of the batch, since the host reads all
    /// that is sent; `data` makes it poison of the one event.
    pub fn json(mut self, json: &Json<'_>) {
        let data = self.write(if json.is_missing() { "null" } else { json.raw() });
        self.finish(data);
    }

    fn finish(mut self, data: Span) {
        self.head.data = data;
        if self.head.kind.len == 0 {
            self.head.kind = self.write("event");
        }
        if self.head.event_type.len == 0 {
            self.head.event_type = self.head.kind;
        }
        self.out.inner.items.push(self.head);
        self.sent = true;
    }

    fn write(&mut self, text: &str) -> Span {
        let start = self.out.inner.arena.len();
        Arena(&mut self.out.inner.arena).put(text.as_bytes());
        span(start, self.out.inner.arena.len())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.sent {
            self.out.inner.arena.truncate(self.start);
        }
    }
}

/// An arena beyond 4 GiB doesn't exist: guest memory is smaller, and the host's limit far smaller.
pub(crate) fn span(start: usize, end: usize) -> Span {
    Span { start: u32::try_from(start).unwrap_or(0), len: u32::try_from(end - start).unwrap_or(0) }
}
