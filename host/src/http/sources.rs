//! `/api/v1/sources`: how capture stands, and a source that begins anew.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use tracing::info;

use super::{Parts, Refusal, guard};
use crate::capture::Handle;
use crate::capture::status::{self, Status};
use crate::config::SourceSettings;
use crate::journal::JournalError;

/// A source's settings, and what runs with them.
#[derive(Clone)]
pub struct Source {
    pub settings: SourceSettings,
    pub handle: Handle,
}

pub(super) fn router() -> Router<Parts> {
    Router::new().route("/api/v1/sources", get(list)).route("/api/v1/sources/{name}/reset", post(reset))
}

#[derive(Serialize)]
struct Sources {
    sources: Vec<Status>,
}

fn refused(error: JournalError) -> Refusal {
    match error {
        JournalError::Closed => Refusal(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the server stops".into()),
        error => Refusal(StatusCode::SERVICE_UNAVAILABLE, "journal", format!("the journal says: {error}").into()),
    }
}

async fn list(State(parts): State<Parts>, headers: HeaderMap) -> Result<Json<Sources>, Refusal> {
    guard::operator(&parts, &headers)?;
    let mut sources = Vec::new();
    for Source { settings, handle } in parts.sources.iter() {
        let known = parts.session.journal.source(&settings.name).await.map_err(refused)?;
        sources.push(status::running(settings, &handle.health(), known.as_ref()));
    }
    Ok(Json(Sources { sources }))
}

/// A source that begins anew.
#[derive(Serialize)]
struct Reset {
    source: String,
}

/// Forgets where a source stands. 200: that is written down, and nothing of its former life comes any more.
async fn reset(
    State(parts): State<Parts>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Reset>, Refusal> {
    let who = guard::operator(&parts, &headers)?;
    let Some(source) = parts.sources.iter().find(|source| *source.settings.name == *name) else {
        let all: Vec<_> = parts.sources.iter().map(|source| &*source.settings.name).collect();
        let message = format!("there is no source {name:?}; there are: {}", all.join(", "));
        return Err(Refusal(StatusCode::NOT_FOUND, "no_such_source", message.into()));
    };
    source.handle.reset(&who.user).await.map_err(refused)?;
    info!(source = name, user = %who.user, "a source was reset");
    Ok(Json(Reset { source: name }))
}
