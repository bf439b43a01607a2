//! A plugin for tests and loads: sends each task that changes, as it stands then, to the user whom it is
//! delegated to.

use relevo_plugin::{Error, Event, Messages, Route, Setup};

struct Inbox;

impl Route for Inbox {
    fn init(_: &Setup) -> Result<Self, Error> {
        Ok(Self)
    }

    fn route(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
        let task = event.after();
        let Some(user) = task.field("delegado_usuario_id").as_integer() else { return Ok(()) };
        out.send(&format!("user:{user}")).kind("task_event").event_type("task_changed").json(&task);
        Ok(())
    }
}

relevo_plugin::export!(Inbox as route);
