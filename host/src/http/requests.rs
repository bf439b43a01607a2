//! Around every request: an id, a span that carries it, and one line in the log. docs/logging.md lists the
//! fields.
//!
//! Of the request's address only the path is logged: a query may hold a token.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Instrument, Span, debug, error_span, field, info};
use uuid::Uuid;

use crate::auth::Identity;
use crate::telemetry::milliseconds;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id of a client's own that is taken over, and how much of a path is logged, in bytes.
const LONGEST_ID: usize = 128;
const LONGEST_PATH: usize = 256;

/// What monitors ask for all the time.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// The id of a request, among its extensions.
#[derive(Clone)]
pub(super) struct RequestId(pub(super) Arc<str>);

/// Gives the request its id, answers with it, and logs.
pub(super) async fn follow(mut request: Request<Body>, next: Next) -> Response {
    let began = Instant::now();
    let id: Arc<str> = given(request.headers()).map_or_else(made, Arc::from);
    let method = request.method().clone();
    let path = shortened(request.uri().path()).to_owned();
    request.extensions_mut().insert(RequestId(id.clone()));
    // Of the highest level, so that no filter parts a line from its request.
    let span = error_span!("request", request_id = %id, user = field::Empty);

    let mut response = next.run(request).instrument(span.clone()).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    let status = response.status().as_u16();
    let duration_ms = milliseconds(began.elapsed());
    span.in_scope(|| {
        if PROBES.contains(&path.as_str()) {
            debug!(%method, path, status, duration_ms, "a request was answered");
        } else {
            info!(%method, path, status, duration_ms, "a request was answered");
        }
    });
    response
}

/// Lets the lines of this request say who sent it.
pub(super) fn sent_by(who: &Identity) {
    Span::current().record("user", &*who.user);
}

/// The client's own id, if it can stand in a log as it is.
fn given(headers: &HeaderMap) -> Option<&str> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.:=+/".contains(&b);
    let id = headers.get(HEADER)?.to_str().ok()?;
    ((1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(legal)).then_some(id)
}

fn made() -> Arc<str> {
    Uuid::new_v4().simple().to_string().into()
}

fn shortened(path: &str) -> &str {
    &path[..path.floor_char_boundary(LONGEST_PATH)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_id_that_can_stand_in_a_log_is_taken_over() {
        let of = |id: &'static str| {
            given(&HeaderMap::from_iter([(HEADER, HeaderValue::from_static(id))])).map(str::to_owned)
        };
        for good in ["a", "7f0c2d1e-0b1f-4d52-8d5f-0a1b2c3d4e5f", "Root=1-67891233-abc:1/2+3_4.5"] {
            assert_eq!(of(good).as_deref(), Some(good));
        }
        for bad in ["", "a b", "a\"b", "a\tb", "{}", "a,b"] {
            assert_eq!(of(bad), None, "{bad}");
        }
        let long = |bytes: usize| HeaderMap::from_iter([(HEADER, HeaderValue::from_str(&"x".repeat(bytes)).unwrap())]);
        assert!(given(&long(LONGEST_ID)).is_some() && given(&long(LONGEST_ID + 1)).is_none());
        assert!(given(&HeaderMap::new()).is_none());
    }

    #[test]
    fn a_long_path_is_cut() {
        assert_eq!(shortened(&"é".repeat(300)).len(), LONGEST_PATH);
    }
}
