//! A plugin for the tests of swaps that change the state's layout: `stamp`, but its count stands elsewhere,
//! and it brings over what a version with layout 1 left.
//!
//! With `do` in its configuration it fails at that: `migrate-error`, `migrate-trap`, `migrate-loop`.

use relevo_plugin::{Aggregate, Error, Event, Messages, Migrate, Setup, state};

/// Where layout 1 has the count, and where layout 2 has it.
const FORMER: &str = "count";
const COUNT: &str = "counts/all";

struct Mover {
    stamp: String,
}

#[derive(serde::Deserialize)]
struct Config {
    stamp: String,
    #[serde(default, rename = "do")]
    how: String,
}

impl Aggregate for Mover {
    fn init(setup: &Setup) -> Result<Self, Error> {
        let Config { stamp, .. } = setup.config()?;
        Ok(Self { stamp })
    }

    fn fold(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
        if state::get::<i64>(FORMER)?.is_some() {
            return Err(Error::fatal("a mix of two layouts"));
        }
        let count = state::add(COUNT, 1);
        let data = serde_json::json!({"key": event.key(), "stamp": self.stamp, "count": count});
        out.send("stamped").kind("stamped").data(&data)
    }
}

impl Migrate for Mover {
    fn migrate(setup: &Setup, from: u32) -> Result<(), Error> {
        let Config { how, .. } = setup.config()?;
        if from != 1 {
            return Err(Error::fatal(format!("layout {from} is not known")));
        }
        state::set(COUNT, &state::count(FORMER)?)?;
        match &*how {
            "migrate-error" => return Err(Error::fatal("it says so")),
            "migrate-trap" => panic!("it says so"),
            "migrate-loop" => loop {
                std::hint::black_box(());
            },
            _ => {}
        }
        state::delete(FORMER);
        Ok(())
    }
}

relevo_plugin::export!(Mover as aggregate, migrate);
