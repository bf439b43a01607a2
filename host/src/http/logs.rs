//! `/api/v1/plugins/NAME/logs`: what a plugin logged, its faults, and who took over; follows it if asked to.

use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use super::{Parts, Refusal, guard};
use crate::pipeline::{Logs, Wanted};
use crate::sandbox::Level;

/// How many lines an answer has at most.
const MOST: usize = 1000;
/// The longest that an answer waits for a line, in seconds: shorter than the usual proxy's patience.
const LONGEST_WAIT: u64 = 30;

pub(super) fn router() -> Router<Parts> {
    Router::new().route("/api/v1/plugins/{name}/logs", get(logs))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The lines after this number.
    #[serde(default)]
    after: u64,
    level: Option<Level>,
    limit: Option<usize>,
    /// Seconds.
    #[serde(default)]
    wait: u64,
}

async fn logs(
    State(parts): State<Parts>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Json<Logs>, Refusal> {
    guard::operator(&parts, &headers)?;
    let wanted = Wanted {
        after: asked.after,
        least: asked.level.unwrap_or(Level::Trace),
        limit: asked.limit.unwrap_or(100).clamp(1, MOST),
        wait: Duration::from_secs(asked.wait.min(LONGEST_WAIT)),
    };
    Ok(Json(parts.desk.logs(&name, wanted).await?))
}
