//! What every kind of source must do: one list of cases, each run over the real SQLite and the real PostgreSQL.
//!
//! What only one of them has (triggers and histories of rows; slots, publications and partitions) stands beside
//! this, in that source's own tests.

use relevo_tests::postgres::Postgres;

use super::LONG;
use super::host::{Host, Table, appends, changes, events, fold, rows};
use super::world::{Sqlite, World};

mod crashes;
mod forms;
mod gaps;
mod places;
mod snapshots;
mod values;

macro_rules! every_source {
    ($($room:ident: $($case:ident)*;)*) => {
        every_source!(sqlite, super::Sqlite: $($($room $case)*)*);
        every_source!(postgres, super::Postgres: $($($room $case)*)*);
    };
    ($name:ident, $world:ty: $($room:ident $case:ident)*) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    super::$room::$case::<$world>().await;
                }
            )*
        }
    };
}

every_source! {
    values:
        inserts_updates_and_deletes_come_in_order_with_both_rows
        what_is_rolled_back_is_no_event
        a_change_of_the_key_is_a_delete_and_an_insert
        a_hot_row_is_told_in_its_order_and_each_change_once
        an_update_beside_a_large_value_tells_the_whole_row
        a_row_too_large_for_a_record_comes_without_its_largest_column
        what_is_excluded_never_enters
        watermarks_rise_and_never_run_ahead_of_a_change;
    crashes:
        crashes_of_either_side_lose_nothing_and_double_nothing
        what_was_committed_while_it_was_down_comes_once
        a_transaction_of_300_000_rows_is_one_though_capture_is_killed_in_it;
    snapshots:
        a_snapshot_in_the_midst_of_writes_is_exact_against_the_stream
        what_was_there_before_is_a_row_and_no_event
        an_empty_table_is_answered_too
        a_row_looks_alike_in_a_snapshot_and_in_a_change
        a_crash_in_the_midst_of_a_snapshot_leaves_no_half_of_it
        a_request_is_answered_even_if_the_database_comes_later
        a_table_that_isnt_watched_is_waited_for_and_it_is_said;
    gaps:
        a_place_that_somebody_took_out
        a_place_that_somebody_made_anew
        a_place_that_somebody_moved_on
        a_database_that_was_restored
        a_database_that_was_restored_and_went_on
        a_database_that_is_another_one;
    forms:
        a_new_table_is_followed
        a_table_that_is_missing_is_waited_for_while_the_others_go_on
        a_form_that_changes_while_nobody_reads;
    places:
        a_source_that_is_reset_begins_anew_with_one_gap_even_if_it_is_killed_right_after
        what_was_made_is_taken_out_and_the_status_shows_it
        a_new_journal_is_a_beginning_and_no_gap;
}

/// Makes the table `t` that most cases use.
fn table<W: World>() -> String {
    W::table("t", "v text")
}

/// What `t` holds, in the form of events.
fn held<W: World>(host: &Host<W>) -> Table {
    let row = "'{\"id\":' || id || ',\"v\":' || coalesce('\"' || v || '\"', 'null') || '}'";
    let rows = host.sql(&format!("select id || '=' || {row} from t order by id"));
    rows.lines().filter_map(|row| row.split_once('=')).map(|(id, row)| (id.to_owned(), row.to_owned())).collect()
}

/// Statements that each change 50 rows of `t`, one transaction each or several together.
fn writes(seed: u64, count: u64) -> String {
    use std::fmt::Write as _;
    let mut sql = String::new();
    let mut random = seed;
    for n in 0..count {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let id = (random >> 33) % 50;
        let _ = match (random >> 40) % 10 {
            0..6 => writeln!(
                sql,
                "insert into t values ({id}, 'w{seed}-{n}') on conflict (id) do update set v = excluded.v;"
            ),
            6..8 => writeln!(
                sql,
                "begin; update t set v = 'u{seed}-{n}' where id = {id}; update t set v = v || '!' where id = ({id} + 7) % 50; commit;"
            ),
            8 => writeln!(sql, "begin; delete from t where id = {id}; insert into t values (1000000, 'x'); rollback;"),
            _ => writeln!(sql, "delete from t where id = {id};"),
        };
    }
    sql
}
