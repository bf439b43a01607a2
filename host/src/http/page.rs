//! The page at `/`: shows what channels bring, as a browser gets it. It knows no domain; what it
//! opens and how it names things comes from the settings, at `/page/settings.json`.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

use super::Parts;
use crate::config::PageSettings;

/// What programs and people with `curl` get at `/`.
const SHORT: &str = "Relevo. WebSocket: /api/v1/ws/connect (subprotocol relevo.v1; without it the original's protocol). Health: /healthz, /readyz. A page for browsers: /.\n";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const JSON: &str = "application/json";

macro_rules! files {
    ($($name:literal is $kind:ident),* $(,)?) => {
        &[$(($name, $kind, include_str!(concat!("page/", $name)))),*]
    };
}

/// The page itself, at `/`.
const INDEX: &str = include_str!("page/index.html");

/// What it is made of, under `/page/`.
const FILES: &[(&str, &str, &str)] = files![
    "style.css" is CSS,
    "icon.svg" is SVG,
    "page.js" is JS,
    "client.js" is JS,
    "state.js" is JS,
    "log.js" is JS,
    "boards.js" is JS,
    "stats.js" is JS,
    "texts.js" is JS,
    "dom.js" is JS,
];

/// Sent with everything. Only the server's own files run, and they talk to the server alone: a message
/// that holds markup stays text, and a script that got in could send nothing elsewhere.
const GUARDS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    // Kept by browsers, but asked about each time: a new server's page is seen at once.
    (header::CACHE_CONTROL, "no-cache"),
];

pub(super) fn router(settings: &PageSettings) -> Router<Parts> {
    if !settings.enabled {
        return Router::new().route("/", get(|| async { SHORT }));
    }
    let index = Arc::new(File::new(HTML, INDEX));
    let page = get(move |headers: HeaderMap| {
        let index = index.clone();
        async move { if wants_html(&headers) { index.answer(&headers) } else { short() } }
    });
    // The settings hold nothing that JSON can't say.
    let words = serde_json::to_string(settings).unwrap_or_else(|_| "{}".into());
    let own = [("settings.json", File::new(JSON, words))];
    let files = FILES.iter().map(|(name, kind, text)| (*name, File::new(kind, *text)));
    own.into_iter().chain(files).fold(Router::new().route("/", page), |router, (name, file)| {
        let file = Arc::new(file);
        router.route(&format!("/page/{name}"), get(send).with_state(file))
    })
}

async fn send(State(file): State<Arc<File>>, headers: HeaderMap) -> Response {
    file.answer(&headers)
}

/// A file, and the name of its content.
struct File {
    kind: &'static str,
    text: Bytes,
    tag: String,
}

impl File {
    fn new(kind: &'static str, text: impl Into<Bytes>) -> Self {
        let text = text.into();
        let hash = Sha256::digest(&text);
        let tag = hash[..12].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Self { kind, text, tag: format!("\"{tag}\"") }
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let known = asked.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
        let same = known.is_some_and(|tags| tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == self.tag));
        let mut response =
            if same { StatusCode::NOT_MODIFIED.into_response() } else { Response::new(Body::from(self.text.clone())) };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        if let Ok(tag) = HeaderValue::from_str(&self.tag) {
            headers.insert(header::ETAG, tag);
        }
        for (name, value) in GUARDS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

fn short() -> Response {
    ([(header::VARY, "accept")], SHORT).into_response()
}

fn wants_html(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT);
    accept.iter().filter_map(|value| value.to_str().ok()).any(|kinds| kinds.to_ascii_lowercase().contains("text/html"))
}
