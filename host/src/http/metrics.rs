//! `/metrics`: the server's numbers for Prometheus, read from its parts when they are asked for.
//! docs/metrics.md lists them.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Parts, Refusal, guard};
use crate::capture::{SlotHealth, SnapshotHealth, SourceHealth, SourceState};
use crate::pipeline::{Health, Noted, Status};
use crate::sandbox::{Metric, Usage};

/// How sources and pipelines are now.
pub struct Numbers {
    pub sources: Vec<SourceHealth>,
    pub pipelines: Vec<Health>,
    pub plugins: Vec<Noted>,
}

/// Asks the parts for their numbers.
pub type AskNumbers = Arc<dyn Fn() -> Numbers + Send + Sync>;

/// Prometheus asks for this type, and reads the text as OpenMetrics then.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

pub(super) fn router() -> Router<Parts> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(parts): State<Parts>, headers: HeaderMap) -> Result<impl IntoResponse, Refusal> {
    guard::operator(&parts, &headers)?;
    let mut text = String::new();
    encode(&mut text, &registry(&parts, &(parts.numbers)()))
        .map_err(|_| Refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the numbers can't be written".into()))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text))
}

fn registry(parts: &Parts, numbers: &Numbers) -> Registry {
    let mut all = Registry::with_prefix("relevo");
    let journal = &parts.session.journal;
    gauge(&mut all, "connections", "Connections that are open", [(vec![], parts.session.fan_out.connections() as f64)]);
    let (count, sent) = (parts.session.census.count(), parts.session.fan_out.sent());
    let roles = count.sessions_by_role.iter().map(|(role, n)| (vec![("role", role.clone())], *n as f64));
    gauge(&mut all, "sessions", "Clients that are connected", roles);
    gauge(&mut all, "users", "Users of whom a client is connected", [(vec![], count.users as f64)]);
    counter(&mut all, "sessions_slow", "Clients that were closed because they were too slow", [(vec![], count.slow)]);
    counter(&mut all, "messages_sent", "Messages that went to anybody", [(vec![], sent.messages())]);
    counter(&mut all, "deliveries", "Messages times the clients that they went to", [(vec![], sent.deliveries())]);
    gauge(&mut all, "journal_head", "The newest number in the journal", [(vec![], journal.head().0 as f64)]);
    gauge(&mut all, "journal_bytes", "What the journal's file holds", [(vec![], journal.used() as f64)]);
    let no_room = f64::from(u8::from(journal.no_room().is_some()));
    gauge(&mut all, "journal_no_room", "1: nothing can be written for want of room", [(vec![], no_room)]);

    let source = |of: fn(&SourceHealth) -> f64| {
        numbers.sources.iter().map(move |source| (vec![("source", source.name.to_string())], of(source)))
    };
    let up = source(|s| f64::from(u8::from(s.state.is_up())));
    gauge(&mut all, "source_up", "1: its changes are captured, of all tables or of some", up);
    let incomplete = source(|s| f64::from(u8::from(matches!(s.state, SourceState::Incomplete { .. }))));
    gauge(&mut all, "source_incomplete", "1: a table, or rows, that are wanted are not captured", incomplete);
    gauge(
        &mut all,
        "source_lag_seconds",
        "How long the oldest change that is not in the journal has waited",
        source(|s| s.lag.as_secs_f64()),
    );
    gauge(&mut all, "source_behind", "Changes that are not in the journal yet", source(|s| s.behind as f64));
    gauge(
        &mut all,
        "source_watermark_seconds",
        "Everything that was committed up to this time is in the journal",
        source(|s| s.watermark.0 as f64 / 1e6),
    );
    let slot = |of: fn(&SlotHealth) -> Option<u64>| {
        let all = numbers.sources.iter().filter_map(move |source| Some((source, of(source.slot.as_ref()?)?)));
        all.map(|(source, bytes)| (vec![("source", source.name.to_string())], bytes as f64))
    };
    let retained = slot(|slot| Some(slot.retained_bytes));
    gauge(&mut all, "source_slot_retained_bytes", "WAL that the server keeps for the source's slot", retained);
    let safe = slot(|slot| slot.safe_bytes);
    gauge(&mut all, "source_slot_safe_bytes", "WAL that may be written until the slot is lost", safe);
    let lag = slot(|slot| Some(slot.lag_bytes));
    gauge(&mut all, "source_slot_lag_bytes", "WAL that was written and is not acknowledged", lag);
    let snapshot = |of: fn(&SnapshotHealth) -> Option<u64>| {
        let all = numbers.sources.iter().flat_map(|source| source.snapshots.iter().map(move |taking| (source, taking)));
        all.filter_map(move |(source, taking)| {
            let labels = vec![("source", source.name.to_string()), ("pipeline", taking.pipeline.to_string())];
            Some((labels, of(taking)? as f64))
        })
    };
    let (rows, bytes) = (snapshot(|taking| Some(taking.rows)), snapshot(|taking| Some(taking.bytes)));
    gauge(&mut all, "source_snapshot_rows", "Rows that were read for a snapshot that is being taken", rows);
    gauge(&mut all, "source_snapshot_bytes", "Bytes of these rows", bytes);
    let about = snapshot(|taking| taking.estimate);
    gauge(&mut all, "source_snapshot_estimated_rows", "About how many rows it will have", about);

    let pipeline = |of: fn(&Health) -> f64| {
        numbers.pipelines.iter().map(move |health| (vec![("pipeline", health.pipeline.to_string())], of(health)))
    };
    gauge(&mut all, "pipeline_up", "1: it runs", pipeline(|h| f64::from(h.status == Status::Running)));
    gauge(&mut all, "pipeline_cursor", "Everything up to this number is handled", pipeline(|h| h.cursor.0 as f64));
    gauge(&mut all, "pipeline_lag", "Numbers of the journal beyond the cursor", pipeline(|h| h.lag as f64));
    let pipeline = |of: fn(&Health) -> u64| {
        numbers.pipelines.iter().map(move |health| (vec![("pipeline", health.pipeline.to_string())], of(health)))
    };
    counter(&mut all, "pipeline_batches", "Batches that were handled", pipeline(|h| h.batches));
    counter(&mut all, "pipeline_events", "Events that plugins saw", pipeline(|h| h.events));
    counter(&mut all, "pipeline_messages", "Messages that were committed", pipeline(|h| h.messages));
    counter(&mut all, "pipeline_dead_letters", "Events that failed for good", pipeline(|h| h.dead_letters));
    let gaps = pipeline(|h| h.faults.get("gap").copied().unwrap_or_default());
    counter(&mut all, "pipeline_gaps", "Times that retention took events before they were handled", gaps);
    plugins(&mut all, &numbers.plugins);
    all
}

fn plugins(all: &mut Registry, plugins: &[Noted]) {
    let labels = |noted: &Noted| vec![("pipeline", noted.pipeline.to_string()), ("plugin", noted.plugin.to_string())];
    let named = move |noted: &Noted, label: &'static str, name: &str| {
        let mut all = labels(noted);
        all.push((label, name.to_owned()));
        all
    };
    let faults = plugins
        .iter()
        .flat_map(|noted| noted.usage.faults.iter().map(move |(fault, count)| (named(noted, "fault", fault), *count)));
    counter(all, "plugin_faults", "Faults of plugins, retries too", faults);
    let memory = plugins.iter().map(|noted| (labels(noted), noted.usage.memory_bytes as f64));
    gauge(all, "plugin_memory_bytes", "What the plugin's instance holds", memory);
    let state = plugins.iter().map(|noted| (labels(noted), noted.usage.state_bytes as f64));
    gauge(all, "plugin_state_bytes", "What its state holds", state);
    let times = plugins.iter().map(|noted| (labels(noted), noted.usage.clone())).collect();
    all.register_collector(Box::new(Times(times)));
    // Under one name each, so that plugins can't come into conflict with each other or with the server.
    let own = || plugins.iter().flat_map(|noted| noted.metrics.iter().map(move |(name, value)| (noted, name, value)));
    let counters = own().filter_map(|(noted, name, value)| match value {
        Metric::Counter(count) => Some((named(noted, "name", name), *count)),
        Metric::Gauge(_) => None,
    });
    counter(all, "plugin_counter", "What plugins count", counters);
    let gauges = own().filter_map(|(noted, name, value)| match value {
        Metric::Gauge(value) => Some((named(noted, "name", name), *value)),
        Metric::Counter(_) => None,
    });
    gauge(all, "plugin_gauge", "What plugins measure", gauges);
}

/// The CPU times of plugins' batches.
#[derive(Debug)]
struct Times(Vec<(Labels, Usage)>);

impl Collector for Times {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let help = "CPU time of a plugin for a batch";
        let mut family = encoder.encode_descriptor("plugin_batch_cpu_seconds", help, None, MetricType::Histogram)?;
        for (labels, usage) in &self.0 {
            let (sum, count, buckets) = (usage.cpu.as_secs_f64(), usage.batches, usage.buckets());
            family.encode_family(labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

fn gauge(all: &mut Registry, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, f64)>) {
    let family = Gauges::default();
    for (labels, value) in values {
        family.get_or_create(&labels).set(value);
    }
    all.register(name, help, family);
}

fn counter(all: &mut Registry, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
    let family = Family::<Labels, Counter>::default();
    for (labels, value) in values {
        family.get_or_create(&labels).inc_by(value);
    }
    all.register(name, help, family);
}
