//! A plugin for tests and loads: adds to a task the name of the user whom it is delegated to.

use relevo_plugin::{Enrich, Error, Event, Patch, Setup, lookup};

struct Lead;

impl Enrich for Lead {
    fn init(_: &Setup) -> Result<Self, Error> {
        Ok(Self)
    }

    fn enrich(&mut self, event: &Event<'_>, patch: &mut Patch) -> Result<(), Error> {
        let user = event.after().field("delegado_usuario_id");
        if let Some(user) = lookup::row("usuarios", user.raw()) {
            patch.set("delegado", &user.text("nombre")?)?;
        }
        Ok(())
    }
}

relevo_plugin::export!(Lead as enrich);
