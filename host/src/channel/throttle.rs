//! One state channel's pace: at most one update for each key in a while, the newest wins, and the
//! last one always comes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::message::Message;

pub(crate) struct Throttle {
    every: Duration,
    keys: HashMap<Box<str>, Pace>,
    /// The earliest time at which something held is due.
    due: Option<Instant>,
}

struct Pace {
    /// The next update may go from here on.
    free: Instant,
    held: Option<Arc<Message>>,
}

impl Throttle {
    pub(crate) fn new(every: Duration) -> Self {
        Self { every, keys: HashMap::new(), due: None }
    }

    /// Whether a message may go now; if not, it is held, in place of an older one of its key.
    pub(crate) fn passes(&mut self, message: &Arc<Message>, now: Instant) -> bool {
        let key = message.key.as_deref().unwrap_or_default();
        let Some(pace) = self.keys.get_mut(key) else {
            self.keys.insert(key.into(), Pace { free: now + self.every, held: None });
            return true;
        };
        if pace.held.is_none() && now >= pace.free {
            pace.free = now + self.every;
            return true;
        }
        pace.held = Some(message.clone());
        self.due = Some(self.due.map_or(pace.free, |due| due.min(pace.free)));
        false
    }

    /// When [`Self::release`] has something to do; None: nothing is held.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What was held and may go now, in rising order; forgets keys that are quiet.
    pub(crate) fn release(&mut self, now: Instant) -> Vec<Arc<Message>> {
        let mut released = Vec::new();
        let mut due = None::<Instant>;
        self.keys.retain(|_, pace| {
            if now >= pace.free {
                let Some(held) = pace.held.take() else { return false };
                released.push(held);
                pace.free = now + self.every;
            } else if pace.held.is_some() {
                due = Some(due.map_or(pace.free, |due| due.min(pace.free)));
            }
            true
        });
        self.due = due;
        released.sort_by_key(|m| m.number);
        released
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::test::numbered_state;

    const EVERY: Duration = Duration::from_millis(100);

    #[test]
    fn the_first_goes_at_once_and_the_newest_of_the_rest_when_it_may() {
        let start = Instant::now();
        let mut throttle = Throttle::new(EVERY);
        assert!(throttle.passes(&numbered_state("a", 1), start));
        assert!(!throttle.passes(&numbered_state("a", 2), start));
        assert!(!throttle.passes(&numbered_state("a", 4), start + EVERY / 2));
        assert!(throttle.passes(&numbered_state("b", 5), start + EVERY / 2), "keys don't hold each other up");
        assert_eq!(throttle.due(), Some(start + EVERY));
        assert!(throttle.release(start + EVERY / 2).is_empty());
        let released: Vec<u64> = throttle.release(start + EVERY).iter().map(|m| m.number.0).collect();
        assert_eq!(released, [4]);
        assert_eq!(throttle.due(), None);
        assert!(!throttle.passes(&numbered_state("a", 6), start + EVERY), "the pace counts from what was sent last");
    }

    #[test]
    fn what_is_held_goes_before_what_comes_after_its_time() {
        let start = Instant::now();
        let mut throttle = Throttle::new(EVERY);
        throttle.passes(&numbered_state("a", 1), start);
        throttle.passes(&numbered_state("a", 2), start);
        assert!(!throttle.passes(&numbered_state("a", 3), start + EVERY * 2), "the timer is late; the newest is held");
        assert_eq!(throttle.release(start + EVERY * 2).first().map(|m| m.number.0), Some(3));
    }

    #[test]
    fn quiet_keys_are_forgotten() {
        let start = Instant::now();
        let mut throttle = Throttle::new(EVERY);
        for n in 0..100 {
            throttle.passes(&numbered_state(&n.to_string(), n), start);
        }
        throttle.release(start + EVERY);
        assert!(throttle.keys.is_empty());
    }
}
