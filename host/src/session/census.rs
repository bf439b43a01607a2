//! Who is connected: counted by user and by role when sessions begin and end.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::auth::Identity;

pub struct Census {
    counts: Mutex<Counts>,
    since: Instant,
}

#[derive(Default)]
struct Counts {
    users: HashMap<Arc<str>, usize>,
    roles: HashMap<Arc<str>, usize>,
    sessions: usize,
    begun: u64,
    most_users: usize,
    slow: u64,
}

/// The numbers of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Sessions that are there.
    pub sessions: usize,
    pub sessions_by_role: BTreeMap<String, usize>,
    /// Users of whom there is a session.
    pub users: usize,
    /// The most that there were at once.
    pub most_users: usize,
    /// Sessions that there ever were.
    pub begun: u64,
    /// Sessions that were closed because their clients were too slow.
    pub slow: u64,
    /// How long it has been counting.
    pub uptime: Duration,
}

impl Default for Census {
    fn default() -> Self {
        Self { counts: Mutex::default(), since: Instant::now() }
    }
}

impl Census {
    pub(super) fn begin(&self, who: &Identity) {
        let mut counts = self.counts();
        *counts.users.entry(who.user.clone()).or_default() += 1;
        *counts.roles.entry(who.role.clone()).or_default() += 1;
        counts.sessions += 1;
        counts.begun += 1;
        counts.most_users = counts.most_users.max(counts.users.len());
    }

    pub(super) fn end(&self, who: &Identity, was_slow: bool) {
        let mut counts = self.counts();
        counts.slow += u64::from(was_slow);
        less(&mut counts.users, &who.user);
        less(&mut counts.roles, &who.role);
        counts.sessions = counts.sessions.saturating_sub(1);
    }

    pub fn count(&self) -> Count {
        let counts = self.counts();
        Count {
            sessions: counts.sessions,
            sessions_by_role: counts.roles.iter().map(|(role, count)| (role.to_string(), *count)).collect(),
            users: counts.users.len(),
            most_users: counts.most_users,
            begun: counts.begun,
            slow: counts.slow,
            uptime: self.since.elapsed(),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn less(counts: &mut HashMap<Arc<str>, usize>, name: &Arc<str>) {
    if let Some(count) = counts.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Micros;

    #[test]
    fn users_are_counted_once_and_forgotten_when_their_last_session_ends() {
        let who = |user: &str, role: &str| Identity { user: user.into(), role: role.into(), expires: Micros(0) };
        let census = Census::default();
        for who in [who("1", "ADMIN"), who("1", "ADMIN"), who("2", "LEVEL_1")] {
            census.begin(&who);
        }
        census.end(&who("1", "ADMIN"), true);
        let count = census.count();
        assert_eq!((count.sessions, count.users, count.most_users, count.begun), (2, 2, 2, 3));
        assert_eq!(count.slow, 1);
        assert_eq!(count.sessions_by_role, BTreeMap::from([("ADMIN".into(), 1), ("LEVEL_1".into(), 1)]));
        census.end(&who("1", "ADMIN"), false);
        let count = census.count();
        assert_eq!((count.sessions, count.users, count.most_users, count.begun), (1, 1, 2, 3));
        assert_eq!(count.sessions_by_role, BTreeMap::from([("LEVEL_1".into(), 1)]));
    }
}
