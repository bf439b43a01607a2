//! `/metrics` over a real socket: every number is there, and documented.

use super::*;
use crate::capture::{SlotHealth, SnapshotHealth, SourceHealth, SourceState};
use crate::event::{Micros, Number};
use crate::pipeline::{Health, Noted, Status};
use crate::sandbox::{Metric, Usage};

/// One source, and one pipeline with a fault.
pub(super) fn numbers() -> Numbers {
    let source = SourceHealth {
        name: "gad".into(),
        state: SourceState::Running,
        watermark: Micros(1_500_000),
        lag: Duration::from_millis(250),
        behind: 3,
        slot: Some(SlotHealth {
            name: "relevo_gad".into(),
            wal_status: "reserved".into(),
            invalidation_reason: None,
            active: true,
            retained_bytes: 300,
            safe_bytes: Some(700),
            lag_bytes: 20,
        }),
        snapshots: vec![SnapshotHealth {
            waits_for: None,
            pipeline: "panel".into(),
            request: Number(9),
            rows: 3000,
            bytes: 70_000,
            estimate: Some(9000),
        }],
        ..SourceHealth::starting(&"gad".into())
    };
    let pipeline = Health {
        pipeline: "panel".into(),
        status: Status::Starting,
        cursor: Number(40),
        versions: vec![],
        answered: [].into(),
        pending: None,
        lag: 2,
        rebuild_asked: false,
        batches: 5,
        events: 6,
        messages: 7,
        dead_letters: 1,
        faults: [("trap", 4), ("gap", 2)].into(),
        last_fault: None,
    };
    let mut usage = Usage::default();
    usage.faults.insert("trap", 4);
    let noted = Noted {
        plugin: "tareas".into(),
        pipeline: "panel".into(),
        usage,
        metrics: [("seen".into(), Metric::Counter(3)), ("level".into(), Metric::Gauge(0.5))].into(),
    };
    Numbers { sources: vec![source], pipelines: vec![pipeline], plugins: vec![noted] }
}

#[tokio::test]
async fn metrics_are_for_operators_and_every_one_is_documented() {
    let server = server(SessionSettings::default(), Vec::new()).await;
    let get = |role: &str| {
        let token = server.tokens.issue("7", role, SOON).unwrap();
        format!("GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n")
    };
    assert!(server.says(&get("LEVEL_3"), "").await.starts_with("HTTP/1.1 403"));
    let answer = server.says(&get("ADMIN"), "").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("application/openmetrics-text"), "{answer}");
    assert!(answer.contains("\nrelevo_connections 0") && answer.trim_end().ends_with("# EOF"), "{answer}");
    for line in [
        r#"relevo_source_up{source="gad"} 1.0"#,
        r#"relevo_source_incomplete{source="gad"} 0.0"#,
        r#"relevo_source_lag_seconds{source="gad"} 0.25"#,
        r#"relevo_source_watermark_seconds{source="gad"} 1.5"#,
        r#"relevo_source_slot_retained_bytes{source="gad"} 300.0"#,
        r#"relevo_source_slot_safe_bytes{source="gad"} 700.0"#,
        r#"relevo_source_slot_lag_bytes{source="gad"} 20.0"#,
        r#"relevo_source_snapshot_rows{source="gad",pipeline="panel"} 3000.0"#,
        r#"relevo_source_snapshot_bytes{source="gad",pipeline="panel"} 70000.0"#,
        r#"relevo_source_snapshot_estimated_rows{source="gad",pipeline="panel"} 9000.0"#,
        r#"relevo_pipeline_up{pipeline="panel"} 0.0"#,
        r#"relevo_pipeline_events_total{pipeline="panel"} 6"#,
        r#"relevo_pipeline_gaps_total{pipeline="panel"} 2"#,
        r#"relevo_plugin_faults_total{pipeline="panel",plugin="tareas",fault="trap"} 4"#,
        r#"relevo_plugin_batch_cpu_seconds_bucket{le="+Inf",pipeline="panel",plugin="tareas"} 0"#,
        r#"relevo_plugin_counter_total{pipeline="panel",plugin="tareas",name="seen"} 3"#,
        r#"relevo_plugin_gauge{pipeline="panel",plugin="tareas",name="level"} 0.5"#,
    ] {
        assert!(answer.lines().any(|told| told == line), "{line} is not in {answer}");
    }
    let documented = include_str!("../../../../docs/metrics.md");
    let told: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(told.len(), 33, "{told:?}");
    for name in told {
        let suffix = if answer.contains(&format!("# TYPE {name} counter")) { "_total" } else { "" };
        assert!(documented.contains(&format!("`{name}{suffix}`")), "{name} is not in docs/metrics.md");
    }
}
