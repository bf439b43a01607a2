//! What the dashboard shows, read from the counters.

use std::collections::BTreeMap;

use relevo_plugin::{Error, Micros};
use serde::Serialize;

use crate::tally::Count;
use crate::{ALERTS, COMPLETED, EFECTIVOS, TASKS};

/// The data of a `dashboard_update`.
#[derive(Serialize)]
pub(crate) struct Kpis {
    total_tasks: i64,
    active_tasks: i64,
    completed_tasks: i64,
    pending_tasks: i64,
    active_efectivos: i64,
    available_efectivos: i64,
    busy_efectivos: i64,
    alerts_count: i64,
    completed_last_hour: i64,
    by_prioridad: BTreeMap<String, Tasks>,
    by_unidad: BTreeMap<String, Efectivos>,
    last_updated: Micros,
}

#[derive(Clone, Copy, Default, Serialize)]
struct Tasks {
    total: i64,
    active: i64,
    completed: i64,
    pending: i64,
}

#[derive(Clone, Copy, Default, Serialize)]
struct Efectivos {
    total: i64,
    active: i64,
    available: i64,
    busy: i64,
}

impl Kpis {
    pub(crate) fn read(at: Micros) -> Result<Self, Error> {
        let mut tasks = Tasks::default();
        let mut by_prioridad = BTreeMap::<_, Tasks>::new();
        for count in TASKS.counts()? {
            tasks.add(&count);
            by_prioridad.entry(priority(count.group.as_deref())).or_default().add(&count);
        }
        let mut efectivos = Efectivos::default();
        let mut by_unidad = BTreeMap::<_, Efectivos>::new();
        for count in EFECTIVOS.counts()? {
            efectivos.add(&count);
            by_unidad.entry(count.group.clone().unwrap_or_else(|| "sin_unidad".into())).or_default().add(&count);
        }
        Ok(Self {
            total_tasks: tasks.total,
            active_tasks: tasks.active,
            completed_tasks: tasks.completed,
            pending_tasks: tasks.pending,
            active_efectivos: efectivos.active,
            available_efectivos: efectivos.available,
            busy_efectivos: efectivos.busy,
            alerts_count: ALERTS.sum()?,
            completed_last_hour: COMPLETED.sum()?,
            by_prioridad,
            by_unidad,
            last_updated: at,
        })
    }
}

impl Tasks {
    fn add(&mut self, count: &Count) {
        self.total += count.rows;
        match count.label.as_str() {
            "IN_PROGRESS" => self.active += count.rows,
            "COMPLETED" => self.completed += count.rows,
            "PROGRAMMED" | "PAUSED" => self.pending += count.rows,
            _ => {}
        }
    }
}

impl Efectivos {
    fn add(&mut self, count: &Count) {
        self.total += count.rows;
        if count.label != "FUERA_SERVICIO" {
            self.active += count.rows;
        }
        match count.label.as_str() {
            "DISPONIBLE" => self.available += count.rows,
            "EN_TAREA" => self.busy += count.rows,
            _ => {}
        }
    }
}

/// The API's number of a priority, 1 (low) to 5 (critical); a label that it doesn't know is shown as
/// it stands.
fn priority(label: Option<&str>) -> String {
    match label {
        Some("LOW") => "1",
        Some("MEDIUM") => "2",
        Some("HIGH") => "3",
        Some("URGENT") => "4",
        Some("CRITICAL") => "5",
        Some(other) => other,
        None => "sin_prioridad",
    }
    .into()
}
