//! Where a source stands: begun, given up, taken out, shown.

use super::super::super::{SourceState, detach, status};
use super::*;

pub(super) async fn a_source_that_is_reset_begins_anew_with_one_gap_even_if_it_is_killed_right_after<W: World>() {
    let mut host = Host::<W>::new(&table::<W>()).await;
    let reset = async |host: &Host<W>| {
        let handle = host.running.as_ref().unwrap().0.handles().remove(0);
        handle.reset("ana").await.unwrap();
    };
    host.sql("insert into t values (1, 'a')");
    host.changes_until(1).await;
    let before = host.journal.source("s").await.unwrap().unwrap().incarnation;
    reset(&host).await;
    host.end().await;
    assert_eq!(host.gaps().await, ["it was reset by ana"]);
    host.sql("insert into t values (2, 'is in the rows, and no event')");
    host.start().await;
    host.sql("insert into t values (3, 'c')");
    let all = host.changes_until(3).await;
    assert!(all.iter().all(|change| &*change.key != "2"), "it begins now");
    assert_ne!(host.journal.source("s").await.unwrap().unwrap().incarnation, before);
    assert_eq!(host.gaps().await.len(), 1);
    // While it runs, and twice.
    reset(&host).await;
    reset(&host).await;
    host.health(|health| health.state == SourceState::Running).await;
    host.snapshot("p").await;
    host.sql("insert into t values (4, 'd')");
    host.changes_until(4).await;
    let gaps = host.gaps().await;
    assert!((2..=3).contains(&gaps.len()), "a second reset finds nothing to forget, or a place: {gaps:?}");
    host.stop().await;
}

pub(super) async fn what_was_made_is_taken_out_and_the_status_shows_it<W: World>() {
    let mut host = Host::<W>::new(&table::<W>()).await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until(1).await;
    let health = host.health(|_| true).await;
    let known = host.journal.source("s").await.unwrap();
    let running = status::running(&host.settings[0], &health, known.as_ref());
    assert_eq!((running.state, &*running.tables), ("running", &["t".into()][..]));
    host.end().await;
    let all = [("s".into(), known.unwrap())].into();
    let stopped = status::stopped(&host.settings[0], host.folder.path(), &all).await;
    assert_eq!((stopped.state, &*stopped.tables, stopped.reason), ("stopped", &["t".into()][..], None));
    assert!(stopped.position == running.position && stopped.position.is_some());
    assert_ne!(host.database.ours(), "0");
    let out = detach(&host.settings[0], host.folder.path()).await.unwrap();
    assert_eq!((out.out.len(), host.database.ours()), (2, "0".to_owned()), "{out:?}");
    assert_eq!(detach(&host.settings[0], host.folder.path()).await.unwrap(), crate::capture::Detached::default());
    host.start().await;
    assert_eq!(host.gaps().await.len(), 1);
    host.stop().await;
}

pub(super) async fn a_new_journal_is_a_beginning_and_no_gap<W: World>() {
    let mut host = Host::<W>::new(&table::<W>()).await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until(1).await;
    host.end().await;
    let Host { database, .. } = host;
    let mut other = Host::over(database, "").await;
    other.start().await;
    other.sql("insert into t values (2, 'b')");
    let answer = other.snapshot("p").await;
    let contains = answer[0].snapshot.as_ref().unwrap().contains;
    other.sql("insert into t values (3, 'c')");
    let appends = other.appends_until(3).await;
    // What the database kept for the other journal may come, too: the rows contain it.
    let (mut told, mut streamed) = (Table::new(), events(&appends));
    fold(&mut told, rows(&events(&answer)));
    streamed.retain(|event| event.position > contains);
    fold(&mut told, rows(&streamed));
    assert_eq!((told, other.gaps().await.len()), (held(&other), 0));
    other.stop().await;
}
