//! The start of the server where the disk is full: waits until there is room, and says so meanwhile, in the log and
//! to whoever asks `/readyz`.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{info, warn};

use super::StartError;
use crate::auth::SecretError;
use crate::config::SessionSettings;
use crate::http::{self, Part, listener::Listener};
use crate::journal::{JournalError, is_full};
use crate::pipeline;

/// The pause before a step is tried again: doubled each time, from the first to the last.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// What waits for room.
pub(super) struct Room<'a> {
    listener: &'a TcpListener,
    address: SocketAddr,
    settings: &'a SessionSettings,
}

impl<'a> Room<'a> {
    /// `listener`: where the server will listen at `address`; it is asked there why it waits.
    pub(super) fn new(listener: &'a TcpListener, address: SocketAddr, settings: &'a SessionSettings) -> Self {
        Self { listener, address, settings }
    }

    /// Does a step of the start; again and again as long as there is no room for it.
    ///
    /// # Errors
    /// The step's, but for those that say that there is no room.
    pub(super) async fn wait<T>(&self, step: impl AsyncFn() -> Result<T, StartError>) -> Result<T, StartError> {
        let error = match step().await {
            Err(error) if is_no_room(&error) => error,
            done => return done,
        };
        warn!(readyz = %format_args!("http://{}/readyz", self.address), "the start waits for room: {error}");
        // Ends with this function, however it ends.
        let (_waiting, over) = watch::channel(false);
        self.answer(error.to_string(), over)?;
        let mut pause = PAUSE.0;
        loop {
            tokio::time::sleep(pause).await;
            match step().await {
                Err(error) if is_no_room(&error) => pause = (pause * 2).min(PAUSE.1),
                done => {
                    info!("there is room: the start goes on");
                    return done;
                }
            }
        }
    }

    /// Answers for the server until the sender of `over` is gone.
    fn answer(&self, why: String, over: watch::Receiver<bool>) -> Result<(), StartError> {
        use std::os::fd::AsFd as _;
        let cause = |cause| StartError::Listen { address: self.address, cause };
        let same = self.listener.as_fd().try_clone_to_owned().map_err(cause)?;
        let same = TcpListener::from_std(same.into()).map_err(cause)?;
        let routes = http::waiting(Part { name: "journal".into(), ready: false, reason: Some(why) });
        tokio::spawn(Listener::new(routes, self.settings, over).run(same));
        Ok(())
    }
}

/// Whether an error passes when somebody makes room.
fn is_no_room(error: &StartError) -> bool {
    match error {
        StartError::Data { cause, .. } | StartError::Secret(SecretError::Io { cause, .. }) => is_full(cause),
        StartError::Journal(JournalError::Io(cause)) => is_full(cause),
        StartError::Journal(error) | StartError::Pipelines(pipeline::StartError::Journal(error)) => {
            matches!(error, JournalError::NoRoom { .. })
        }
        _ => false,
    }
}
