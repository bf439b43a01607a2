//! Waiting for the thing itself, with a deadline.

use std::time::{Duration, Instant};

/// How long a test waits for something that ought to come at once: generous, since a busy machine
/// is no failure; only a broken server waits it out.
pub const SOON: Duration = Duration::from_secs(30);

/// Looks until there is something.
///
/// # Panics
/// If the deadline passes; the message says what was waited for.
pub fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {within:?} in vain: {what}");
        // Between two looks at something that can't wake us (a process, a file, an HTTP answer).
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
