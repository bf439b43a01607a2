//! What operators are told of a source that is stopped and whose slot or publication is gone, or somebody else's: before
//! its next start tells everybody.

use super::refusals::finding;
use super::*;
use crate::capture::postgres::{Stand, Weight, preflight};
use crate::capture::status;

/// What `relevo capture status` says, and what `relevo doctor` says beside it.
async fn said(host: &Host) -> [String; 2] {
    let known: std::collections::BTreeMap<_, _> = host.journal.sources("s").await.unwrap().into_iter().collect();
    let status = status::stopped(&host.settings[0], host.folder.path(), &known).await;
    let findings = preflight(&host.settings[0], Stand::Stopped(known.get("s"))).await.unwrap();
    let findings = findings.iter().map(|finding| format!("{finding}\n")).collect();
    [status.reason.unwrap_or_default(), findings]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_or_publication_that_is_gone_is_told_of_before_the_start_that_makes_it_a_gap() {
    let mut host = Host::new(TABLE).await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until("1").await;
    for (count, (drop, of)) in [
        ("select pg_drop_replication_slot('relevo_s')", "the replication slot is gone"),
        ("drop publication relevo_s", "publication relevo_s is gone"),
    ]
    .into_iter()
    .enumerate()
    {
        // To who looks from another folder.
        for said in said(&host).await {
            assert!(said.contains("slot relevo_s is in use by another session (process "), "{said}");
        }
        host.end().await;
        assert!(said(&host).await.iter().all(|said| !said.contains("the next start")), "{:?}", said(&host).await);
        host.sql(drop);
        for said in said(&host).await {
            assert!(said.contains(of) && said.contains("tells clients of a gap, and rebuilds"), "{said}");
        }
        host.start().await;
        let mut gaps = 0;
        let mut gap = |record: &Record| {
            gaps += usize::from(matches!(&record.body, RecordBody::Control(control) if control.is_loss()));
            gaps > count
        };
        host.scan(LONG, |record| gap(record)).await;
        host.sql(&format!("insert into t values ({}, 'b')", count + 2));
        host.changes_until((count + 2).to_string()).await;
    }
    host.end().await;
    crate::capture::reset(&host.journal, &"s".into(), "ana").await.unwrap();
    for said in said(&host).await {
        assert!(said.contains("it was reset: the next start begins with the rows"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_of_another_database_is_found_before_the_start_and_survives_a_detach() {
    let mut host = Host::over(Postgres::start(), "").await;
    host.sql(TABLE);
    host.sql("create database other");
    let elsewhere = |sql: &str| {
        let ran = host.database.psql().on("other").arg("-c").arg(sql).output().unwrap();
        assert!(ran.status.success(), "{sql}: {}", String::from_utf8_lossy(&ran.stderr));
    };
    elsewhere("select pg_create_logical_replication_slot('relevo_s', 'pgoutput')");
    let with = "replication slot relevo_s is somebody else's (plugin pgoutput, database other)";
    let found = finding(&host, with).await;
    assert_eq!(found.weight, Weight::Blocks);
    let mend = found.mend.unwrap().then.unwrap();
    assert!(mend.contains("`slot` in its [[source]]"), "{mend}");
    for said in said(&host).await {
        assert!(said.contains(with), "{said}");
    }
    host.sql("create publication relevo_s");
    let detached = super::super::super::detach(&host.settings[0], host.folder.path()).await.unwrap();
    assert_eq!(detached.out, ["publication relevo_s"]);
    assert!(detached.stays.len() == 1 && detached.stays[0].starts_with(with), "{:?}", detached.stays);
    let drop = mend.split_once("in database other: ").unwrap().1;
    host.begin();
    host.failed(with).await;
    assert_eq!(host.sql("select count(*) from pg_publication"), "0", "nothing is made");
    let ran = host.database.psql().on("other").arg("-c").arg(drop).output().unwrap();
    assert!(ran.status.success(), "{drop}: {}", String::from_utf8_lossy(&ran.stderr));
    host.health(|health| health.state == SourceState::Running).await;
}
