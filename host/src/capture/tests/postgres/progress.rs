//! How far a snapshot is.

use super::super::super::{SnapshotHealth, status};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_waits_to_begin_shows_about_how_many_rows_there_are_and_changes_come_meanwhile() {
    let mut host = Host::new(
        "create table t (id int primary key, v text) partition by range (id);
         create table t_low partition of t for values from (0) to (1000);
         create table t_high partition of t for values from (1000) to (100000);
         alter table t replica identity full; alter table t_low replica identity full; alter table t_high replica identity full",
    )
    .await;
    host.sql("insert into t select n, 'v' from generate_series(1, 3000) as n");
    host.changes_until(3000).await;
    for (estimate, there) in [(None, 3001), (Some(3001), 3002)] {
        if estimate.is_some() {
            host.sql("analyze t_low, t_high");
        }
        let open = open(&host).await;
        let request = host.ask("p", &["t"]).await;
        let health = host.health(|health| health.snapshots.iter().any(|taking| taking.estimate == estimate)).await;
        let taking = &health.snapshots[0];
        assert_eq!((&*taking.pipeline, taking.request, taking.rows, taking.bytes), ("p", request, 0, 0));
        let shown = serde_json::to_value(status::running(&host.settings[0], &health, None)).unwrap();
        let mut expected = serde_json::json!({ "pipeline": "p", "rows": 0, "bytes": 0 });
        if let Some(rows) = estimate {
            expected["estimated_rows"] = rows.into();
        }
        assert_eq!(shown["snapshots"], serde_json::json!([expected]));
        // The stream goes on meanwhile.
        host.sql(&format!("insert into t values ({there}, 'meanwhile')"));
        host.changes_until(there).await;
        host.health(|health| health.snapshots.iter().any(|taking| taking.request == request && taking.rows == 0)).await;
        let says = |taking: &SnapshotHealth| taking.waits_for.as_deref().is_some_and(|what| what.contains("process "));
        let health = host.health(|health| health.snapshots.iter().any(says)).await;
        assert!(
            health.snapshots[0].to_string().contains("0 rows read") || estimate.is_some(),
            "{}",
            health.snapshots[0]
        );
        close(&host, open);
        assert_eq!(events(&host.answer(request).await).len(), there);
        host.health(|health| health.snapshots.is_empty()).await;
    }
    host.stop().await;
}
