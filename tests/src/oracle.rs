//! What clients must get, worked out from the writers' own log by a second, plain reading of the
//! rules: it shares no code with the plugins.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Add;

use crate::frame::Frame;
use crate::workload::{Logged, Op};

/// Whose channel gets the assignments of an efectivo: its usuario (see `world::PEOPLE`).
const USER_OF_EFECTIVO: [(u64, u64); 2] = [(1, 2), (2, 3)];

/// One message, as far as it follows from the log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expected {
    pub channel: String,
    pub event_type: String,
    pub task: u64,
    /// Holds the number of the change.
    pub title: String,
    /// Old and new, as the API names them; of status changes alone.
    pub status: Option<(String, String)>,
}

#[derive(Debug, Clone)]
struct Task {
    title: String,
    state: &'static str,
    efectivos: Vec<u64>,
    deleted: bool,
}

/// The API's name of a state.
pub fn status(state: &str) -> &'static str {
    match state {
        "PROGRAMMED" => "programada",
        "IN_PROGRESS" => "en_curso",
        "COMPLETED" => "finalizada",
        "CANCELLED" => "cancelada",
        "PAUSED" => "pausada",
        other => panic!("there is no state {other}"),
    }
}

/// Everything that the log's changes must bring, in order.
pub fn expected(log: &[Logged]) -> Vec<Expected> {
    let mut tasks: BTreeMap<u64, Task> = BTreeMap::new();
    let mut messages = Vec::new();
    for logged in log {
        let (id, after) = apply(&tasks, logged);
        let before = tasks.remove(&id);
        messages.extend(messages_of(id, before.as_ref(), after.as_ref()));
        if let Some(after) = after {
            tasks.insert(id, after);
        }
    }
    messages
}

/// The row that a change leaves.
fn apply(tasks: &BTreeMap<u64, Task>, logged: &Logged) -> (u64, Option<Task>) {
    let title = format!("n {}", logged.n);
    let fresh = |state| Task { title: title.clone(), state, efectivos: Vec::new(), deleted: false };
    let with = |id: &u64, change: &dyn Fn(&mut Task)| {
        let mut task = tasks.get(id)?.clone();
        task.title.clone_from(&title);
        change(&mut task);
        Some(task)
    };
    match &logged.op {
        Op::Replace { id, state, .. } => (*id, Some(fresh(state))),
        Op::Upsert { id, state } => (*id, with(id, &|task| task.state = state).or_else(|| Some(fresh(state)))),
        Op::Status { id, state } => (*id, with(id, &|task| task.state = state)),
        Op::Title { id } => (*id, with(id, &|_| ())),
        Op::Assign { id, efectivos } => (*id, with(id, &|task| task.efectivos.clone_from(efectivos))),
        Op::SoftDelete { id } => (*id, with(id, &|task| task.deleted = true)),
        Op::Delete { id } => (*id, None),
    }
}

fn messages_of(id: u64, before: Option<&Task>, after: Option<&Task>) -> Vec<Expected> {
    let before = before.filter(|task| !task.deleted);
    let visible = after.filter(|task| !task.deleted);
    let on = |channel: &str, event_type: &str, task: &Task| Expected {
        channel: channel.into(),
        event_type: event_type.into(),
        task: id,
        title: task.title.clone(),
        status: None,
    };
    match (before, visible) {
        (None, None) => Vec::new(),
        (None, Some(new)) => {
            let mut all = vec![on("tasks", "task_created", new)];
            all.extend(assignments(&[], new, &on));
            all
        }
        // A soft delete shows the row that is left, a delete the row that was.
        (Some(old), None) => vec![on("tasks", "task_deleted", after.unwrap_or(old))],
        (Some(old), Some(new)) => {
            let mut message = on("tasks", "task_updated", new);
            if old.state != new.state {
                message.event_type = "task_status_changed".into();
                message.status = Some((status(old.state).into(), status(new.state).into()));
            }
            let mut all = vec![message];
            all.extend(assignments(&old.efectivos, new, &on));
            all
        }
    }
}

fn assignments(old: &[u64], new: &Task, on: &dyn Fn(&str, &str, &Task) -> Expected) -> Vec<Expected> {
    let added = new.efectivos.iter().filter(|efectivo| !old.contains(efectivo));
    added
        .filter_map(|efectivo| USER_OF_EFECTIVO.iter().find(|(of, _)| of == efectivo))
        .map(|(_, user)| on(&format!("user:{user}"), "task_assigned", new))
        .collect()
}

/// The same view of a frame that a client got.
pub fn seen(frame: &Frame) -> Expected {
    let data = frame.data();
    let task = &data["task_data"];
    let text = |field: &str| task[field].as_str().map(str::to_owned);
    Expected {
        channel: frame.channel().into(),
        event_type: frame.event_type().into(),
        task: data["task_id"].as_u64().unwrap_or_else(|| panic!("no task_id in {}", frame.raw)),
        title: text("titulo").unwrap_or_default(),
        status: text("old_status").zip(text("new_status")),
    }
}

/// How what came differs from what was committed, counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub lost: usize,
    /// Those that came again.
    pub doubled: usize,
    /// Those that came behind one that was committed later.
    pub reordered: usize,
    /// Those that were never committed.
    pub strange: usize,
}

impl Tally {
    /// Of one sequence, in which each message is another one.
    pub fn of(seen: &[Expected], expected: &[Expected]) -> Self {
        let places: BTreeMap<&Expected, usize> = expected.iter().zip(0..).collect();
        let (mut tally, mut came, mut newest) = (Self::default(), BTreeSet::new(), 0);
        for message in seen {
            match places.get(message) {
                None => tally.strange += 1,
                Some(place) if !came.insert(place) => tally.doubled += 1,
                Some(place) => {
                    tally.reordered += usize::from(*place < newest);
                    newest = newest.max(*place);
                }
            }
        }
        tally.lost = expected.len() - came.len();
        tally
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            reordered: self.reordered + other.reordered,
            strange: self.strange + other.strange,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lost, doubled, reordered, strange } = self;
        write!(f, "lost {lost}, doubled {doubled}, reordered {reordered}, never committed {strange}")
    }
}

/// Compares two sequences and shows where they part. What it counted, for the test's report.
///
/// # Panics
/// If they differ.
pub fn assert_same(what: &str, seen: &[Expected], expected: &[Expected]) -> Tally {
    let tally = Tally::of(seen, expected);
    let at = seen.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(seen.len().min(expected.len()));
    if at == seen.len() && at == expected.len() {
        return tally;
    }
    let around = |all: &[Expected]| format!("{:#?}", &all[at.saturating_sub(2)..(at + 4).min(all.len())]);
    panic!(
        "{what}: {} messages instead of {}: {tally}; they part at {at}.\nseen: {}\nexpected: {}",
        seen.len(),
        expected.len(),
        around(seen),
        around(expected)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_out_of_order_or_strange_is_counted() {
        let message = |n: u64| Expected {
            channel: "tasks".into(),
            event_type: "task_updated".into(),
            task: 100,
            title: format!("n {n}"),
            status: None,
        };
        let of = |numbers: &[u64]| numbers.iter().copied().map(message).collect::<Vec<_>>();
        let all = of(&[1, 2, 3, 4, 5]);
        assert_eq!(assert_same("all", &all, &all), Tally::default());
        let counted = Tally::of(&of(&[1, 3, 2, 3, 9, 9, 5]), &all);
        assert_eq!(counted, Tally { lost: 1, doubled: 1, reordered: 1, strange: 2 });
        assert_eq!(counted.to_string(), "lost 1, doubled 1, reordered 1, never committed 2");
    }
}
