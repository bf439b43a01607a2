//! What may be missing where a database lost what was committed: one run of it for each gap that was told, at the
//! gap's place or behind it, and nothing else.

use crate::frame::Frame;
use crate::oracle::{Expected, seen};

/// A run of messages that never came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// How many messages came before it.
    pub at: usize,
    pub lost: usize,
}

/// The gaps among frames, each as the number of messages of these channels before it.
fn gaps(frames: &[Frame], channels: &[&str]) -> Vec<usize> {
    let (mut before, mut gaps) = (0, Vec::new());
    for frame in frames {
        if frame.kind() == "gap" {
            gaps.push(before);
        } else if channels.iter().any(|channel| frame.is_of(channel)) {
            before += 1;
        }
    }
    gaps
}

/// Compares what came on some channels, in one order, with what was committed for them. What is missing is at most
/// one run for each gap, which was told before; what the server had read before the gap may come behind it.
///
/// # Panics
/// If it is otherwise.
pub fn assert_one_for_each_gap(frames: &[Frame], channels: &[&str], committed: &[Expected]) -> Vec<Hole> {
    let of_them = |channel: &str| channels.contains(&channel);
    let all: Vec<&Expected> = committed.iter().filter(|message| of_them(&message.channel)).collect();
    let got = frames.iter().filter(|frame| frame.is_message() && of_them(frame.channel()));
    let (mut holes, mut next) = (Vec::new(), 0);
    for (at, message) in got.map(seen).enumerate() {
        let lost = all[next..].iter().position(|wanted| **wanted == message);
        let lost = lost.unwrap_or_else(|| {
            panic!("message {at} is doubled, out of order, or was never committed: {message:?}; the holes before: {holes:?}")
        });
        if lost > 0 {
            holes.push(Hole { at, lost });
        }
        next += lost + 1;
    }
    assert_eq!(next, all.len(), "messages are missing at the end: {:#?}", &all[next..all.len().min(next + 4)]);
    let gaps = gaps(frames, channels);
    let mut told = 0;
    for hole in &holes {
        let gap = gaps.partition_point(|before| *before <= hole.at);
        assert!(gap > told, "{hole:?} has no gap of its own; holes: {holes:?}, messages before each gap: {gaps:?}");
        told = gap;
    }
    holes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed() -> Vec<Expected> {
        let message = |n: u64| Expected {
            channel: "tasks".into(),
            event_type: "task_updated".into(),
            task: 100,
            title: format!("n {n}"),
            status: None,
        };
        (1..=9).map(message).collect()
    }

    /// Messages by their numbers; 0 is a gap.
    fn frames(numbers: &[u64]) -> Vec<Frame> {
        let frame = |n: &u64| match n {
            0 => Frame::new(r#"{"type":"gap"}"#.into()),
            n => Frame::new(format!(
                r#"{{"channel":"tasks","event_type":"task_updated","message_id":"m{n}","data":{{"task_id":100,"task_data":{{"titulo":"n {n}"}}}}}}"#
            )),
        };
        numbers.iter().map(frame).collect()
    }

    fn judged(numbers: &[u64]) -> Result<Vec<Hole>, String> {
        let judge = || assert_one_for_each_gap(&frames(numbers), &["tasks"], &committed());
        std::panic::catch_unwind(judge).map_err(|panic| *panic.downcast::<String>().expect("a message"))
    }

    #[test]
    fn a_run_that_is_missing_at_a_gap_or_behind_it_is_a_hole() {
        assert_eq!(judged(&[1, 2, 0, 5, 6, 7, 0, 8, 9]), Ok(vec![Hole { at: 2, lost: 2 }]));
        let holes = vec![Hole { at: 3, lost: 2 }, Hole { at: 5, lost: 1 }];
        assert_eq!(judged(&[1, 2, 0, 3, 6, 7, 0, 9]), Ok(holes));
    }

    #[test]
    fn all_else_that_is_missing_doubled_or_out_of_order_is_found() {
        for (numbers, why) in [
            (&[1, 2, 4, 5, 6, 7, 8, 9][..], "no gap of its own"),
            (&[1, 3, 4, 5, 6, 0, 7, 8, 9], "no gap of its own"),
            (&[1, 0, 3, 4, 6, 7, 8, 9], "no gap of its own"),
            (&[1, 2, 3, 0, 5, 6, 7], "missing at the end"),
            (&[1, 2, 0, 4, 4, 5, 6, 7, 8, 9], "doubled"),
            (&[1, 2, 0, 5, 4, 6, 7, 8, 9], "out of order"),
        ] {
            let said = judged(numbers).expect_err("it must be found");
            assert!(said.contains(why), "{numbers:?}: {said}");
        }
    }
}
