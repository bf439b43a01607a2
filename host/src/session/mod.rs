//! One client of the native protocol: from the upgraded socket to its close. The `connect` route
//! calls [`serve`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;

use crate::auth::{Policy, Tokens};
use crate::channel::FanOut;
use crate::config::SessionSettings;
use crate::event::{Number, Published};
use crate::journal::Journal;

/// Takes a publication in, and gives its number or the reason why not.
pub type Publish = Arc<dyn Fn(Published) -> Pin<Box<dyn Future<Output = Result<Number, String>> + Send>> + Send + Sync>;

/// What all sessions share.
pub struct Context {
    pub journal: Journal,
    pub fan_out: FanOut,
    pub tokens: Tokens,
    pub policy: Policy,
    pub settings: SessionSettings,
    pub publish: Publish,
}

/// What the upgrade request already said, raw; the session checks it and closes with a named code.
#[derive(Debug, Default)]
pub struct Hello {
    /// From `Authorization: Bearer` or `token=`. None: the first message brings it.
    pub token: Option<String>,
    /// `after=EPOCH:OFFSET`.
    pub after: Option<String>,
    /// Each `channel=`.
    pub channels: Vec<String>,
}

/// Serves one client until it leaves. `stream` is the bare TCP stream after the WebSocket
/// handshake, `already_read` what came with it. Spawn it: the future is small.
#[expect(clippy::unimplemented, unused_variables, clippy::unused_async, reason = "signatures first; bodies follow")]
pub async fn serve(stream: TcpStream, already_read: Bytes, hello: Hello, context: Arc<Context>) {
    unimplemented!()
}
