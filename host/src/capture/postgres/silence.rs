//! Notices a connection over which nothing comes any more, though nobody closed it: a heartbeat was asked for,
//! and neither it nor anything else has come back for long.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::super::error::CaptureError;

/// Who asks for heartbeats, who reads the stream and who watches share it.
#[derive(Debug, Clone)]
pub(crate) struct Silence(watch::Sender<Signs>);

#[derive(Debug, Default)]
struct Signs {
    /// When the first heartbeat was asked for that nothing has come after.
    asked: Option<Instant>,
    /// We don't listen ourselves: the journal takes its time.
    busy: bool,
}

impl Silence {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Signs::default()))
    }

    /// A heartbeat is about to be written. Said before, since the writing itself may never end.
    pub(crate) fn asked(&self) {
        self.0.send_if_modified(|signs| {
            let first = signs.asked.is_none() && !signs.busy;
            if first {
                signs.asked = Some(Instant::now());
            }
            first
        });
    }

    /// Something came.
    pub(crate) fn heard(&self) {
        self.0.send_if_modified(|signs| signs.asked.take().is_some());
    }

    /// Does what keeps us from listening.
    pub(crate) async fn while_busy<T>(&self, work: impl Future<Output = T>) -> T {
        let busy = |busy| {
            self.0.send_modify(|signs| *signs = Signs { asked: None, busy });
        };
        busy(true);
        let done = work.await;
        busy(false);
        done
    }

    /// Waits until there is silence for this long.
    pub(crate) async fn lasts(&self, limit: Duration) {
        let mut signs = self.0.subscribe();
        loop {
            let asked = signs.borrow_and_update().asked;
            let until = async {
                match asked {
                    Some(asked) => tokio::time::sleep_until(asked + limit).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = signs.changed() => if changed.is_err() { return std::future::pending().await },
                () = until => return,
            }
        }
    }
}

/// Waits for the database's answer, but not for ever: over a network that has fallen silent none comes.
pub(crate) async fn within<T, E: Into<CaptureError>>(
    limit: Duration,
    what: &'static str,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, CaptureError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(CaptureError::NoAnswer { what, seconds: limit.as_secs() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);

    async fn is_silent(silence: &Silence) -> bool {
        tokio::time::timeout(LIMIT * 2, silence.lasts(LIMIT)).await.is_ok()
    }

    #[tokio::test]
    async fn silence_is_what_follows_a_question() {
        let silence = Silence::new();
        assert!(!is_silent(&silence).await, "nobody asked");
        silence.asked();
        assert!(is_silent(&silence).await);
        silence.heard();
        assert!(!is_silent(&silence).await);
        silence.asked();
        tokio::time::sleep(LIMIT * 3 / 4).await;
        silence.asked();
        let later = tokio::time::timeout(LIMIT * 3 / 4, silence.lasts(LIMIT)).await;
        assert!(later.is_ok(), "a second question changes nothing: it counts from the first");
    }

    #[tokio::test]
    async fn who_does_not_listen_himself_does_not_call_it_silence() {
        let silence = Silence::new();
        let work = async {
            silence.asked();
            assert!(!is_silent(&silence).await);
        };
        silence.while_busy(work).await;
        assert!(!is_silent(&silence).await);
    }
}
