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
        let begun = self.body.len();
        self.body.push(if begun == 0 { b'{' } else { b',' });
        let written = serde_json::to_writer(Arena(&mut self.body), field).and_then(|()| {
            self.body.push(b':');
            serde_json::to_writer(Arena(&mut self.body), value)
        });
        if written.is_err() {
            self.body.truncate(begun);
        }
        Ok(written?)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Patches;

    #[test]
    fn a_field_that_can_t_be_written_leaves_no_trace() {
        let no_json = BTreeMap::from([((1, 2), 3)]);
        let mut patches = Patches::default();
        let Patches { open, .. } = &mut patches;
        assert!(open.set("first", &no_json).is_err() && open.body.is_empty());
        open.set("ok", &1).unwrap();
        assert!(open.set("last", &no_json).is_err());
        patches.close(0);
        assert_eq!(String::from_utf8(patches.inner.arena).unwrap(), r#"{"ok":1}"#);
    }
}
