//! The same events again: with other instances, and in other batches. Same events in, same messages out.

use std::collections::BTreeMap;

use super::lane::{Lane, Made, Usage};
use super::report::{Check, count};
use crate::event::Number;
use crate::sandbox::{BatchEvent, Fault, Lookup, Plugin, Role};

/// Batches are not cut smaller or larger than this, in events.
const SIZES: std::ops::RangeInclusive<usize> = 1..=48;

/// What a run made.
struct Run {
    made: Vec<Made>,
    refused: Vec<(Number, String)>,
    state: BTreeMap<String, Vec<u8>>,
    usage: Usage,
}

/// Runs the events several times and compares.
pub(super) fn checks(plugin: &Plugin, lookup: &Lookup, events: &[BatchEvent], seed: u64) -> (Vec<Check>, Usage) {
    let mut random = fastrand::Rng::with_seed(seed);
    let cuts = cut(events, &mut random);
    let run = |cuts: &[usize], replace: &mut dyn FnMut(usize) -> bool| go(plugin, lookup, events, cuts, replace);

    let first = match run(&cuts, &mut |_| false) {
        Ok(first) => first,
        Err((number, fault)) => {
            return (vec![stopped("runs", number, &fault)], Usage::default());
        }
    };
    let mut checks = vec![ran(events.len(), cuts.len(), &first)];
    let mut edges = fastrand::Rng::with_seed(random.u64(..));
    let again = [
        ("the same again", run(&cuts, &mut |_| false)),
        ("instance replaced now and then", run(&cuts, &mut |_| edges.u8(..4) == 0)),
        ("instance replaced always", run(&cuts, &mut |_| true)),
    ];
    let hint = "the result depends on the instance, not on the events alone: keep what must stay in `state`, and use BTreeMap instead of HashMap";
    for (name, second) in again {
        checks.push(match second.map(|second| difference(&first, &second)) {
            Ok(None) => Check::ok(name, "same messages, same state"),
            Ok(Some(found)) => Check::failed(name, found, hint),
            Err((number, fault)) => stopped(name, number, &fault),
        });
    }
    let other = cut(events, &mut random);
    checks.push(recut(plugin.role(), &first, run(&other, &mut |_| false)));
    (checks, first.usage)
}

fn stopped(name: &str, number: Number, fault: &Fault) -> Check {
    Check::fault(name, &format!("stopped at the batch of event {number}"), fault)
}

fn ran(events: usize, batches: usize, run: &Run) -> Check {
    let found = format!(
        "{} in {} made {}",
        count(events, "event", "events"),
        count(batches, "batch", "batches"),
        count(run.made.len(), "message or patch", "messages or patches")
    );
    match run.refused.as_slice() {
        [] if run.made.is_empty() => Check::note(
            "runs",
            found,
            "it sent nothing: give rows that it knows in NAME.samples.jsonl or with --events",
        ),
        [] => Check::ok("runs", found),
        [(number, why), ..] => {
            let found =
                format!("{found}; {} refused, the first, {number}: {why}", count(run.refused.len(), "event", "events"));
            Check::note(
                "runs",
                found,
                "refused events become dead letters; if rows like these don't occur, show real ones in NAME.samples.jsonl",
            )
        }
    }
}

fn go(
    plugin: &Plugin,
    lookup: &Lookup,
    events: &[BatchEvent],
    cuts: &[usize],
    replace: &mut dyn FnMut(usize) -> bool,
) -> Result<Run, (Number, Fault)> {
    let mut lane = Lane::new(plugin, lookup.clone());
    let mut made = Vec::new();
    let mut from = 0;
    for (at, &to) in cuts.iter().enumerate() {
        if replace(at) {
            lane.replace();
        }
        let batch = &events[from..to];
        made.extend(lane.run(batch).map_err(|fault| (batch[0].event.number, fault))?);
        from = to;
    }
    let state = lane.state.entries().map(|(key, value)| (key.to_owned(), value.to_vec())).collect();
    Ok(Run { made, refused: lane.refused, state, usage: lane.usage })
}

/// Ends of batches, each at the end of a transaction, as pipelines cut them.
fn cut(events: &[BatchEvent], random: &mut fastrand::Rng) -> Vec<usize> {
    let mut cuts = Vec::new();
    let mut size = random.usize(SIZES);
    let mut from = 0;
    for (index, item) in events.iter().enumerate() {
        let to = index + 1;
        if item.event.last_of_transaction && to - from >= size {
            cuts.push(to);
            from = to;
            size = random.usize(SIZES);
        }
    }
    if from < events.len() {
        cuts.push(events.len());
    }
    cuts
}

fn difference(first: &Run, second: &Run) -> Option<String> {
    if first.refused != second.refused {
        let (a, b) = (first.refused.len(), second.refused.len());
        return Some(format!("other events were refused: {a} first, {b} then"));
    }
    let at = first.made.iter().zip(&second.made).find(|(a, b)| a != b);
    if let Some((a, b)) = at {
        return Some(format!("event {}: first {}, then {}", a.event, shown(a), shown(b)));
    }
    if first.made.len() != second.made.len() {
        return Some(format!("{} messages first, then {}", first.made.len(), second.made.len()));
    }
    state_difference(first, second)
}

fn state_difference(first: &Run, second: &Run) -> Option<String> {
    let keys = first.state.keys().chain(second.state.keys());
    let differs = keys.into_iter().find(|key| first.state.get(*key) != second.state.get(*key))?;
    let text = |run: &Run| run.state.get(differs).map_or("nothing".into(), |v| short(&String::from_utf8_lossy(v)));
    Some(format!("state {differs:?}: first {}, then {}", text(first), text(second)))
}

/// Where batches end may change how many messages an aggregator sends on the way, and never where it
/// arrives.
fn recut(role: Role, first: &Run, second: Result<Run, (Number, Fault)>) -> Check {
    const NAME: &str = "batches cut elsewhere";
    let hint = "where batches end is the host's affair: what one batch leaves behind for the next belongs in `state`";
    let second = match second {
        Ok(second) => second,
        Err((number, fault)) => return stopped(NAME, number, &fault),
    };
    if let Some(found) = state_difference(first, &second) {
        return Check::failed(NAME, found, hint);
    }
    match difference(first, &second) {
        None => Check::ok(NAME, "same messages, same state"),
        Some(found) if role != Role::Aggregate => Check::failed(NAME, found, hint),
        Some(_) => match newest(first, &second) {
            Some(found) => Check::failed(NAME, found, hint),
            None => Check::ok(NAME, "same state, same newest message for each key; those on the way differ"),
        },
    }
}

/// The newest message of each channel and key has to be the same, but for its event.
fn newest(first: &Run, second: &Run) -> Option<String> {
    let last = |run: &Run| run.made.iter().map(|made| (made.place.clone(), made.clone())).collect::<BTreeMap<_, _>>();
    let (first, second) = (last(first), last(second));
    let places = first.keys().chain(second.keys());
    let differs =
        places.into_iter().find(|place| first.get(*place).map(|m| &m.what) != second.get(*place).map(|m| &m.what))?;
    let text = |made: Option<&Made>| made.map_or("nothing".into(), shown);
    Some(format!("the newest message: first {}, then {}", text(first.get(differs)), text(second.get(differs))))
}

fn shown(made: &Made) -> String {
    short(format!("{} {}", made.place, made.what).trim())
}

/// A text that fits into a line.
pub(super) fn short(text: &str) -> String {
    let line = text.replace(['\n', '\r'], " ");
    match line.char_indices().nth(160) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
