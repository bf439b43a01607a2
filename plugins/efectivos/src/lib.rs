//! A first thin form: it says that something happened.

use relevo_plugin::{Aggregate, Error, Event, Messages, Setup};

struct Thin;

impl Aggregate for Thin {
    fn init(_: &Setup) -> Result<Self, Error> {
        Ok(Self)
    }

    fn fold(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
        out.send("efectivos")
            .key(event.key())
            .kind("efectivo_event")
            .event_type("efectivo_status_changed")
            .data(&event.number())
    }
}

relevo_plugin::export!(Thin as aggregate);
