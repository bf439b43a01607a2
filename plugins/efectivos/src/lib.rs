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

use crate::efectivo::{Efectivo, Status};

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
    efectivo_id: i64,
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
            Operation::Insert => created(&after, out),
            Operation::Update => updated(event, &before, &after, out),
            Operation::Delete => deleted(&before, &before, out),
            Operation::Truncate => truncated(out),
            Operation::Snapshot if is_deleted(&after) => Ok(()),
            Operation::Snapshot => come_to_board(&after, out),
        }
    }
}

relevo_plugin::export!(Efectivos as route);

fn created(row: &Json<'_>, out: &mut Messages) -> Result<(), Error> {
    if is_deleted(row) {
        return Ok(());
    }
    tell(row.integer("id")?, &Efectivo::read(row)?, "created", "efectivo_created", out)?;
    come_to_board(row, out)
}

fn updated(event: &Event<'_>, before: &Json<'_>, after: &Json<'_>, out: &mut Messages) -> Result<(), Error> {
    let id = after.integer("id")?;
    if before.integer("id").is_ok_and(|former| former != id) {
        // Another key is another efectivo.
        deleted(before, before, out)?;
        return created(after, out);
    }
    match (is_deleted(before), is_deleted(after)) {
        (true, true) => Ok(()),
        (true, false) => created(after, out),
        (false, true) => deleted(before, after, out),
        (false, false) if event.changed().is_empty() => Ok(()),
        (false, false) => {
            let mut efectivo = Efectivo::read(after)?;
            efectivo.status = Status::changed(before, after);
            if efectivo.status.is_some() {
                tell(id, &efectivo, "status_changed", "efectivo_status_changed", out)?;
                efectivo.status = None;
            }
            if moved(before, after) {
                tell(id, &efectivo, "location_update", "efectivo_location_update", out)?;
            }
            show(id, &efectivo, out)
        }
    }
}

/// `shown` is the row that is left by a soft deletion, else the row that was.
fn deleted(before: &Json<'_>, shown: &Json<'_>, out: &mut Messages) -> Result<(), Error> {
    if is_deleted(before) {
        return Ok(());
    }
    let id = shown.integer("id")?;
    tell(id, &Efectivo::read(shown)?, "deleted", "efectivo_deleted", out)?;
    off_board(&id.to_string(), out)
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

fn tell(
    id: i64,
    efectivo: &Efectivo<'_>,
    what: &'static str,
    event_type: &str,
    out: &mut Messages,
) -> Result<(), Error> {
    let data = Data { efectivo_id: Some(id), efectivo_data: efectivo, sub_event_type: what };
    out.send("efectivos").kind(KIND).event_type(event_type).data(&data)
}

fn come_to_board(row: &Json<'_>, out: &mut Messages) -> Result<(), Error> {
    let id = row.integer("id")?;
    state::set(&format!("{BOARD}{id}"), &true)?;
    show(id, &Efectivo::read(row)?, out)
}

fn show(id: i64, efectivo: &Efectivo<'_>, out: &mut Messages) -> Result<(), Error> {
    let entry = Entry { efectivo_id: id, efectivo_data: efectivo };
    out.send("efectivos:board").key(&id.to_string()).kind(KIND).event_type("efectivo_board").data(&entry)
}

fn off_board(key: &str, out: &mut Messages) -> Result<(), Error> {
    state::delete(&format!("{BOARD}{key}"));
    out.delete("efectivos:board", key).kind(KIND).event_type("efectivo_board").data(&())
}

fn is_deleted(row: &Json<'_>) -> bool {
    !row.field("deleted_at").is_null()
}

fn moved(before: &Json<'_>, after: &Json<'_>) -> bool {
    ["lat", "lon"].iter().any(|column| before.field(column).as_float() != after.field(column).as_float())
}
