//! Chunks, cuts and positions, without a server.

use crate::event::Operation;

use super::*;

fn server() -> Server {
    Server { major: 15, identity: "1.5.relevo".into(), timeline: Some(1) }
}

fn fresh() -> Place {
    let identity = "1.5.relevo".into();
    let mark =
        Mark { committed_at: Micros(0), reached: 100, whole: true, transaction: None, identity, timeline: Some(1) };
    let position = Position { commit: 100, index: 0 };
    Place { incarnation: "i".into(), position, mark, start: 100, confirmed: 100, verify: false, resumed: false }
}

/// Where another process goes on after this append.
fn after(append: &Append) -> Place {
    let mark = Mark::read(&append.token).unwrap();
    Place {
        incarnation: "i".into(),
        position: append.position,
        mark,
        start: 0,
        confirmed: 0,
        verify: true,
        resumed: true,
    }
}

fn over(place: &Place) -> Transactions {
    Transactions::new(&"s".into(), 512 << 10, &server(), place)
}

fn change(n: usize) -> Change {
    Change {
        schema: "public".into(),
        table: "t".into(),
        operation: Operation::Insert,
        key: n.to_string().into(),
        before: None,
        after: Some("{}".into()),
        changed: Vec::new(),
        missing: Vec::new(),
    }
}

/// Feeds a transaction of so many rows; returns the appends, at most `most` of them.
fn feed(transactions: &mut Transactions, rows: usize, most: usize) -> Vec<Append> {
    let mut appends = Vec::new();
    transactions.begin(500, 7, 1_000).unwrap();
    for n in 0..rows {
        // Each third row is told of twice (its key changed), each fifth not at all.
        let changes = match n {
            n if n % 5 == 0 => vec![],
            n if n % 3 == 0 => vec![change(n), change(n)],
            n => vec![change(n)],
        };
        transactions.row(changes).unwrap();
        if transactions.full() {
            appends.extend(transactions.has_events().then(|| transactions.take_done()).flatten());
            appends.extend(transactions.take_chunk());
            if appends.len() >= most {
                return appends;
            }
        }
    }
    transactions.commit();
    appends.extend(transactions.take_done());
    appends
}

#[test]
fn a_transaction_that_was_cut_off_after_any_chunk_goes_on_there() {
    let whole = feed(&mut over(&fresh()), 5_000, usize::MAX);
    assert!(whole.len() > 4 && whole.iter().all(|append| append.events.len() <= CHUNK_EVENTS));
    let complete: Vec<bool> = whole.iter().map(|append| append.complete).collect();
    assert_eq!(complete.iter().filter(|complete| **complete).count(), 1);
    let all = |appends: &[Append]| -> Vec<Arc<Event>> {
        appends.iter().flat_map(|append| append.events.iter().cloned()).collect()
    };
    assert!(all(&whole).last().unwrap().last_of_transaction);
    for cut in 1..=whole.len() {
        let mut appends = feed(&mut over(&fresh()), 5_000, cut);
        let mut next = over(&after(appends.last().unwrap()));
        appends.extend(feed(&mut next, 5_000, usize::MAX));
        assert_eq!(all(&appends), all(&whole), "cut off after {cut} chunks");
    }
}

#[test]
fn a_heartbeat_that_waits_before_a_large_transaction_moves_no_position_back() {
    let mut transactions = over(&fresh());
    transactions.begin(400, 6, 900).unwrap();
    transactions.commit();
    assert!(transactions.has_news());
    let mut appends = Vec::new();
    transactions.begin(500, 7, 1_000).unwrap();
    while appends.len() < 3 {
        transactions.row([change(1)]).unwrap();
        if transactions.full() {
            assert!(!transactions.has_events(), "nothing is whole");
            appends.extend(transactions.take_chunk());
            // What is due when nothing more has come for now.
            assert!(!transactions.has_events() && !transactions.has_news());
            assert!(transactions.take_done().is_none());
        }
    }
    assert!(appends.iter().all(|chunk| !chunk.complete && chunk.position.commit == 500));
    transactions.commit();
    appends.extend(transactions.take_done());
    assert!(appends.is_sorted_by(|a, b| a.position < b.position), "{appends:?}");
    assert!(appends.last().is_some_and(|last| last.complete));
    // A chunk of one row, too large to wait for others, is none yet: what waits must stay.
    transactions.begin(600, 8, 1_100).unwrap();
    transactions.commit();
    transactions.begin(700, 9, 1_200).unwrap();
    transactions.row([change(1)]).unwrap();
    assert!(transactions.take_chunk().is_none());
    assert_eq!(transactions.take_done().unwrap().position, Position { commit: 600, index: 0 });
}

#[test]
fn another_transaction_than_the_one_that_was_read_is_strange() {
    let appends = feed(&mut over(&fresh()), 10, usize::MAX);
    let place = after(appends.last().unwrap());
    assert_eq!(over(&place).begin(500, 7, 1_000), Ok(()));
    assert_eq!(over(&place).begin(500, 8, 1_000), Err(Strange));
    assert_eq!(over(&place).begin(500, 7, 1_001), Err(Strange));
    assert_eq!(over(&place).begin(508, 9, 2_000), Err(Strange));
}

#[test]
fn a_time_never_falls_and_a_position_without_events_is_kept() {
    let mut transactions = over(&fresh());
    for (commit, at) in [(200, 5_000), (300, 4_000)] {
        transactions.begin(commit, 9, at).unwrap();
        transactions.row([change(1)]).unwrap();
        transactions.commit();
    }
    let append = transactions.take_done().unwrap();
    assert_eq!(append.events.len(), 2, "small transactions go together");
    assert_eq!(append.events[0].committed_at, append.events[1].committed_at);
    assert_eq!((transactions.kept(), transactions.streamed()), (300, 301));
    // A heartbeat, and then the server asks for an answer because it stops.
    transactions.begin(400, 10, 6_000).unwrap();
    transactions.commit();
    assert!(!transactions.has_events() && transactions.has_news());
    assert!(transactions.reached(450) && !transactions.reached(450));
    let append = transactions.take_done().unwrap();
    assert_eq!((append.position, append.events.len()), (Position { commit: 400, index: 0 }, 0));
    assert_eq!((transactions.kept(), transactions.streamed()), (450, 450));
}
