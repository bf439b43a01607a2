//! What an enricher adds to rows.

use serde::Serialize;

use crate::Error;
use crate::arena::Arena;
use crate::messages::span;
use crate::types::{self, patch_flag};

/// What to change in one event's row: a JSON merge patch (RFC 7396) on the row after.
///
/// ```
/// use relevo_plugin::{Error, Event, Patch, lookup};
/// fn enrich(event: &Event<'_>, patch: &mut Patch) -> Result<(), Error> {
///     if event.after().text("estado").is_ok_and(|estado| estado == "DRAFT") {
///         patch.drop_event();
///     }
///     if let Some(user) = lookup::row("usuarios", &event.after().integer("creado_por_usuario_id")?.to_string()) {
///         patch.set("creador", &user.text("nombre")?)?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Default)]
pub struct Patch {
    body: Vec<u8>,
    drop: bool,
}

impl Patch {
    /// Sets a field of the row; `&()` is null, which takes it away.
    ///
    /// ```
    /// # use relevo_plugin::{Error, Patch};
    /// fn hide(patch: &mut Patch) -> Result<(), Error> {
    ///     patch.set("telefono", &())
    /// }
    /// ```
    ///
    /// # Errors
    /// Poison, if the value can't be written as JSON.
    pub fn set<T: Serialize + ?Sized>(&mut self, field: &str, value: &T) -> Result<(), Error> {
        let mut written = Vec::new();
        serde_json::to_writer(Arena(&mut written), value)?;
        self.body.push(if self.body.is_empty() { b'{' } else { b',' });
        serde_json::to_writer(Arena(&mut self.body), field)?;
        self.body.push(b':');
        self.body.extend_from_slice(&written);
        Ok(())
    }

    /// The plugins after this one don't see the event.
    ///
    /// ```
    /// # use relevo_plugin::Patch;
    /// Patch::default().drop_event();
    /// ```
    pub fn drop_event(&mut self) {
        self.drop = true;
    }
}

/// The patches of a batch.
#[derive(Debug, Default)]
pub struct Patches {
    pub(crate) inner: types::Patches,
    pub(crate) open: Patch,
}

impl Patches {
    /// Takes the open patch in as that of this event, if it says anything.
    pub(crate) fn close(&mut self, event: u32) {
        let Patch { body, drop } = &mut self.open;
        if body.is_empty() && !*drop {
            return;
        }
        let start = self.inner.arena.len();
        if !body.is_empty() {
            body.push(b'}');
            self.inner.arena.append(body);
        }
        let flags = if std::mem::take(drop) { patch_flag::DROP } else { 0 };
        self.inner.items.push(types::Patch { event, flags, body: span(start, self.inner.arena.len()) });
    }
}
