//! How often something happened within the last hour, without a clock.
//!
//! Time is the newest moment that any event told, by minutes. What happened is counted in one bucket
//! for each minute of the event's commit time; a window is the minute at hand and the 59 before it.
//! So a number falls at a full minute, 59 to 60 minutes after what it counted; the ticks that come
//! every second make it fall when nothing else happens.

use relevo_plugin::{Error, Micros, state};

/// State: the minute at hand.
const NOW: &str = "minute";

/// The minutes of a window.
const MINUTES: u64 = 60;

/// Something that is counted by minutes, in the state `NAME/MINUTE`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) name: &'static str,
}

/// Moves time on to this moment, never back; tells whether a number fell by that. The first moment of
/// all counts too, so that an empty dashboard shows its zeros.
pub(crate) fn advance(at: Micros, windows: &[Window]) -> Result<bool, Error> {
    let now = state::get(NOW)?;
    if now.is_some_and(|now| at.minutes() <= now) {
        return Ok(false);
    }
    state::set(NOW, &at.minutes())?;
    let mut fell = now.is_none();
    for window in windows {
        fell |= window.forget(at.minutes())?;
    }
    Ok(fell)
}

impl Window {
    /// It happened at this moment. A late event may be too old to count.
    pub(crate) fn add(&self, at: Micros) -> Result<(), Error> {
        let now = state::get(NOW)?.unwrap_or_default();
        if is_within(at.minutes(), now) {
            state::add(&self.key(at.minutes()), 1);
        }
        Ok(())
    }

    /// How often it happened.
    pub(crate) fn sum(&self) -> Result<i64, Error> {
        state::scan::<i64>(&self.prefix()).map(|entry| Ok(entry?.1)).sum()
    }

    /// Drops the buckets that are too old; tells whether there were any.
    fn forget(&self, now: u64) -> Result<bool, Error> {
        let mut any = false;
        for entry in state::scan::<i64>(&self.prefix()) {
            let (key, _) = entry?;
            let minute = key.strip_prefix(&self.prefix()).and_then(|minute| minute.parse().ok());
            if minute.is_some_and(|minute| is_within(minute, now)) {
                // Keys are in the order of time.
                break;
            }
            state::delete(&key);
            any = true;
        }
        Ok(any)
    }

    fn prefix(&self) -> String {
        format!("{}/", self.name)
    }

    /// Ten digits reach 19,000 years on; with all of them the order of keys is that of time.
    fn key(&self, minute: u64) -> String {
        format!("{}/{minute:010}", self.name)
    }
}

fn is_within(minute: u64, now: u64) -> bool {
    minute + MINUTES > now
}
