//! Notices a connection over which nothing comes any more, though nobody closed it: a heartbeat was asked for,
//! and neither it nor anything else has come back for long. And how far behind the stream is: how old the oldest
//! heartbeat is that has not come back itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::super::error::CaptureError;

/// Who asks for heartbeats, who reads the stream and who watches share it.
#[derive(Debug, Clone)]
pub(crate) struct Silence {
    signs: watch::Sender<Signs>,
    /// Heartbeats of which it isn't known that they came back: their LSN, and when they were asked for.
    beats: Arc<Mutex<VecDeque<(u64, Instant)>>>,
}

#[derive(Debug, Default)]
struct Signs {
    /// When the first heartbeat was asked for that nothing has come after.
    asked: Option<Instant>,
    /// We don't listen ourselves: the journal takes its time.
    busy: bool,
}

impl Silence {
    pub(crate) fn new() -> Self {
        Self { signs: watch::Sender::new(Signs::default()), beats: Arc::default() }
    }

    /// A heartbeat is about to be written. Said before, since the writing itself may never end.
    pub(crate) fn asked(&self) {
        self.signs.send_if_modified(|signs| {
            let first = signs.asked.is_none() && !signs.busy;
            if first {
                signs.asked = Some(Instant::now());
            }
            first
        });
    }

    /// Something came.
    pub(crate) fn heard(&self) {
        self.signs.send_if_modified(|signs| signs.asked.take().is_some());
    }

    /// Does what keeps us from listening.
    pub(crate) async fn while_busy<T>(&self, work: impl Future<Output = T>) -> T {
        let busy = |busy| {
            self.signs.send_modify(|signs| *signs = Signs { asked: None, busy });
        };
        busy(true);
        let done = work.await;
        busy(false);
        done
    }

    /// A heartbeat is in the WAL, before this LSN.
    pub(crate) fn beat(&self, lsn: u64, asked: Instant) {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner).push_back((lsn, asked));
    }

    /// How old the oldest heartbeat is that is not among what came before this LSN; nothing, if that is less than
    /// `least`. A server that reads through much WAL that isn't for us sends nothing else that would tell.
    pub(crate) fn behind(&self, reached: u64, least: Duration) -> Duration {
        let mut beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        while beats.front().is_some_and(|(lsn, _)| *lsn <= reached) {
            beats.pop_front();
        }
        let age = beats.front().map_or(Duration::ZERO, |(_, asked)| asked.elapsed());
        if age < least { Duration::ZERO } else { age }
    }

    /// Waits until there is silence for this long.
    pub(crate) async fn lasts(&self, limit: Duration) {
        let mut signs = self.signs.subscribe();
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
    async fn the_oldest_heartbeat_that_has_not_come_back_tells_how_far_behind_the_stream_is() {
        let silence = Silence::new();
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        let whole_seconds = |reached, least| silence.behind(reached, Duration::from_secs(least)).as_secs();
        assert_eq!(whole_seconds(0, 0), 0);
        silence.beat(10, ago(50));
        silence.beat(20, ago(40));
        assert_eq!((whole_seconds(9, 2), whole_seconds(9, 60)), (50, 0));
        assert_eq!(whole_seconds(10, 2), 40);
        assert_eq!(whole_seconds(25, 2), 0);
        // It came back before its writing was answered.
        silence.beat(24, ago(30));
        assert_eq!(whole_seconds(25, 2), 0);
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
