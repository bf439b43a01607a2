//! Which channels a client may read and publish to: the configuration's channel rules.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::Identity;
use crate::config::ChannelSettings;
use crate::message::{ChannelKind, ChannelName, Own};

/// Decides. Shared by all sessions; decisions are kept by role and channel.
pub struct Policy {
    rules: Vec<ChannelSettings>,
    operators: Vec<String>,
    decisions: RwLock<Decisions>,
}

#[derive(Default)]
struct Decisions {
    by_role: HashMap<Arc<str>, HashMap<ChannelName, Decision>>,
    count: usize,
}

#[derive(Clone, Copy)]
struct Decision {
    read: bool,
    publish: bool,
}

impl Policy {
    /// Channel names come from clients: past this many decisions all are forgotten and made anew.
    const KEPT: usize = 10_000;

    pub fn new(rules: &[ChannelSettings], operators: &[String]) -> Self {
        Self { rules: rules.to_vec(), operators: operators.to_vec(), decisions: RwLock::default() }
    }

    /// Whether somebody may operate the server; by default nobody.
    pub fn may_operate(&self, who: &Identity) -> bool {
        self.operators.iter().any(|role| **role == *who.role)
    }

    /// Whether a client may subscribe to a channel. `user:` and `role:` channels are for that user
    /// and that role alone, whatever the rules say; no rule, no access.
    pub fn may_read(&self, who: &Identity, channel: &ChannelName) -> bool {
        match channel.own() {
            Some(Own::User(user)) => *user == *who.user,
            Some(Own::Role(role)) => *role == *who.role,
            None => self.decide(&who.role, channel).read,
        }
    }

    /// Whether a client may publish to a channel; by default nobody.
    pub fn may_publish(&self, who: &Identity, channel: &ChannelName) -> bool {
        self.decide(&who.role, channel).publish
    }

    /// How a channel keeps its messages: None if no rule knows it.
    pub fn kind(&self, channel: &ChannelName) -> Option<ChannelKind> {
        self.rule(channel).map(|rule| rule.kind)
    }

    /// The rule of a channel: the first that matches.
    pub fn rule(&self, channel: &ChannelName) -> Option<&ChannelSettings> {
        self.rules.iter().find(|rule| rule.matches(channel))
    }

    fn decide(&self, role: &Arc<str>, channel: &ChannelName) -> Decision {
        let kept = self.decisions.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(decision) = kept.by_role.get(role).and_then(|channels| channels.get(channel)) {
            return *decision;
        }
        drop(kept);
        let decision = self.decided_by_rules(role, channel);
        let mut kept = self.decisions.write().unwrap_or_else(PoisonError::into_inner);
        if kept.count >= Self::KEPT {
            *kept = Decisions::default();
        }
        if kept.by_role.entry(role.clone()).or_default().insert(channel.clone(), decision).is_none() {
            kept.count += 1;
        }
        decision
    }

    fn decided_by_rules(&self, role: &str, channel: &ChannelName) -> Decision {
        let names = |roles: &[String]| roles.iter().any(|r| r == "*" || r == role);
        self.rule(channel).map_or(Decision { read: false, publish: false }, |rule| Decision {
            read: names(&rule.read),
            publish: names(&rule.publish),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::Micros;

    fn rule(pattern: &str, read: &[&str], publish: &[&str]) -> ChannelSettings {
        ChannelSettings {
            pattern: pattern.into(),
            kind: ChannelKind::Stream,
            read: read.iter().map(|r| (*r).into()).collect(),
            publish: publish.iter().map(|r| (*r).into()).collect(),
            every: Duration::ZERO,
            keep_for: None,
            keep_bytes: None,
        }
    }

    fn who(user: &str, role: &str) -> Identity {
        Identity { user: user.into(), role: role.into(), expires: Micros(0) }
    }

    fn channel(name: &str) -> ChannelName {
        ChannelName::new(name).unwrap()
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let policy = Policy::new(&[rule("secret:plans", &["ADMIN"], &[]), rule("secret:*", &["*"], &[])], &[]);
        assert!(policy.may_read(&who("1", "ADMIN"), &channel("secret:plans")));
        assert!(!policy.may_read(&who("1", "LEVEL_1"), &channel("secret:plans")));
        assert!(policy.may_read(&who("1", "LEVEL_1"), &channel("secret:other")));
    }

    #[test]
    fn a_channel_without_a_rule_is_closed() {
        let policy = Policy::new(&[rule("tasks", &["*"], &["*"])], &[]);
        assert!(!policy.may_read(&who("1", "ADMIN"), &channel("efectivos")));
        assert!(!policy.may_publish(&who("1", "ADMIN"), &channel("efectivos")));
        assert_eq!(policy.kind(&channel("efectivos")), None);
    }

    #[test]
    fn user_and_role_channels_are_for_their_own_alone() {
        let policy = Policy::new(&[rule("*", &["*"], &[])], &[]);
        assert!(policy.may_read(&who("42", "ADMIN"), &channel("user:42")));
        assert!(!policy.may_read(&who("43", "ADMIN"), &channel("user:42")));
        assert!(policy.may_read(&who("42", "ADMIN"), &channel("role:ADMIN")));
        assert!(!policy.may_read(&who("42", "LEVEL_1"), &channel("role:ADMIN")));
    }

    #[test]
    fn nobody_publishes_unless_a_rule_says_so() {
        let policy = Policy::new(&[rule("system", &["*"], &["ADMIN"]), rule("tasks", &["*"], &[])], &[]);
        assert!(policy.may_publish(&who("1", "ADMIN"), &channel("system")));
        assert!(!policy.may_publish(&who("1", "LEVEL_3"), &channel("system")));
        assert!(!policy.may_publish(&who("1", "ADMIN"), &channel("tasks")));
    }

    #[test]
    fn decisions_are_kept_but_not_without_bound() {
        let policy = Policy::new(&[rule("room:*", &["ADMIN"], &[])], &[]);
        for n in 0..Policy::KEPT + 10 {
            assert!(policy.may_read(&who("1", "ADMIN"), &channel(&format!("room:{n}"))));
            assert!(!policy.may_read(&who("2", "LEVEL_1"), &channel("room:1")));
        }
        assert!(policy.decisions.read().unwrap().count <= Policy::KEPT);
    }
}
