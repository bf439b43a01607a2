//! A plugin's migration: brings over an empty state, and one that it can't know, twice each. What a former version
//! really left is in a pipeline's checkpoints, and a trial brings that over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::lane::{Lane, advice};
use super::report::Check;
use crate::sandbox::{BatchEvent, Fault, Lookup, Plugin, State};

const NAME: &str = "migrates";
/// How many former layouts are tried, the newest first.
const LAYOUTS: usize = 5;

type Entries = BTreeMap<Box<str>, Arc<[u8]>>;

/// None: its state has only ever had one layout. `within`: what a migration may take of CPU time.
pub(super) fn check(plugin: &Plugin, lookup: &Lookup, day: &[BatchEvent], within: Duration) -> Option<Check> {
    let layout = plugin.manifest().state_layout;
    let former: Vec<u32> = (1..layout).rev().filter(|from| plugin.migrates(*from)).take(LAYOUTS).collect();
    let Some(newest) = former.first() else {
        return match (layout, plugin.migrates(0)) {
            (2.., _) => Some(Check::note(
                NAME,
                format!("it has no migration, and state_layout is {layout}"),
                "in place of a version with another layout its state is made anew from the source's rows; `impl Migrate` brings it over",
            )),
            (_, true) => Some(Check::note(
                NAME,
                "it has a migration, and state_layout is 1",
                "there is nothing to bring over: raise state_layout with each change of the state's layout",
            )),
            _ => None,
        };
    };
    let mut lane = Lane::new(plugin, lookup.clone());
    // What goes wrong on an ordinary day is told elsewhere.
    let _ = lane.run(day);
    let own: Entries = lane.state.entries().map(|(key, value)| (key.into(), value.clone())).collect();
    let mut refused = Vec::new();
    for from in &former {
        for (what, state) in [("an empty state", &Entries::new()), ("a state that it can't know", &own)] {
            let made = || bring_over(plugin, *from, state, lookup, within);
            let (first, second) = (made(), made());
            let told = format!("{what} of layout {from}");
            match (first, second) {
                (Ok(first), Ok(second)) if first == second => {}
                (Ok(_), Ok(_)) => {
                    let found = format!("{told} became another state the second time");
                    return Some(Check::failed(
                        NAME,
                        found,
                        "same state in, same state out: use BTreeMap, not HashMap",
                    ));
                }
                // To refuse is an answer, but not to what any version may have left.
                (Err(fault), _) | (_, Err(fault)) if is_answer(&fault) && (from != newest || !state.is_empty()) => {
                    refused.push(format!("{told} ({fault})"));
                }
                (Err(fault), _) | (_, Err(fault)) => {
                    return Some(Check::failed(NAME, format!("{told}: {fault}"), advice(&fault)));
                }
            }
        }
    }
    let layouts = former.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let found = format!("brings over layout {layouts}");
    Some(match refused.as_slice() {
        [] => Check::ok(NAME, found),
        refused => Check::note(
            NAME,
            format!("{found}, but not {}", refused.join(", ")),
            "the version is refused there, and the former one goes on; `relevo plugin trial` shows what it does with the real state",
        ),
    })
}

/// The plugin itself says that it can't.
fn is_answer(fault: &Fault) -> bool {
    matches!(fault, Fault::Fatal(_) | Fault::Config(_) | Fault::Transient(_))
}

fn bring_over(
    plugin: &Plugin,
    from: u32,
    state: &Entries,
    lookup: &Lookup,
    within: Duration,
) -> Result<Entries, Fault> {
    let mut state = State::new(state.clone(), plugin.manifest().limits.state_bytes);
    plugin.instantiate(&"check".into())?.migrate(from, &mut state, lookup, within)?;
    state.keep();
    Ok(state.entries().map(|(key, value)| (key.into(), value.clone())).collect())
}
