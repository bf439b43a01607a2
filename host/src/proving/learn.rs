//! Learns from a plugin's own errors which columns it wants, so that generated rows reach its code
//! where no sample shows them: the SDK's errors name the field and what is wanted.

use super::generate;
use super::lane::Lane;
use super::rows::{Holds, Tables};
use super::samples::Samples;
use crate::event::{Body, Name};
use crate::sandbox::{BatchEvent, Lookup, Plugin};

/// How often it is tried again with what was learned: a plugin asks for one column after the other.
const ROUNDS: usize = 16;
/// Events of a round.
const EVENTS: usize = 40;

/// Adds columns to the tables; gives their names.
pub(super) fn learn(plugin: &Plugin, samples: &Samples, tables: &mut Tables, seed: u64) -> Vec<String> {
    let mut learned = Vec::new();
    for _ in 0..ROUNDS {
        let events = generate::generated(plugin.manifest(), samples, tables, seed, EVENTS);
        let lookup = generate::lookup(plugin.manifest(), samples, tables, seed);
        let mut new = Vec::new();
        for (table, column, holds) in wanted(plugin, &events, lookup) {
            if tables.of(&table).guess(&column, holds) {
                new.push(format!("{table}.{column}"));
            }
        }
        if new.is_empty() {
            break;
        }
        learned.append(&mut new);
    }
    learned
}

fn wanted(plugin: &Plugin, events: &[BatchEvent], lookup: Lookup) -> Vec<(Name, String, Holds)> {
    let mut lane = Lane::new(plugin, lookup);
    let mut found = Vec::new();
    for event in events {
        let Body::Change(change) = &event.event.body else { continue };
        // Whatever else goes wrong is the checks' to tell.
        if lane.run(std::slice::from_ref(event)).is_err() {
            continue;
        }
        if let Some((_, reason)) = lane.refused.pop()
            && let Some((column, holds)) = read(&reason)
        {
            found.push((change.table.clone(), column, holds));
        }
    }
    found
}

/// `estado: there is no such field; a text is wanted`, or serde's "missing field `estado`".
fn read(reason: &str) -> Option<(String, Holds)> {
    if let Some((_, rest)) = reason.split_once("missing field `") {
        return Some((rest.split('`').next()?.to_owned(), Holds::Text));
    }
    let (name, wanted) = reason.split_once(": there is no such field; ")?;
    let name = name.rsplit(' ').next()?;
    let holds = match wanted {
        "an integer is wanted" => Holds::Integer,
        "a number is wanted" => Holds::Number,
        "a boolean is wanted" => Holds::Boolean,
        "a moment is wanted" => Holds::Moment,
        _ => Holds::Text,
    };
    (!name.is_empty() && !name.contains('.')).then(|| (name.to_owned(), holds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdks_errors_and_serdes_name_the_column() {
        assert_eq!(read("estado: there is no such field; a text is wanted"), Some(("estado".into(), Holds::Text)));
        assert_eq!(read("n: there is no such field; an integer is wanted"), Some(("n".into(), Holds::Integer)));
        assert_eq!(read("missing field `zona` at line 1 column 9"), Some(("zona".into(), Holds::Text)));
        assert_eq!(read("extra.zona: there is no such field; a text is wanted"), None);
        assert_eq!(read("no such user"), None);
    }
}
