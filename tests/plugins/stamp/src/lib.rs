//! A plugin for the tests of swaps: each of its messages says which version made it, and how many
//! changes all versions saw together, so that one that is lost, doubled, or made by the wrong version
//! shows.
//!
//! Its configuration gives the `stamp`, and with `do` a way to be broken: `trap`, `loop`, `memory` at
//! the first event, `init` at the start, `trap-at` at the row whose key `at` names.

use relevo_plugin::{Aggregate, Error, Event, Messages, Setup, state};

struct Stamp {
    stamp: String,
    how: String,
    at: String,
}

#[derive(serde::Deserialize)]
struct Config {
    stamp: String,
    #[serde(default, rename = "do")]
    how: String,
    #[serde(default)]
    at: String,
}

impl Aggregate for Stamp {
    fn init(setup: &Setup) -> Result<Self, Error> {
        let Config { stamp, how, at } = setup.config()?;
        if how == "init" {
            return Err(Error::config("it says so"));
        }
        Ok(Self { stamp, how, at })
    }

    fn fold(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
        match &*self.how {
            "trap" => panic!("it says so"),
            "trap-at" if event.key() == self.at => panic!("it says so"),
            "loop" => loop {
                std::hint::black_box(());
            },
            "memory" => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(vec![1_u8; 1 << 20]);
                    std::hint::black_box(&hoard);
                }
            }
            _ => {}
        }
        let count = state::add("count", 1);
        let data = serde_json::json!({"key": event.key(), "stamp": self.stamp, "count": count});
        out.send("stamped").kind("stamped").data(&data)
    }
}

relevo_plugin::export!(Stamp as aggregate);
