//! Which event types one session wants of its channels. The session narrows, the fan-out asks.

use std::collections::BTreeSet;

use crate::message::Message;

/// A change to a session's filter.
#[derive(Clone, Debug)]
pub enum Narrowing {
    /// From the first of these on, these alone.
    Want(Vec<Box<str>>),
    /// These no longer.
    Refuse(Vec<Box<str>>),
}

/// The names would be more than [`TooManyNames::MAX`].
#[derive(Debug, PartialEq, Eq)]
pub struct TooManyNames;

impl TooManyNames {
    /// The most names that one session's filter may hold.
    pub const MAX: usize = 128;
}

/// At first everything passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// None: all but `refused`.
    wanted: Option<BTreeSet<Box<str>>>,
    refused: BTreeSet<Box<str>>,
}

impl Filter {
    /// # Errors
    /// If there would be too many names; then nothing has changed.
    pub(crate) fn narrow(&mut self, change: Narrowing) -> Result<(), TooManyNames> {
        let mut next = self.clone();
        match change {
            Narrowing::Want(names) if names.is_empty() => {}
            Narrowing::Want(names) => {
                next.refused.retain(|name| !names.contains(name));
                next.wanted.get_or_insert_default().extend(names);
            }
            Narrowing::Refuse(names) => match &mut next.wanted {
                Some(wanted) => wanted.retain(|name| !names.contains(name)),
                None => next.refused.extend(names),
            },
        }
        if next.wanted.as_ref().map_or(0, BTreeSet::len) + next.refused.len() > TooManyNames::MAX {
            return Err(TooManyNames);
        }
        *self = next;
        Ok(())
    }

    /// Whether a message passes. What goes to one user or role always does: it was sent to them, not
    /// subscribed to.
    pub(crate) fn passes(&self, message: &Message) -> bool {
        let wanted = self.wanted.as_ref().is_none_or(|wanted| wanted.contains(&*message.event_type));
        (wanted && !self.refused.contains(&*message.event_type)) || message.channel.own().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::test::message;
    use crate::message::ChannelKind;

    fn passes(filter: &Filter, event_type: &str) -> bool {
        passes_on(filter, "tasks", event_type)
    }

    fn passes_on(filter: &Filter, channel: &str, event_type: &str) -> bool {
        filter.passes(&Message { event_type: event_type.into(), ..message(channel, ChannelKind::Stream, 1) })
    }

    fn narrow(filter: &mut Filter, change: fn(Vec<Box<str>>) -> Narrowing, names: &[&str]) {
        filter.narrow(change(names.iter().map(|name| (*name).into()).collect())).unwrap();
    }

    #[test]
    fn everything_passes_until_something_is_wanted() {
        let mut filter = Filter::default();
        narrow(&mut filter, Narrowing::Want, &[]);
        assert!(passes(&filter, "a"));
        narrow(&mut filter, Narrowing::Want, &["a"]);
        narrow(&mut filter, Narrowing::Want, &["b"]);
        assert!(passes(&filter, "a") && passes(&filter, "b") && !passes(&filter, "c"));
        narrow(&mut filter, Narrowing::Refuse, &["a", "c"]);
        assert!(!passes(&filter, "a") && passes(&filter, "b"));
        narrow(&mut filter, Narrowing::Refuse, &["b"]);
        assert!(!passes(&filter, "b") && !passes(&filter, "c"), "who gave up all that it wanted wants nothing");
    }

    #[test]
    fn one_can_refuse_without_having_wanted() {
        let mut filter = Filter::default();
        narrow(&mut filter, Narrowing::Refuse, &["a", "b"]);
        assert!(!passes(&filter, "a") && passes(&filter, "c"));
        narrow(&mut filter, Narrowing::Want, &["a"]);
        assert!(passes(&filter, "a") && !passes(&filter, "b") && !passes(&filter, "c"));
    }

    #[test]
    fn what_is_for_one_user_or_role_always_passes() {
        let mut filter = Filter::default();
        narrow(&mut filter, Narrowing::Want, &["a"]);
        assert!(passes_on(&filter, "user:7", "b") && passes_on(&filter, "role:ADMIN", "b"));
        assert!(!passes_on(&filter, "users", "b"));
    }

    #[test]
    fn names_are_bounded() {
        let names = |from: usize, to: usize| (from..to).map(|n| n.to_string().into()).collect();
        let mut filter = Filter::default();
        filter.narrow(Narrowing::Refuse(names(0, 100))).unwrap();
        filter.narrow(Narrowing::Want(names(100, 128))).unwrap();
        let before = filter.clone();
        assert_eq!(filter.narrow(Narrowing::Want(names(128, 129))), Err(TooManyNames));
        assert_eq!(filter, before);
        filter.narrow(Narrowing::Want(names(100, 110))).expect("no new name");
    }
}
