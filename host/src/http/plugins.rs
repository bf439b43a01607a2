//! `/api/v1/plugins`: what operators do with plugins: look, deploy, try, roll back, pause.

use std::time::Duration;

use axum::body::Body;
use axum::extract::multipart::MultipartError;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Multipart, Path, Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::{Parts, Refusal, guard};
use crate::event::Number;
use crate::pipeline::{DeployError, Deployed, PluginView, Reports, Wish as TrialWish};
use crate::store::{Origin, Package};

pub(super) fn router(parts: &Parts) -> Router<Parts> {
    // Beside the component: the manifest, and what the form around the files takes.
    let largest = usize::try_from(parts.component_bytes.saturating_add(Package::BESIDE)).unwrap_or(usize::MAX);
    Router::new()
        .route("/api/v1/plugins", get(list))
        .route("/api/v1/plugins/{name}", get(one).put(deploy))
        .route("/api/v1/plugins/{name}/trial", post(trial))
        .layer(DefaultBodyLimit::max(largest))
        .route("/api/v1/plugins/{name}/rollback", post(roll_back))
        .route("/api/v1/plugins/{name}/pause", post(pause))
        .route("/api/v1/plugins/{name}/resume", post(resume))
}

impl From<DeployError> for Refusal {
    fn from(error: DeployError) -> Self {
        let (status, name) = match &error {
            DeployError::NoPipeline(..) | DeployError::UnknownPlugin { .. } => {
                (StatusCode::NOT_FOUND, "no_such_plugin")
            }
            DeployError::UnknownPipeline(..) => (StatusCode::NOT_FOUND, "no_such_pipeline"),
            DeployError::UnknownVersion { .. } | DeployError::NoFormer(_) => (StatusCode::NOT_FOUND, "no_such_version"),
            DeployError::UnknownLetter(_) => (StatusCode::NOT_FOUND, "no_such_letter"),
            DeployError::Refused { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "plugin_refused"),
            DeployError::TooManyShadows(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many_trials"),
            DeployError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "store"),
            DeployError::Journal(_) => (StatusCode::SERVICE_UNAVAILABLE, "journal"),
            DeployError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        };
        Self(status, name, error.to_string().into())
    }
}

#[derive(Serialize)]
struct Plugins {
    plugins: Vec<PluginView>,
}

async fn list(State(parts): State<Parts>, headers: HeaderMap) -> Result<Json<Plugins>, Refusal> {
    guard::operator(&parts, &headers)?;
    Ok(Json(Plugins { plugins: parts.desk.plugins().await? }))
}

async fn one(
    State(parts): State<Parts>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<PluginView>, Refusal> {
    guard::operator(&parts, &headers)?;
    Ok(Json(parts.desk.plugin(&name).await?))
}

/// A form with the files `component`, `manifest` and, where it is signed, `signature`. 200: it serves, or will; 422: it can't, and why.
async fn deploy(
    State(parts): State<Parts>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Deployed>, Refusal> {
    let who = guard::operator(&parts, request.headers())?;
    let package = package(request).await?;
    info!(plugin = name, user = %who.user, bytes = package.component.len(), "a version is brought");
    Ok(Json(parts.desk.deploy(&name, package, &who.user, Origin::Http).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tried {
    pipeline: String,
    from: Option<Number>,
    to: Option<Number>,
    /// Seconds beside the running version; 0: as long as it may.
    live: Option<u64>,
}

/// The same form; nothing is kept and nothing published. A live trial answers with a report a second, a line
/// each, and ends with the connection.
async fn trial(
    State(parts): State<Parts>,
    Path(name): Path<String>,
    Query(range): Query<Tried>,
    request: Request,
) -> Result<Response, Refusal> {
    let who = guard::operator(&parts, request.headers())?;
    let Tried { pipeline, from, to, live } = range;
    let wish = TrialWish { plugin: name.as_str().into(), pipeline, package: package(request).await?, from };
    let Some(seconds) = live else { return Ok(Json(parts.desk.trial(wish, to).await?).into_response()) };
    if to.is_some() {
        let message = "to has no place beside live: a live trial goes on with what comes";
        return Err(Refusal(StatusCode::BAD_REQUEST, "bad_query", message.into()));
    }
    info!(plugin = name, user = %who.user, pipeline = &*wish.pipeline, "a live trial begins");
    let within = (seconds > 0).then(|| Duration::from_secs(seconds));
    let reports = parts.desk.shadow(wish, within).await?;
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines(reports))).into_response())
}

/// Each report as a line. An error comes in the shape that refusals have, and is the last.
fn lines(reports: Reports) -> impl Stream<Item = Result<Vec<u8>, serde_json::Error>> {
    futures_util::stream::unfold(reports, |mut reports| async {
        let report = reports.recv().await?;
        let line = match report {
            Ok(report) => serde_json::to_vec(&report),
            Err(error) => serde_json::to_vec(&Refusal::from(error).body()),
        };
        let line = line.map(|mut line| {
            line.push(b'\n');
            line
        });
        Some((line, reports))
    })
}

/// Reads the form; who sent it is known.
async fn package(request: Request) -> Result<Package, Refusal> {
    let refused = |error: MultipartError| {
        let name = if error.status() == StatusCode::PAYLOAD_TOO_LARGE { "too_large" } else { "bad_form" };
        let hint = "send multipart/form-data with the files component (NAME.wasm, at most plugins.component_bytes) and \
                    manifest (NAME.toml)";
        Refusal(error.status(), name, format!("{}; {hint}", error.body_text()).into())
    };
    let bad = |message: &str| {
        let message = format!(
            "{message}; send the files component (NAME.wasm), manifest (NAME.toml) and maybe signature (NAME.sig)"
        );
        Refusal(StatusCode::BAD_REQUEST, "bad_form", message.into())
    };
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|error| bad(&error.body_text()))?;
    let (mut component, mut manifest, mut signature) = (None, None, None);
    while let Some(field) = form.next_field().await.map_err(refused)? {
        match field.name() {
            Some("component") => component = Some(field.bytes().await.map_err(refused)?.to_vec()),
            Some("signature") => signature = Some(field.text().await.map_err(refused)?),
            Some("manifest") => manifest = Some(field.text().await.map_err(refused)?),
            other => return Err(bad(&format!("the form has a field {:?}", other.unwrap_or_default()))),
        }
    }
    match (component, manifest) {
        (Some(component), Some(manifest)) => Ok(Package { component, manifest, signature }),
        (None, _) => Err(bad("the form has no component")),
        (_, None) => Err(bad("the form has no manifest")),
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Back {
    version: Option<String>,
}

async fn roll_back(
    State(parts): State<Parts>,
    Path(name): Path<String>,
    Query(back): Query<Back>,
    headers: HeaderMap,
) -> Result<Json<Deployed>, Refusal> {
    let who = guard::operator(&parts, &headers)?;
    info!(plugin = name, user = %who.user, version = back.version, "an earlier version is wanted back");
    Ok(Json(parts.desk.roll_back(&name, back.version.as_deref(), &who.user).await?))
}

/// Wishes that are written down, and done even if the server stops before.
#[derive(Serialize)]
struct Wished {
    /// By pipeline.
    wishes: Vec<Wish>,
}

#[derive(Serialize)]
struct Wish {
    pipeline: crate::event::Name,
    /// Its place in the journal.
    offset: Number,
}

async fn pause(
    State(parts): State<Parts>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Wished>), Refusal> {
    let who = guard::operator(&parts, &headers)?;
    info!(plugin = name, user = %who.user, "a pause is wanted");
    let mut wishes = Vec::new();
    for health in parts.desk.plugin(&name).await?.pipelines {
        let offset = parts.desk.pause(&health.pipeline, &who.user).await?;
        wishes.push(Wish { pipeline: health.pipeline, offset });
    }
    Ok((StatusCode::ACCEPTED, Json(Wished { wishes })))
}

async fn resume(
    State(parts): State<Parts>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Wished>), Refusal> {
    let who = guard::operator(&parts, &headers)?;
    info!(plugin = name, user = %who.user, "a pause is to end");
    let mut wishes = Vec::new();
    for health in parts.desk.plugin(&name).await?.pipelines {
        let offset = parts.desk.resume(&health.pipeline, &who.user).await?;
        wishes.push(Wish { pipeline: health.pipeline, offset });
    }
    Ok((StatusCode::ACCEPTED, Json(Wished { wishes })))
}
