//! Ids of messages.

use super::super::outputs::Ids;
use super::change;
use crate::event::Operation;

#[test]
fn an_id_says_which_message_of_which_event_it_is_and_nothing_else() {
    let first = change(1, "accounts", Operation::Insert, "1", "{}");
    let second = change(2, "accounts", Operation::Insert, "2", "{}");
    let mut ids = Ids::new("ledger");
    let one = [ids.next(0, &first, "i1"), ids.next(0, &first, "i1"), ids.next(1, &second, "i1")];
    // In another batch, at another place.
    let mut ids = Ids::new("ledger");
    let again = [ids.next(6, &first, "i1"), ids.next(6, &first, "i1"), ids.next(9, &second, "i1")];
    assert_eq!(one, again);
    let distinct: std::collections::BTreeSet<_> = one.iter().collect();
    assert_eq!(distinct.len(), 3);
    assert_ne!(Ids::new("other").next(0, &first, "i1"), one[0], "another pipeline");
    assert_ne!(Ids::new("ledger").next(0, &first, "i2"), one[0], "another life of the source");
}

#[test]
fn rows_of_a_snapshot_have_ids_of_their_own_even_at_one_position() {
    let row = |key: &str| change(5, "accounts", Operation::Snapshot, key, "{}");
    let id = |key: &str, origin: &str| Ids::new("ledger").next(0, &row(key), origin);
    assert_ne!(id("1", "i1/rebuild/3"), id("2", "i1/rebuild/3"));
    assert_ne!(id("1", "i1/rebuild/3"), id("1", "i1/rebuild/4"));
    assert_eq!(id("1", "i1/rebuild/3"), id("1", "i1/rebuild/3"));
}
