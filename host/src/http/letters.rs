//! `/api/v1/dead-letters`: the events that plugins could not handle: looked at, tried again, let go.
//! And the event that holds a pipeline, let go.

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tracing::info;

use super::{Parts, Refusal, guard};
use crate::event::{Event, Name, Number};

/// How many letters an answer has at most.
const MOST: usize = 200;

pub(super) fn router() -> Router<Parts> {
    Router::new()
        .route("/api/v1/dead-letters", get(list))
        .route("/api/v1/dead-letters/{letter}", delete(let_go))
        .route("/api/v1/dead-letters/{letter}/replay", post(replay))
        .route("/api/v1/pipelines/{name}/skip/{event}", post(skip))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    pipeline: Option<String>,
    /// Those after this letter.
    #[serde(default)]
    after: Number,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Letters {
    letters: Vec<Letter>,
}

#[derive(Serialize)]
struct Letter {
    /// What names it.
    letter: Number,
    at: String,
    pipeline: Name,
    plugin: Name,
    version: Box<str>,
    reason: Box<str>,
    /// The plugins that have it when it is tried again.
    lacking: Box<[Name]>,
    /// What it means was sent before.
    delivered: bool,
    number: Number,
    event: Event,
}

async fn list(
    State(parts): State<Parts>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Json<Letters>, Refusal> {
    guard::operator(&parts, &headers)?;
    let limit = asked.limit.unwrap_or(50).clamp(1, MOST);
    let stored = parts.desk.dead_letters(asked.pipeline.as_deref(), asked.after, limit).await?;
    let letters = stored.into_iter().map(|stored| {
        let crate::journal::DeadLetter { pipeline, plugin, version, reason, number, event, lacking, delivered, .. } =
            stored.letter;
        let (letter, at) = (stored.number, stored.at.rfc3339());
        Letter { letter, at, pipeline, plugin, version, reason, lacking, delivered, number, event }
    });
    Ok(Json(Letters { letters: letters.collect() }))
}

/// A wish that is written down, and done even if the server stops before.
#[derive(Serialize)]
struct Wished {
    /// Its place in the journal.
    offset: Number,
}

async fn replay(
    State(parts): State<Parts>,
    Path(letter): Path<u64>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Wished>), Refusal> {
    let who = guard::operator(&parts, &headers)?;
    let offset = parts.desk.replay(Number(letter), &who.user).await?;
    info!(letter, user = %who.user, "a dead letter is to be tried again");
    Ok((StatusCode::ACCEPTED, Json(Wished { offset })))
}

async fn let_go(
    State(parts): State<Parts>,
    Path(letter): Path<u64>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Wished>), Refusal> {
    let who = guard::operator(&parts, &headers)?;
    let offset = parts.desk.drop_letter(Number(letter), &who.user).await?;
    info!(letter, user = %who.user, "a dead letter is let go");
    Ok((StatusCode::OK, Json(Wished { offset })))
}

async fn skip(
    State(parts): State<Parts>,
    Path((name, event)): Path<(String, u64)>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Wished>), Refusal> {
    let who = guard::operator(&parts, &headers)?;
    let offset = parts.desk.skip(&name, Number(event), &who.user).await?;
    info!(pipeline = name, event, user = %who.user, "an event is let go");
    Ok((StatusCode::ACCEPTED, Json(Wished { offset })))
}
