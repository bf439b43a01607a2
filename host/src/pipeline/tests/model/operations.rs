//! What happens in one case: drawn at random, and each operation means something wherever it stands, so
//! that a case from which some were taken away is a case again.

use proptest::prelude::*;

use super::versions::Kind;
use crate::sandbox::OnFault;

/// What a case begins with.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// Two plugins, the second sees what the first let pass.
    pub(super) two: bool,
    pub(super) on_fault: [OnFault; 2],
    /// A version that fails is rolled back, whenever it does.
    pub(super) probation: bool,
    pub(super) quarantine_after: u32,
    pub(super) batch_events: u32,
    /// The state is made of the source's rows, and anew.
    pub(super) rows: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// One change for each key; from 8 on, the account with the key less 8 is closed.
    Change(Vec<u8>),
    Deploy {
        second: bool,
        kind: Kind,
        on_fault: OnFault,
    },
    RollBack {
        second: bool,
    },
    Pause,
    Resume,
    /// Lets the event go that holds the pipeline.
    Skip,
    /// Of the open letters, this one (modulo their number).
    Replay(u8),
    Drop(u8),
    Rebuild,
    /// The source is not what it was: some of its rows are gone.
    Gap,
    Checkpoint,
    /// The process dies at this commit from now on, before it or after.
    CrashAt(u8),
    /// The process dies while nothing happens.
    Kill,
    Restart,
}

/// An operation, and whether the next one waits until everything has settled.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) operation: Operation,
    pub(super) settle: bool,
}

fn on_fault() -> impl Strategy<Value = OnFault> {
    prop_oneof![3 => Just(OnFault::Skip), 2 => Just(OnFault::Hold), 2 => Just(OnFault::Bypass)]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => Just(Kind::Good),
        4 => (0_u8..8).prop_map(Kind::TrapsAt),
        2 => Just(Kind::Traps),
        1 => Just(Kind::NoStart),
        2 => Just(Kind::Otherwise),
        2 => Just(Kind::Moves),
        1 => Just(Kind::CanNotMove),
    ]
}

pub(super) fn setting() -> impl Strategy<Value = Setting> {
    let quarantine_after = prop_oneof![Just(3_u32), Just(1000)];
    let batch_events = prop_oneof![Just(1_u32), Just(2), Just(64)];
    let rows = prop::bool::weighted(0.35);
    (any::<bool>(), [on_fault(), on_fault()], any::<bool>(), quarantine_after, batch_events, rows).prop_map(
        |(two, on_fault, probation, quarantine_after, batch_events, rows)| Setting {
            two,
            on_fault,
            probation,
            quarantine_after,
            batch_events,
            rows,
        },
    )
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let operation = prop_oneof![
        8 => prop::collection::vec(0_u8..10, 1..5).prop_map(Operation::Change),
        7 => (any::<bool>(), kind(), on_fault())
            .prop_map(|(second, kind, on_fault)| Operation::Deploy { second, kind, on_fault }),
        3 => any::<bool>().prop_map(|second| Operation::RollBack { second }),
        1 => Just(Operation::Pause),
        1 => Just(Operation::Resume),
        2 => Just(Operation::Skip),
        3 => any::<u8>().prop_map(Operation::Replay),
        1 => any::<u8>().prop_map(Operation::Drop),
        3 => Just(Operation::Rebuild),
        1 => Just(Operation::Gap),
        1 => Just(Operation::Checkpoint),
        4 => (0_u8..6).prop_map(Operation::CrashAt),
        1 => Just(Operation::Kill),
        1 => Just(Operation::Restart),
    ];
    let step = (operation, any::<bool>()).prop_map(|(operation, settle)| Step { operation, settle });
    prop::collection::vec(step, 6..13)
}
