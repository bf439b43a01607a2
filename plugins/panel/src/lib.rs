//! A first thin form: it says that something happened.

use relevo_plugin::{Aggregate, Error, Event, Messages, Setup};

struct Thin;

impl Aggregate for Thin {
    fn init(_: &Setup) -> Result<Self, Error> {
        Ok(Self)
    }

    fn fold(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
        out.send("dashboard:kpis")
            .key(event.key())
            .kind("dashboard_update")
            .event_type("dashboard_update")
            .data(&event.number())
    }
}

relevo_plugin::export!(Thin as aggregate);
