//! `/api/v1/ws/stats` and `/ws/stats`: who is connected and what was sent, in the shape that the
//! original system's tools read, and what is new beside it.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::{Parts, Refusal, guard};
use crate::event::{Micros, Number};
use crate::pipeline::Health;

pub(super) fn router() -> Router<Parts> {
    Router::new().route("/api/v1/ws/stats", get(stats)).route("/ws/stats", get(stats))
}

#[derive(Serialize)]
struct Answer {
    status: &'static str,
    stats: Stats,
    timestamp: String,
}

#[derive(Serialize)]
struct Stats {
    total_connections: usize,
    connections_by_role: BTreeMap<String, usize>,
    unique_users: usize,
    heartbeat_active: bool,
    /// In seconds.
    heartbeat_interval: f64,
    metrics: Metrics,
    most_users: usize,
    sessions_begun: u64,
    uptime_seconds: u64,
    journal: Journal,
    pipelines: Vec<Health>,
}

#[derive(Serialize)]
struct Metrics {
    /// Deliveries: a message that went to three clients counts three times.
    total_messages_sent: u64,
    total_broadcasts: u64,
    /// Clients that were closed because they were too slow.
    total_send_errors: u64,
    last_broadcast_at: Option<String>,
}

#[derive(Serialize)]
struct Journal {
    epoch: String,
    head: Number,
    bytes: u64,
}

async fn stats(State(parts): State<Parts>, headers: HeaderMap) -> Result<Json<Answer>, Refusal> {
    guard::operator(&parts, &headers)?;
    let (session, numbers) = (&parts.session, (parts.numbers)());
    let (count, sent) = (session.census.count(), session.fan_out.sent());
    let stats = Stats {
        total_connections: count.sessions,
        connections_by_role: count.sessions_by_role,
        unique_users: count.users,
        heartbeat_active: true,
        heartbeat_interval: session.settings.heartbeat.as_secs_f64(),
        metrics: Metrics {
            total_messages_sent: sent.deliveries(),
            total_broadcasts: sent.messages(),
            total_send_errors: count.slow,
            last_broadcast_at: sent.last_at().map(|at| at.rfc3339()),
        },
        most_users: count.most_users,
        sessions_begun: count.begun,
        uptime_seconds: count.uptime.as_secs(),
        journal: Journal {
            epoch: session.journal.epoch().to_string(),
            head: session.journal.head(),
            bytes: session.journal.used(),
        },
        pipelines: numbers.pipelines,
    };
    Ok(Json(Answer { status: "ok", stats, timestamp: Micros::now().rfc3339() }))
}
