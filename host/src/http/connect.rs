//! `/api/v1/ws/connect`, and `/ws/connect` as the original had it: the WebSocket handshake. It is made by hand, because the fan-out writes to
//! the bare TCP stream: after the answer the stream goes over to [`session::serve`].

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, body::Body};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::debug;

use super::guard::bearer;
use super::listener::Seat;
use super::requests::RequestId;
use super::{Parts, Refusal};
use crate::message::Dialect;
use crate::session::{self, Hello};
use crate::wire::native::SUBPROTOCOL as NATIVE;

/// More than any client needs; what the session room allows is checked there.
const MAX_CHANNELS: usize = 1000;

pub(super) fn router() -> Router<Parts> {
    Router::new().route("/api/v1/ws/connect", get(connect)).route("/ws/connect", get(connect))
}

async fn connect(State(parts): State<Parts>, mut request: Request<Body>) -> Response {
    let accept = match check(request.headers()) {
        Ok(accept) => accept,
        Err(refusal) => return refuse(refusal),
    };
    let native = offers(request.headers(), NATIVE);
    let dialect = if native { Dialect::Native } else { Dialect::Gad };
    let request_id = request.extensions().get::<RequestId>().map(|id| id.0.clone());
    let hello = Hello { dialect, request_id, ..hello(&request) };
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return refuse(Refusal(
            StatusCode::UPGRADE_REQUIRED,
            "upgrade_required",
            "this connection can't be upgraded".into(),
        ));
    };
    let seat = request.extensions_mut().remove::<Seat>();

    tokio::spawn(async move {
        // Held until the client leaves.
        let _seat = seat;
        let Ok(upgraded) = upgrade.await else { return };
        match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(bare) => session::serve(bare.io.into_inner(), bare.read_buf, hello, parts.session).await,
            Err(_) => debug!("a connection that is no TCP stream was upgraded"),
        }
    });

    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if native {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(NATIVE));
    }
    response
}

/// Checks the request as RFC 6455, 4.2.1 asks, and gives the answer to its key.
fn check(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let upgrade = |message: &'static str| Refusal(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message.into());
    let bad = |message: &'static str| Refusal(StatusCode::BAD_REQUEST, "bad_handshake", message.into());
    if !has_token(headers, &header::UPGRADE, "websocket") || !has_token(headers, &header::CONNECTION, "upgrade") {
        return Err(upgrade("this is a WebSocket: send Connection: Upgrade and Upgrade: websocket"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(upgrade("send Sec-WebSocket-Version: 13"));
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else {
        return Err(bad("Sec-WebSocket-Key is missing"));
    };
    if !is_key(key.as_bytes()) {
        return Err(bad("Sec-WebSocket-Key is not the base64 form of 16 bytes"));
    }
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| bad("Sec-WebSocket-Key can't be used"))
}

/// 16 bytes in base64: 22 characters and two `=`.
fn is_key(key: &[u8]) -> bool {
    key.len() == 24
        && key.ends_with(b"==")
        && key[..22].iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

/// What the request says beside the handshake. The header's token wins over the query's. A query
/// that can't be used is for the session to refuse: a browser sees a close code only.
fn hello(request: &Request<Body>) -> Hello {
    let mut hello = Hello::default();
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(request.uri()) else {
        hello.bad_query = Some("the query can't be read: use token=, after=EPOCH:OFFSET and channel=");
        return hello;
    };
    for (name, value) in pairs {
        match name.as_str() {
            "token" => hello.token = Some(value),
            "after" => hello.after = Some(value),
            "channel" if hello.channels.len() == MAX_CHANNELS => {
                hello.bad_query = Some("the query names too many channels: subscribe to the others later");
            }
            "channel" => hello.channels.push(value),
            // Proxies and browsers' tools add their own.
            _ => {}
        }
    }
    if let Some(token) = bearer(request.headers()) {
        hello.token = Some(token.to_owned());
    }
    hello
}

/// Whether a list in a header, maybe sent in several lines, holds a word.
fn has_token(headers: &HeaderMap, name: &header::HeaderName, word: &str) -> bool {
    words(headers, name).any(|found| found.eq_ignore_ascii_case(word))
}

fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    words(headers, &header::SEC_WEBSOCKET_PROTOCOL).any(|found| found == protocol)
}

fn words<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim)
}

/// A refusal that says which protocol and version would do (RFC 9110, 15.5.22; RFC 6455, 4.2.2).
fn refuse(refusal: Refusal) -> Response {
    let mut response = refusal.into_response();
    if response.status() == StatusCode::UPGRADE_REQUIRED {
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[(&'static str, &str)]) -> Request<Body> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    const GOOD: [(&str, &str); 4] = [
        ("upgrade", "websocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn a_good_handshake_gets_the_answer_of_the_rfc() {
        let accept = check(request("/", &GOOD).headers()).ok().unwrap();
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn each_part_of_the_handshake_is_needed() {
        for (missing, status) in [(0, 426), (1, 426), (2, 426), (3, 400)] {
            let mut headers = GOOD.to_vec();
            headers.remove(missing);
            let Err(refusal) = check(request("/", &headers).headers()) else { panic!("{missing} was not missed") };
            assert_eq!(refusal.0.as_u16(), status);
        }
    }

    #[test]
    fn a_wrong_version_or_key_is_refused() {
        for (at, value, status) in [
            (2, "8", 426),
            (3, "short==", 400),
            (3, "dGhlIHNhbXBsZSBub25jZ===", 400),
            (3, "!GhlIHNhbXBsZSBub25jZQ==", 400),
        ] {
            let mut headers = GOOD.to_vec();
            headers[at].1 = value;
            let Err(refusal) = check(request("/", &headers).headers()) else { panic!("{value} was taken") };
            assert_eq!(refusal.0.as_u16(), status);
        }
    }

    #[test]
    fn the_header_s_token_wins_over_the_query_s() {
        let uri = "/?token=b&after=e:7&channel=tasks&channel=dashboard%3Akpis&x=y";
        let hello = hello(&request(uri, &[("authorization", "bearer a")]));
        assert_eq!(hello.bad_query, None);
        assert_eq!(hello.token.as_deref(), Some("a"));
        assert_eq!(hello.after.as_deref(), Some("e:7"));
        assert_eq!(hello.channels, ["tasks", "dashboard:kpis"]);
        let basic = super::hello(&request(uri, &[("authorization", "Basic a")]));
        assert_eq!(basic.token.as_deref(), Some("b"));
    }

    #[test]
    fn a_query_with_too_many_channels_is_left_for_the_session_to_refuse() {
        let hello = hello(&request(&format!("/?{}", "channel=a&".repeat(MAX_CHANNELS + 1)), &[]));
        assert!(hello.bad_query.unwrap().contains("too many channels"));
        assert_eq!(hello.channels.len(), MAX_CHANNELS);
    }

    #[test]
    fn a_protocol_is_found_in_any_list() {
        let headers = [("sec-websocket-protocol", "gad, relevo.v1")];
        assert!(offers(request("/", &headers).headers(), NATIVE));
        assert!(!offers(request("/", &[("sec-websocket-protocol", "relevo.v11")]).headers(), NATIVE));
    }
}
