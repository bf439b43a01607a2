//! `/healthz`: the process is alive. `/readyz`: capture and every pipeline run.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use super::{NO_ROOM, Parts, Refusal};

/// One part of the server, and whether it does its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Like `source gad` or `pipeline panel`.
    pub name: String,
    pub ready: bool,
    /// Why it is not ready, won't be for long, or lacks something; and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Asks the parts how they are.
pub type Readiness = Arc<dyn Fn() -> Vec<Part> + Send + Sync>;

#[derive(Serialize)]
struct Report {
    ready: bool,
    parts: Vec<Part>,
}

pub(super) fn router() -> Router<Parts> {
    Router::new().route("/healthz", get(alive)).route("/readyz", get(ready))
}

/// What is answered for a server that can't start yet, because of one part.
pub(crate) fn waiting(part: Part) -> Router {
    let report = || async move {
        let report = Report { ready: false, parts: vec![part] };
        (StatusCode::SERVICE_UNAVAILABLE, Json(report))
    };
    let refuse = || async {
        let message = "the server has no room to start; try again later";
        Refusal(StatusCode::SERVICE_UNAVAILABLE, NO_ROOM, message.into())
    };
    Router::new().route("/healthz", get(alive)).route("/readyz", get(report)).fallback(refuse)
}

async fn alive() -> &'static str {
    "ok\n"
}

async fn ready(State(parts): State<Parts>) -> (StatusCode, Json<Report>) {
    let parts = (parts.readiness)();
    let ready = parts.iter().all(|part| part.ready);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Report { ready, parts }))
}
