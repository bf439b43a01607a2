//! `/api/v1/pipelines`: what operators do with pipelines.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use tracing::info;

use super::{Parts, Refusal, guard};
use crate::event::Number;
use crate::journal::Control;

pub(super) fn router() -> Router<Parts> {
    Router::new().route("/api/v1/pipelines/{name}/rebuild", post(rebuild))
}

/// A rebuild that will be done.
#[derive(Serialize)]
struct Wanted {
    pipeline: String,
    /// Its place in the journal.
    offset: Number,
}

/// Has a pipeline's state made anew from the rows that are there. 202: it is written down, and done
/// even if the server stops before.
async fn rebuild(
    State(parts): State<Parts>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Wanted>), Refusal> {
    guard::operator(&parts, &headers)?;
    let Some(pipeline) = parts.pipelines.iter().find(|pipeline| ***pipeline == *name) else {
        let message = format!("there is no pipeline {name:?}; there are: {}", parts.pipelines.join(", "));
        return Err(Refusal(StatusCode::NOT_FOUND, "no_such_pipeline", message.into()));
    };
    let control = Control::RebuildWanted { pipeline: pipeline.clone() };
    let written = parts.session.journal.control(control).await;
    let offset = written.map_err(|error| {
        Refusal(StatusCode::SERVICE_UNAVAILABLE, "journal", format!("the journal can't take it: {error}").into())
    })?;
    info!(%pipeline, "a rebuild was asked for");
    Ok((StatusCode::ACCEPTED, Json(Wanted { pipeline: name, offset })))
}
