//! Personnel: who became available, busy or moved, and a board of all.
//!
//! For one change of a row the messages go out in this order:
//! 1. on `efectivos`: `efectivo_created` (inserted, or the soft deletion was undone) or
//!    `efectivo_deleted` (deleted, or soft-deleted) alone; else `efectivo_status_changed` with both
//!    states, then `efectivo_location_update`, whichever are true. Other columns are told by the board;
//! 2. on the state channel `efectivos:board` the efectivo under its id if anything changed, or a
//!    tombstone when it is deleted.
//!
//! A row that was there already goes to the board alone. A truncated table empties the board and is
//! one `efectivo_deleted` without an efectivo.

mod efectivo;
#[cfg(test)]
mod tests;

use relevo_plugin::{Error, Event, Json, Kind, Messages, Operation, Route, Setup, state};
use serde::Serialize;

use crate::efectivo::{Brief, Efectivo};

/// The type of all messages.
const KIND: &str = "efectivo_event";

/// State `board/ID`: the efectivo is on the board. Needed where rows go without being named.
const BOARD: &str = "board/";

struct Efectivos;

/// What is sent about an efectivo.
#[derive(Serialize)]
struct Data<'a> {
    efectivo_id: Option<i64>,
    efectivo_data: &'a Efectivo<'a>,
    sub_event_type: &'static str,
}

/// What the board shows.
#[derive(Serialize)]
struct Entry<'a> {
    efectivo_id: Option<i64>,
    efectivo_data: &'a Efectivo<'a>,
}

impl Route for Efectivos {
    fn init(_: &Setup) -> Result<Self, Error> {
        Ok(Self)
    }

    fn route(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
        let Kind::Change(operation) = event.kind() else { return Ok(()) };
        if event.table() != "efectivos" {
            return Ok(());
        }
        let (before, after) = (event.before(), event.after());
        match operation {
            Operation::Insert => created(&Brief::read(&after), &after, out),
            Operation::Update => updated(event, &before, &after, out),
            Operation::Delete => deleted(&Brief::read(&before), &before, out),
            Operation::Truncate => truncated(out),
            Operation::Snapshot if Brief::read(&after).deleted => Ok(()),
            Operation::Snapshot => come_to_board(&Efectivo::read(&after)?, out),
        }
    }
}

relevo_plugin::export!(Efectivos as route);

fn created(brief: &Brief<'_>, row: &Json<'_>, out: &mut Messages) -> Result<(), Error> {
    if brief.deleted {
        return Ok(());
    }
    let efectivo = Efectivo::read(row)?;
    tell(&efectivo, "created", "efectivo_created", out)?;
    come_to_board(&efectivo, out)
}

fn updated(event: &Event<'_>, before: &Json<'_>, after: &Json<'_>, out: &mut Messages) -> Result<(), Error> {
    let (old, new) = (Brief::read(before), Brief::read(after));
    if old.id.is_some() && old.id != new.id {
        // Another key is another efectivo.
        deleted(&old, before, out)?;
        return created(&new, after, out);
    }
    match (old.deleted, new.deleted) {
        (true, true) => Ok(()),
        (true, false) => created(&new, after, out),
        (false, true) => deleted(&old, after, out),
        (false, false) if event.changed().is_empty() => Ok(()),
        (false, false) => {
            let mut efectivo = Efectivo::read(after)?;
            efectivo.status = new.status_since(&old);
            if efectivo.status.is_some() {
                tell(&efectivo, "status_changed", "efectivo_status_changed", out)?;
                efectivo.status = None;
            }
            if new.moved_from(&old) {
                tell(&efectivo, "location_update", "efectivo_location_update", out)?;
            }
            show(&efectivo, out)
        }
    }
}

/// `shown` is the row that is left by a soft deletion, else the row that was.
fn deleted(before: &Brief<'_>, shown: &Json<'_>, out: &mut Messages) -> Result<(), Error> {
    if before.deleted {
        return Ok(());
    }
    let efectivo = Efectivo::read(shown)?;
    tell(&efectivo, "deleted", "efectivo_deleted", out)?;
    off_board(&key_of(&efectivo), out)
}

fn truncated(out: &mut Messages) -> Result<(), Error> {
    let data = Data { efectivo_id: None, efectivo_data: &Efectivo::default(), sub_event_type: "deleted" };
    out.send("efectivos").kind(KIND).event_type("efectivo_deleted").data(&data)?;
    for entry in state::scan::<bool>(BOARD) {
        let (key, _) = entry?;
        off_board(key.strip_prefix(BOARD).unwrap_or(&key), out)?;
    }
    Ok(())
}

fn tell(efectivo: &Efectivo<'_>, what: &'static str, event_type: &str, out: &mut Messages) -> Result<(), Error> {
    let data = Data { efectivo_id: efectivo.id, efectivo_data: efectivo, sub_event_type: what };
    out.send("efectivos").kind(KIND).event_type(event_type).data(&data)
}

fn come_to_board(efectivo: &Efectivo<'_>, out: &mut Messages) -> Result<(), Error> {
    state::set(&format!("{BOARD}{}", key_of(efectivo)), &true)?;
    show(efectivo, out)
}

fn show(efectivo: &Efectivo<'_>, out: &mut Messages) -> Result<(), Error> {
    let entry = Entry { efectivo_id: efectivo.id, efectivo_data: efectivo };
    out.send("efectivos:board").key(&key_of(efectivo)).kind(KIND).event_type("efectivo_board").data(&entry)
}

fn off_board(key: &str, out: &mut Messages) -> Result<(), Error> {
    state::delete(&format!("{BOARD}{key}"));
    out.delete("efectivos:board", key).kind(KIND).event_type("efectivo_board").data(&())
}

fn key_of(efectivo: &Efectivo<'_>) -> String {
    efectivo.id.map_or_else(String::new, |id| id.to_string())
}
