//! How long the versions that took over are on probation, by a clock that nobody sets. What is written down for the
//! next start of the server is the wall clock's time: there it counts for no longer than a whole probation.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::meta::{Active, Meta};
use crate::event::{Micros, Name};
use crate::store::VersionId;

/// See the module. It outlives the lives of its pipeline.
pub(super) struct Probations {
    /// How long one lasts.
    length: Duration,
    /// By plugin: the version, and when its probation ends.
    ends: Mutex<BTreeMap<Name, (VersionId, Instant)>>,
}

impl Probations {
    pub(super) fn new(length: Duration) -> Self {
        Self { length, ends: Mutex::default() }
    }

    /// A version takes over now. When its probation ends by the wall clock, for the next start.
    pub(super) fn begin(&self, plugin: &Name, id: &VersionId) -> Micros {
        self.ends().insert(plugin.clone(), (id.clone(), Instant::now() + self.length));
        Micros::now().plus(self.length)
    }

    /// Takes up those of before the start, at the start.
    pub(super) fn take_up(&self, meta: &Meta) {
        for (plugin, active) in &meta.versions {
            self.end(plugin, active);
        }
    }

    /// Whether a fault now rolls the version back that serves.
    pub(super) fn holds(&self, plugin: &Name, active: &Active) -> bool {
        let over = active.former.is_empty() || active.probation_until == Micros::default();
        // Its end first: one of no length has none.
        !over && self.end(plugin, active) > Instant::now()
    }

    fn end(&self, plugin: &Name, active: &Active) -> Instant {
        let mut ends = self.ends();
        match ends.get(plugin) {
            Some((id, end)) if *id == active.id => *end,
            _ => {
                let left = Duration::from_micros(active.probation_until.0.saturating_sub(Micros::now().0));
                let end = Instant::now() + left.min(self.length);
                ends.insert(plugin.clone(), (active.id.clone(), end));
                end
            }
        }
    }

    fn ends(&self) -> std::sync::MutexGuard<'_, BTreeMap<Name, (VersionId, Instant)>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::meta::Former;
    use super::*;
    use crate::event::Number;

    const LENGTH: Duration = Duration::from_secs(60);

    fn serving(until: Micros) -> Active {
        let id = |digit: &str| VersionId::try_from(Box::<str>::from(digit.repeat(64))).unwrap();
        Active {
            id: id("a"),
            version: "2".into(),
            layout: 1,
            asked: Number(1),
            probation_until: until,
            former: vec![Former { id: id("b"), version: "1".into(), layout: 1, checkpoint: Number(1), undone: false }],
        }
    }

    #[test]
    fn a_probation_lasts_as_long_as_it_does_whatever_became_of_the_wall_clock() {
        let (probations, plugin) = (Probations::new(LENGTH), Name::from("p"));
        let mut active = serving(Micros(1));
        active.probation_until = probations.begin(&plugin, &active.id);
        // Put back or on, it is no longer and no shorter.
        for until in [1, u64::MAX] {
            assert!(probations.holds(&plugin, &Active { probation_until: Micros(until), ..active.clone() }));
            assert!(probations.end(&plugin, &active) <= Instant::now() + LENGTH);
        }
        assert!(!Probations::new(Duration::ZERO).holds(&plugin, &active), "none is none");
        assert!(!probations.holds(&plugin, &Active { former: Vec::new(), ..active }), "there is nothing to go back to");
    }

    #[test]
    fn what_is_left_of_it_at_a_start_is_no_more_than_a_whole_one() {
        let plugin = Name::from("p");
        for (ahead, left) in
            [(Duration::from_secs(86_400), LENGTH), (LENGTH / 2, LENGTH / 2), (Duration::ZERO, Duration::ZERO)]
        {
            let (probations, active) = (Probations::new(LENGTH), serving(Micros::now().plus(ahead)));
            probations.take_up(&Meta { versions: [(plugin.clone(), active.clone())].into(), ..Meta::default() });
            assert!(probations.end(&plugin, &active) <= Instant::now() + left, "{ahead:?}");
            assert_eq!(probations.holds(&plugin, &active), !left.is_zero(), "{ahead:?}");
        }
        assert!(!Probations::new(LENGTH).holds(&plugin, &serving(Micros::default())), "it was ended");
    }
}
