//! A source that can't go on where it was says so once, begins anew, and the rows have what was not told.

use crate::event::Event;
use crate::journal::{Append, RecordBody};

use super::*;

/// `harm`: what is done to the database while nobody reads it; it returns what the gap is called.
async fn is_one_gap<W: World>(harm: impl AsyncFnOnce(&mut Host<W>) -> &'static str) {
    let mut host = Host::<W>::new(&table::<W>()).await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until(1).await;
    host.end().await;
    host.database.back_up();
    host.start().await;
    host.sql("insert into t values (2, 'b')");
    host.changes_until(2).await;
    host.end().await;
    let before = host.journal.source("s").await.unwrap().unwrap();
    host.sql("insert into t values (3, 'unseen')");
    let called = harm(&mut host).await;
    assert_eq!(host.gaps().await, Vec::<String>::new());
    host.begin();
    host.records(|record| matches!(&record.body, RecordBody::Control(control) if control.is_loss())).await;
    let gaps = host.gaps().await;
    assert!(gaps.len() == 1 && gaps[0].contains(called), "{gaps:?}");
    // Answered by the session that began anew.
    let answer = host.snapshot("p").await;
    let contains = answer[0].snapshot.as_ref().unwrap().contains;
    let answered = events(&answer);
    let shown = rows(&answered).into_iter().map(|row| (row.key.to_string(), row.after.as_deref().unwrap().to_owned()));
    let mut shown: Table = shown.collect();
    assert_eq!(shown, held(&host), "the rows have what was not told");
    host.sql("insert into t values (5000, 'after')");
    let appends = host.appends_until(5000).await;
    let (old, new) = appends.iter().partition::<Vec<_>, _>(|append| append.incarnation == before.incarnation);
    let of = |appends: Vec<&Append>| -> Vec<Event> {
        appends.into_iter().flat_map(|append| &append.events).map(|event| Event::clone(event)).collect()
    };
    let (old, mut new) = (of(old), of(new));
    assert_eq!(rows(&old).into_iter().map(|row| &*row.key).collect::<Vec<_>>(), ["1", "2"], "none once it is another");
    // What the database still kept for capture may come, too: the rows contain it.
    new.retain(|event| event.position > contains);
    fold(&mut shown, rows(&new));
    assert_eq!(shown, held(&host));
    host.end().await;
    host.start().await;
    host.sql("insert into t values (5001, 'again')");
    host.changes_until(5001).await;
    assert_eq!(host.gaps().await.len(), 1, "and it isn't told again");
    host.stop().await;
}

pub(super) async fn a_place_that_somebody_took_out<W: World>() {
    is_one_gap::<W>(async |host| {
        super::super::super::detach(&host.settings[0], host.folder.path()).await.unwrap();
        host.sql("insert into t values (4, 'unseen')");
        ""
    })
    .await;
}

pub(super) async fn a_place_that_somebody_made_anew<W: World>() {
    is_one_gap::<W>(async |host| host.database.make_anew().await).await;
}

pub(super) async fn a_place_that_somebody_moved_on<W: World>() {
    is_one_gap::<W>(async |host| host.database.let_go()).await;
}

pub(super) async fn a_database_that_was_restored<W: World>() {
    is_one_gap::<W>(async |host| {
        host.database.restore();
        "restored"
    })
    .await;
}

/// Beyond where it was read to.
pub(super) async fn a_database_that_was_restored_and_went_on<W: World>() {
    is_one_gap::<W>(async |host| {
        host.database.restore();
        let numbers = "with recursive n(i) as (select 100 union all select i + 1 from n where i < 2000)";
        host.sql(&format!("insert into t {numbers} select i, '{}' from n", "other".repeat(100)));
        "restored"
    })
    .await;
}

pub(super) async fn a_database_that_is_another_one<W: World>() {
    is_one_gap::<W>(async |host| {
        let other = Host::over(W::open(), "").await;
        other.sql(&table::<W>());
        other.sql("insert into t values (4, 'of another')");
        host.settings = other.settings;
        host.database = other.database;
        "another one"
    })
    .await;
}
