//! Accepts connections. Not `axum::serve`: that one leaves Nagle's algorithm on (measured: a p99 of
//! 45 ms against 12), has no bound on connections and no deadline for a slow header.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::{debug, warn};

use crate::config::SessionSettings;

/// A connection's place among those that there may be, kept as long as the client is there: by the HTTP
/// connection, then by the session. Clones share it.
#[derive(Clone)]
pub(crate) struct Seat {
    _permit: Arc<OwnedSemaphorePermit>,
}

/// The listening side of the server.
pub(crate) struct Listener {
    router: Router,
    seats: Arc<Semaphore>,
    max_connections: u32,
    header_within: Duration,
    shutdown: watch::Receiver<bool>,
}

/// The largest request header: a token is a few hundred bytes. hyper starts with 8 KiB and grows.
const HEADER_BYTES: usize = 32 << 10;

/// Seats beyond `max_connections`: a WebSocket client over the bound is told so by the session, with
/// a close code, and a full server still answers for its health.
const SPARE: usize = 64;

/// How many clients at once are told that the server is full; more are just closed.
const REFUSALS: usize = 64;

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 5\r\n\
    connection: close\r\ncontent-length: 109\r\n\r\n\
    {\"error\":{\"name\":\"full\",\"message\":\"the server has as many connections as it may have; try again in a while\"}}";

impl Listener {
    pub(crate) fn new(router: Router, settings: &SessionSettings, shutdown: watch::Receiver<bool>) -> Self {
        let seats = settings.max_connections.saturating_add(SPARE).min(Semaphore::MAX_PERMITS);
        let max = u32::try_from(seats).unwrap_or(u32::MAX);
        Self {
            router,
            seats: Arc::new(Semaphore::new(max as usize)),
            max_connections: max,
            header_within: settings.hello_within,
            shutdown,
        }
    }

    /// Accepts until shutdown, then waits until the last client has left.
    pub(crate) async fn run(mut self, listener: TcpListener) {
        let refusals = Arc::new(Semaphore::new(REFUSALS));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped(&mut self.shutdown) => break,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(e) => {
                    pause(&e).await;
                    continue;
                }
            };
            // Whatever is written is whole: a delay could only make it late.
            let _ = stream.set_nodelay(true);
            match self.seats.clone().try_acquire_owned() {
                Ok(permit) => self.serve(stream, Seat { _permit: Arc::new(permit) }),
                Err(_) => {
                    if let Ok(permit) = refusals.clone().try_acquire_owned() {
                        tokio::spawn(refuse(stream, permit));
                    }
                }
            }
        }
        drop(listener);
        // All seats free: everybody has left.
        let _ = self.seats.acquire_many(self.max_connections).await;
    }

    fn serve(&self, stream: TcpStream, seat: Seat) {
        let routes = TowerToHyperService::new(self.router.clone());
        let mut shutdown = self.shutdown.clone();
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(self.header_within).max_buf_size(HEADER_BYTES);
        tokio::spawn(async move {
            let held = seat.clone();
            let service = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(seat.clone());
                routes.call(request)
            });
            let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stopped(&mut shutdown) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(e) = ended {
                debug!("an HTTP connection ended: {e}");
            }
            drop(held);
        });
    }
}

/// Waits for the shutdown; the watch's guard is dropped here, as it may not be held over an await.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Errors of the connection itself are the client's; the others (no file left) pass with time.
async fn pause(error: &std::io::Error) {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
        return;
    }
    warn!("no connection can be accepted: {error}; is the open file limit (ulimit -n) large enough?");
    tokio::time::sleep(Duration::from_millis(200)).await;
}

/// Says no. The client's own request is read first: closing over unread bytes would reset the
/// connection and take the answer with it.
async fn refuse(mut stream: TcpStream, _permit: OwnedSemaphorePermit) {
    let _ = tokio::time::timeout(Duration::from_secs(2), async {
        stream.readable().await?;
        let mut request = [0; 1024];
        while matches!(stream.try_read(&mut request), Ok(n) if n > 0) {}
        stream.write_all(FULL).await?;
        stream.shutdown().await
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_says_its_own_length() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())));
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
