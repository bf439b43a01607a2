//! HTTP: a table of contents. Each file is one thing with its own `router()`; [`listener`] accepts
//! the connections.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::config::PageSettings;
use crate::event::Name;
use crate::pipeline::Desk;
use crate::session;

mod connect;
mod events;
mod guard;
mod health;
mod letters;
pub(crate) mod listener;
mod logs;
mod metrics;
mod page;
mod pipelines;
mod plugins;
mod requests;
mod sources;
mod stats;

pub(crate) use health::waiting;
pub use health::{Part, Readiness};
pub use metrics::{AskNumbers, Numbers};
pub use sources::Source;

/// What the routes need.
#[derive(Clone)]
pub(crate) struct Parts {
    pub session: Arc<session::Context>,
    pub readiness: Readiness,
    pub numbers: AskNumbers,
    /// Those that operators may name.
    pub pipelines: Arc<[Name]>,
    pub desk: Desk,
    pub sources: Arc<[Source]>,
    /// The largest component that may be brought, in bytes.
    pub component_bytes: u64,
    pub page: Arc<PageSettings>,
}

/// All routes.
pub(crate) fn router(parts: Parts) -> Router {
    Router::new()
        .merge(page::router(&parts.page))
        .merge(health::router())
        .merge(connect::router())
        .merge(events::router())
        .merge(metrics::router())
        .merge(letters::router())
        .merge(logs::router())
        .merge(pipelines::router())
        .merge(plugins::router(&parts))
        .merge(sources::router())
        .merge(stats::router())
        .fallback(|| async { Refusal(StatusCode::NOT_FOUND, "not_found", "there is nothing here; see /".into()) })
        .layer(axum::middleware::from_fn(requests::follow))
        .with_state(parts)
}

/// The name of the error where the journal has no room: asking again helps.
const NO_ROOM: &str = "no_room";

/// The one shape of an HTTP error: `{"error":{"name":…,"message":…}}`.
struct Refusal(StatusCode, &'static str, Cow<'static, str>);

impl Refusal {
    fn body(&self) -> serde_json::Value {
        let Self(_, name, message) = self;
        serde_json::json!({"error": {"name": name, "message": message}})
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        let mut response = (self.0, [(header::CONTENT_TYPE, json)], self.body().to_string()).into_response();
        if self.1 == NO_ROOM {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

#[cfg(test)]
mod tests;
