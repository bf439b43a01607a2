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

use relevo_plugin::{Error, Event, Json, Kind, Messages, Operation, Route, Setup, Written, state};
use serde::Serialize;

use crate::task::{Brief, Row, Task};

/// The type of all messages.
const KIND: &str = "task_event";

/// State `board/ID`: the task is on the board. Needed where rows go without being named.
const BOARD: &str = "board/";

struct Tareas;

/// A task that messages are made of: it is written once for all of them.
struct Shown {
    id: i64,
    task: Written,
}

/// What is sent about a task.
#[derive(Serialize)]
struct Data<'a> {
    task_id: Option<i64>,
    task_data: &'a Written,
    sub_event_type: &'static str,
}

/// What the board shows.
#[derive(Serialize)]
struct Entry<'a> {
    task_id: i64,
    task_data: &'a Written,
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
            Operation::Insert => created(&Row::read(&after), out),
            Operation::Update => updated(event, &before, &Row::read(&after), out),
            Operation::Delete => deleted(&Brief::read(&before), &Row::read(&before), out),
            Operation::Truncate => truncated(out),
            Operation::Snapshot => {
                let row = Row::read(&after);
                if row.brief().is_open() { come_to_board(&Shown::of(&row)?, out) } else { Ok(()) }
            }
        }
    }
}

relevo_plugin::export!(Tareas as route);

impl Shown {
    fn of(row: &Row<'_>) -> Result<Self, Error> {
        let task = row.task();
        let id = task.id.ok_or_else(|| Error::poison("a task without an id"))?;
        Ok(Self { id, task: Written::of(&task)? })
    }
}

fn created(row: &Row<'_>, out: &mut Messages) -> Result<(), Error> {
    let brief = row.brief();
    if brief.deleted {
        return Ok(());
    }
    let shown = Shown::of(row)?;
    tell(shown.id, &shown.task, "created", out)?;
    assigned(&Brief::default(), &brief, &shown, out)?;
    if brief.is_open() { come_to_board(&shown, out) } else { Ok(()) }
}

fn updated(event: &Event<'_>, before: &Json<'_>, after: &Row<'_>, out: &mut Messages) -> Result<(), Error> {
    let (old, new) = (Brief::read(before), after.brief());
    if old.id.is_some() && old.id != new.id {
        // Another key is another task.
        deleted(&old, &Row::read(before), out)?;
        return created(after, out);
    }
    match (old.deleted, new.deleted) {
        (true, true) => Ok(()),
        (true, false) => created(after, out),
        (false, true) => deleted(&old, after, out),
        (false, false) if event.changed().is_empty() => Ok(()),
        (false, false) => {
            let shown = Shown::of(after)?;
            match new.status_since(&old) {
                Some(status) => tell(shown.id, &shown.task.with(&status)?, "status_changed", out)?,
                None => tell(shown.id, &shown.task, "updated", out)?,
            }
            assigned(&old, &new, &shown, out)?;
            match (old.is_open(), new.is_open()) {
                (false, true) => come_to_board(&shown, out),
                (true, true) => show(&shown, out),
                (true, false) => off_board(&shown.id.to_string(), out),
                (false, false) => Ok(()),
            }
        }
    }
}

/// `shown` is the row that is left by a soft deletion, else the row that was.
fn deleted(before: &Brief<'_>, shown: &Row<'_>, out: &mut Messages) -> Result<(), Error> {
    if before.deleted {
        return Ok(());
    }
    let shown = Shown::of(shown)?;
    tell(shown.id, &shown.task, "deleted", out)?;
    if before.is_open() { off_board(&shown.id.to_string(), out) } else { Ok(()) }
}

fn truncated(out: &mut Messages) -> Result<(), Error> {
    let data = Data { task_id: None, task_data: &Written::of(&Task::default())?, sub_event_type: "deleted" };
    out.send("tasks").kind(KIND).event_type("task_deleted").data(&data)?;
    let mut gone = 0;
    for entry in state::scan::<bool>(BOARD) {
        let (key, _) = entry?;
        off_board(key.strip_prefix(BOARD).unwrap_or(&key), out)?;
        gone += 1;
    }
    // Rare, and seldom meant: an operator may look for who emptied the board.
    relevo_plugin::info!("the table was emptied: {gone} tasks left the board");
    Ok(())
}

fn tell(id: i64, task: &Written, what: &'static str, out: &mut Messages) -> Result<(), Error> {
    let data = Data { task_id: Some(id), task_data: task, sub_event_type: what };
    out.send("tasks").kind(KIND).event_type(&format!("task_{what}")).data(&data)
}

/// Tells those who have the task now and had not before.
fn assigned(before: &Brief<'_>, after: &Brief<'_>, shown: &Shown, out: &mut Messages) -> Result<(), Error> {
    let new = after.assigned_since(before);
    if new.is_empty() {
        return Ok(());
    }
    let task = shown.task.with(&new)?;
    let data = Data { task_id: Some(shown.id), task_data: &task, sub_event_type: "assigned" };
    for user in new.users() {
        out.send(&format!("user:{user}")).kind(KIND).event_type("task_assigned").data(&data)?;
    }
    Ok(())
}

fn come_to_board(shown: &Shown, out: &mut Messages) -> Result<(), Error> {
    state::set(&format!("{BOARD}{}", shown.id), &true)?;
    show(shown, out)
}

fn show(shown: &Shown, out: &mut Messages) -> Result<(), Error> {
    let entry = Entry { task_id: shown.id, task_data: &shown.task };
    out.send("tasks:board").key(&shown.id.to_string()).kind(KIND).event_type("task_board").data(&entry)
}

fn off_board(key: &str, out: &mut Messages) -> Result<(), Error> {
    state::delete(&format!("{BOARD}{key}"));
    out.delete("tasks:board", key).kind(KIND).event_type("task_board").data(&())
}
