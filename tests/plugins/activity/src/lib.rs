//! A plugin for tests and loads: counts the changes of tasks by the state that the task has then, and shows the
//! counts on `dashboard:activity`, once a batch.

use relevo_plugin::{Aggregate, BTreeMap, Error, Event, Mark, Messages, Setup, state};

#[derive(Default)]
struct Activity {
    last: Option<Mark>,
}

impl Aggregate for Activity {
    fn init(_: &Setup) -> Result<Self, Error> {
        Ok(Self::default())
    }

    fn fold(&mut self, event: &Event<'_>, _: &mut Messages) -> Result<(), Error> {
        let row = if event.after().is_missing() { event.before() } else { event.after() };
        state::add(&row.text("estado")?, 1);
        self.last = Some(event.mark());
        Ok(())
    }

    fn finish(&mut self, out: &mut Messages) -> Result<(), Error> {
        let Some(mark) = self.last.take() else { return Ok(()) };
        let counts = state::scan::<i64>("").collect::<Result<BTreeMap<_, _>, _>>()?;
        out.send_at(mark, "dashboard:activity").key("tareas").kind("activity").data(&counts)
    }
}

relevo_plugin::export!(Activity as aggregate);
