//! Crash points for the kill tests, around append, commit, send and acknowledge.
//!
//! Compiled in with the feature `failpoints` only. `RELEVO_FAILPOINT=NAME=kill@N` kills the process
//! with SIGKILL when the point is passed for the N-th time.

pub const APPEND_BEFORE: &str = "append.before";
pub const APPEND_AFTER: &str = "append.after";
pub const COMMIT_BEFORE: &str = "commit.before";
pub const COMMIT_AFTER: &str = "commit.after";
pub const SEND_BEFORE: &str = "send.before";
pub const SEND_AFTER: &str = "send.after";
pub const ACKNOWLEDGE_BEFORE: &str = "acknowledge.before";
pub const ACKNOWLEDGE_AFTER: &str = "acknowledge.after";

/// Passes a point. Does nothing without the feature.
#[inline]
pub fn hit(point: &str) {
    #[cfg(feature = "failpoints")]
    armed::hit(point);
    #[cfg(not(feature = "failpoints"))]
    let _ = point;
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Armed {
        point: String,
        at: u64,
        passed: AtomicU64,
    }

    fn armed() -> Option<&'static Armed> {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        ARMED
            .get_or_init(|| {
                let text = std::env::var("RELEVO_FAILPOINT").ok()?;
                let parsed = text.split_once("=kill@").and_then(|(point, at)| Some((point, at.parse().ok()?)));
                let Some((point, at)) = parsed else {
                    // A kill test that doesn't kill proves nothing: stop at once.
                    eprintln!("RELEVO_FAILPOINT={text}: allowed is NAME=kill@N");
                    std::process::exit(2);
                };
                Some(Armed { point: point.into(), at, passed: AtomicU64::new(0) })
            })
            .as_ref()
    }

    pub(super) fn hit(point: &str) {
        let Some(armed) = armed() else { return };
        if armed.point == point && armed.passed.fetch_add(1, Ordering::Relaxed) + 1 == armed.at {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}
