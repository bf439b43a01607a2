//! The dashboard's numbers, kept up to date from each row's before and after alone.
//!
//! On the state channel `dashboard:kpis`, under the key `kpis`, at most one `dashboard_update` a
//! batch: for its last event that changed a number. What the numbers mean (soft-deleted rows count
//! as deleted):
//! - `total_tasks` all tasks; `active_tasks` IN_PROGRESS; `completed_tasks` COMPLETED;
//!   `pending_tasks` PROGRAMMED or PAUSED; `by_prioridad` the same four for each priority;
//! - `active_efectivos` all but FUERA_SERVICIO; `available_efectivos` DISPONIBLE; `busy_efectivos`
//!   EN_TAREA; `by_unidad` total, active, available and busy for each unit (none: `sin_unidad`);
//! - `completed_last_hour` how often a task became COMPLETED, and `alerts_count` how many alerts were
//!   published on `system`, within the last hour: see [`window`]. At the start and after a rebuild the
//!   tasks that are COMPLETED count by their `fin_real`;
//! - `last_updated` the time of the event that the message is made for; of a tick, the watermark.

mod kpis;
mod tally;
#[cfg(test)]
mod tests;
mod window;

use relevo_plugin::{Aggregate, Error, Event, Kind, Mark, Messages, Micros, Operation, Setup, warn};

use crate::kpis::Kpis;
use crate::tally::{Counted, Tally};
use crate::window::Window;

const TASKS: Tally = Tally { name: "tareas", label: "estado", group: "prioridad" };
const EFECTIVOS: Tally = Tally { name: "efectivos", label: "estado_disponibilidad", group: "unidad" };
const COMPLETED: Window = Window { name: "completed" };
const ALERTS: Window = Window { name: "alerts" };

/// What the batch at hand has changed; between batches there is nothing here.
#[derive(Default)]
struct Panel {
    /// The last event that changed a number, and its time.
    last: Option<(Mark, Micros)>,
}

impl Aggregate for Panel {
    fn init(_: &Setup) -> Result<Self, Error> {
        Ok(Self::default())
    }

    fn fold(&mut self, event: &Event<'_>, _: &mut Messages) -> Result<(), Error> {
        // Before the event is counted: what fell out of the windows by then is gone.
        let fell = window::advance(event.committed_at(), &[COMPLETED, ALERTS])?;
        let counted = match event.kind() {
            Kind::Change(operation) => change(event, operation)?,
            Kind::Published => published(event)?,
            _ => false,
        };
        if fell || counted {
            self.last = Some((event.mark(), event.committed_at()));
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Messages) -> Result<(), Error> {
        let Some((mark, at)) = self.last.take() else { return Ok(()) };
        let kpis = Kpis::read(at)?;
        out.send_at(mark, "dashboard:kpis").key("kpis").kind("dashboard_update").data(&kpis)
    }
}

relevo_plugin::export!(Panel as aggregate);

/// Counts a change; tells whether a number changed.
fn change(event: &Event<'_>, operation: Operation) -> Result<bool, Error> {
    let tally = match event.table() {
        "tareas" => TASKS,
        "efectivos" => EFECTIVOS,
        _ => return Ok(false),
    };
    if operation == Operation::Truncate {
        return tally.clear();
    }
    if operation == Operation::Update && !tally.columns().iter().any(|column| event.has_changed(column)) {
        return Ok(false);
    }
    let (before, after) = (tally.read(&event.before()), tally.read(&event.after()));
    let changed = tally.replace(before.as_ref(), after.as_ref())?;
    if let Some(at) = completed(event, operation, tally, before.as_ref(), after.as_ref()) {
        COMPLETED.add(at)?;
    }
    Ok(changed)
}

/// When the task of this change was finished, if it was. One that is inserted finished was not
/// finished now.
fn completed(
    event: &Event<'_>,
    operation: Operation,
    tally: Tally,
    before: Option<&Counted<'_>>,
    after: Option<&Counted<'_>>,
) -> Option<Micros> {
    if tally != TASKS || after?.label != "COMPLETED" {
        return None;
    }
    let now = event.committed_at();
    match operation {
        Operation::Snapshot => event.after().field("fin_real").as_moment().filter(|at| *at <= now),
        _ => (before?.label != "COMPLETED").then_some(now),
    }
}

fn published(event: &Event<'_>) -> Result<bool, Error> {
    let alert =
        event.channel() == "system" && event.published().field("event_type").as_text().as_deref() == Some("alert");
    if alert {
        ALERTS.add(event.committed_at())?;
    }
    Ok(alert)
}

/// A number that can't be: something was counted down that was never counted up.
fn check(key: &str, count: i64) {
    if count < 0 {
        warn!("{key} is {count}: a row went that was never counted; a rebuild of the pipeline puts it right");
    }
}
