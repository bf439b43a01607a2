//! Tasks: what changed about them, who was assigned, and a board of the open ones.
//!
//! For one change of a row the messages go out in this order:
//! 1. on `tasks` at most one that says what happened to the task: `task_created` (inserted, or its
//!    soft deletion was undone), `task_deleted` (deleted, or soft-deleted), `task_status_changed`
//!    (whatever else changed), `task_updated` (anything else changed);
//! 2. `task_assigned` on `user:ID`: for a new delegate, then for each newly assigned efectivo in the
//!    order of the list; one for each user, even if both are true of them. A created task's are all new;
//! 3. on the state channel `tasks:board` the task under its id while it is open (neither finished nor
//!    cancelled nor deleted), and a tombstone when it no longer is.
//!
//! A row that was there already goes to the board alone. A truncated table empties the board and is
//! one `task_deleted` without a task. The names of people are those at the event's place in the
//! journal; a board entry gets a new name with the task's next change.

mod task;
#[cfg(test)]
mod tests;

use relevo_plugin::{Error, Event, Json, Kind, Messages, Operation, Route, Setup, state};
use serde::Serialize;

use crate::task::{Assigned, Status, Task};

/// The type of all messages.
const KIND: &str = "task_event";

/// State `board/ID`: the task is on the board. Needed where rows go without being named.
const BOARD: &str = "board/";

struct Tareas;

/// What is sent about a task.
#[derive(Serialize)]
struct Data<'a> {
    task_id: Option<i64>,
    task_data: &'a Task<'a>,
    sub_event_type: &'static str,
}

/// What the board shows.
#[derive(Serialize)]
struct Entry<'a> {
    task_id: i64,
    task_data: &'a Task<'a>,
}

impl Route for Tareas {
    fn init(_: &Setup) -> Result<Self, Error> {
        Ok(Self)
    }

    fn route(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
        let Kind::Change(operation) = event.kind() else { return Ok(()) };
        if event.table() != "tareas" {
            return Ok(());
        }
        let (before, after) = (event.before(), event.after());
        match operation {
            Operation::Insert => created(&after, out),
            Operation::Update => updated(event, &before, &after, out),
            Operation::Delete => deleted(&before, &before, out),
            Operation::Truncate => truncated(out),
            Operation::Snapshot => on_board(None, &after, out),
        }
    }
}

relevo_plugin::export!(Tareas as route);

fn created(row: &Json<'_>, out: &mut Messages) -> Result<(), Error> {
    if !is_deleted(row) {
        tell(row.integer("id")?, &Task::read(row)?, "created", out)?;
        assigned(&Json::new(""), row, out)?;
    }
    on_board(None, row, out)
}

fn updated(event: &Event<'_>, before: &Json<'_>, after: &Json<'_>, out: &mut Messages) -> Result<(), Error> {
    let id = after.integer("id")?;
    if before.integer("id").is_ok_and(|former| former != id) {
        // Another key is another task.
        deleted(before, before, out)?;
        return created(after, out);
    }
    match (is_deleted(before), is_deleted(after)) {
        (true, true) => Ok(()),
        (true, false) => created(after, out),
        (false, true) => deleted(before, after, out),
        (false, false) => {
            let mut task = Task::read(after)?;
            if let Some(status) = Status::changed(before, after) {
                task.status = Some(status);
                tell(id, &task, "status_changed", out)?;
            } else if !event.changed().is_empty() {
                tell(id, &task, "updated", out)?;
            } else {
                return Ok(());
            }
            assigned(before, after, out)?;
            on_board(Some(before), after, out)
        }
    }
}

/// `shown` is the row that is left by a soft deletion, else the row that was.
fn deleted(before: &Json<'_>, shown: &Json<'_>, out: &mut Messages) -> Result<(), Error> {
    if is_deleted(before) {
        return Ok(());
    }
    let id = shown.integer("id")?;
    tell(id, &Task::read(shown)?, "deleted", out)?;
    if is_open(before) { off_board(&id.to_string(), out) } else { Ok(()) }
}

fn truncated(out: &mut Messages) -> Result<(), Error> {
    let data = Data { task_id: None, task_data: &Task::default(), sub_event_type: "deleted" };
    out.send("tasks").kind(KIND).event_type("task_deleted").data(&data)?;
    for entry in state::scan::<bool>(BOARD) {
        let (key, _) = entry?;
        off_board(key.strip_prefix(BOARD).unwrap_or(&key), out)?;
    }
    Ok(())
}

fn tell(id: i64, task: &Task<'_>, what: &'static str, out: &mut Messages) -> Result<(), Error> {
    let data = Data { task_id: Some(id), task_data: task, sub_event_type: what };
    out.send("tasks").kind(KIND).event_type(&format!("task_{what}")).data(&data)
}

/// Tells those who have the task now and had not before.
fn assigned(before: &Json<'_>, after: &Json<'_>, out: &mut Messages) -> Result<(), Error> {
    let new = Assigned::between(before, after);
    if new.is_empty() {
        return Ok(());
    }
    let mut task = Task::read(after)?;
    task.assigned = Some(&new);
    let data = Data { task_id: Some(after.integer("id")?), task_data: &task, sub_event_type: "assigned" };
    for user in new.users() {
        out.send(&format!("user:{user}")).kind(KIND).event_type("task_assigned").data(&data)?;
    }
    Ok(())
}

/// Shows what the board must show of a row; `before` says whether it is there now.
fn on_board(before: Option<&Json<'_>>, row: &Json<'_>, out: &mut Messages) -> Result<(), Error> {
    let id = row.integer("id")?;
    let key = id.to_string();
    if !is_open(row) {
        return if before.is_some_and(is_open) { off_board(&key, out) } else { Ok(()) };
    }
    if !before.is_some_and(is_open) {
        state::set(&format!("{BOARD}{key}"), &true)?;
    }
    let entry = Entry { task_id: id, task_data: &Task::read(row)? };
    out.send("tasks:board").key(&key).kind(KIND).event_type("task_board").data(&entry)
}

fn off_board(key: &str, out: &mut Messages) -> Result<(), Error> {
    state::delete(&format!("{BOARD}{key}"));
    out.delete("tasks:board", key).kind(KIND).event_type("task_board").data(&())
}

fn is_deleted(row: &Json<'_>) -> bool {
    !row.field("deleted_at").is_null()
}

fn is_open(row: &Json<'_>) -> bool {
    let state = row.field("estado").as_text().unwrap_or_default();
    !is_deleted(row) && state != "COMPLETED" && state != "CANCELLED"
}
