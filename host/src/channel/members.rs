//! A shard's sessions and who of them has which channel: delivery, heartbeat, closing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::filter::{Filter, Narrowing, TooManyNames};
use super::link::Link;
use super::membership::MemberId;
use super::sent::Sent;
use super::throttle::Throttle;
use crate::config::{ChannelSettings, SessionSettings};
use crate::event::{Micros, Number};
use crate::message::{ChannelKind, ChannelName, Dialect, Message};
use crate::wire::codes::Close;
use crate::wire::frame;

pub(crate) struct Members {
    slots: Vec<Slot>,
    free: Vec<u32>,
    channels: HashMap<ChannelName, Channel>,
    /// Who has something in the outbox since the last flush.
    touched: Vec<u32>,
    /// When a state that is held back is due; kept here so that the shard's loop needn't look for it.
    due: Option<Instant>,
    rules: Vec<ChannelSettings>,
    sent: Arc<Sent>,
    heartbeat: Duration,
    pong_within: Duration,
}

struct Slot {
    generation: u32,
    member: Option<Member>,
}

struct Member {
    link: Arc<Link>,
    /// The link's, where it costs no look at the link.
    dialect: Dialect,
    /// Of a session that wants only some event types; the others have none.
    filter: Option<Box<Filter>>,
    channels: Vec<ChannelName>,
    /// Stream messages are pushed; otherwise its own task reads them from the journal.
    live: bool,
    /// The number that the client stands at while it is live.
    number: Number,
    touched: bool,
    next_ping: Instant,
    /// The client must have given a sign of life by then.
    deadline: Option<Instant>,
    expires: Micros,
}

#[derive(Default)]
struct Channel {
    subscribers: Vec<Subscriber>,
    /// Of a state channel with `every`.
    throttle: Option<Throttle>,
}

struct Subscriber {
    slot: u32,
    /// The client has the channel's messages up to here (a state channel's first keys).
    since: Number,
}

impl Members {
    pub(crate) fn new(settings: &SessionSettings, rules: &[ChannelSettings], sent: Arc<Sent>) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            channels: HashMap::new(),
            touched: Vec::new(),
            due: None,
            rules: rules.to_vec(),
            sent,
            heartbeat: settings.heartbeat,
            pong_within: settings.pong_within,
        }
    }

    /// Takes a session in: behind, without channels.
    pub(crate) fn enter(&mut self, link: Arc<Link>, expires: Micros, now: Instant) -> MemberId {
        let next_ping = now + self.heartbeat;
        let member = Member {
            dialect: link.dialect(),
            filter: None,
            link,
            channels: Vec::new(),
            live: false,
            number: Number::ZERO,
            touched: false,
            next_ping,
            deadline: None,
            expires,
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, member: None });
            (self.slots.len() - 1) as u32
        });
        let place = &mut self.slots[slot as usize];
        place.generation = place.generation.wrapping_add(1);
        place.member = Some(member);
        MemberId { slot, generation: place.generation }
    }

    /// Lets a session go.
    pub(crate) fn exit(&mut self, who: MemberId) {
        let Some(member) = self.get(who) else { return };
        for channel in std::mem::take(&mut member.channels) {
            self.unlist(who.slot, &channel);
        }
        self.slots[who.slot as usize].member = None;
        self.free.push(who.slot);
    }

    /// Whether a session is here and its connection stands.
    pub(crate) fn has(&mut self, who: MemberId) -> bool {
        self.get(who).is_some_and(|m| m.link.closing().is_none())
    }

    /// The channels that a session has.
    pub(crate) fn channels(&mut self, who: MemberId) -> &[ChannelName] {
        self.get(who).map_or(&[], |member| &member.channels)
    }

    /// How a channel keeps and delivers: what its rule says.
    pub(crate) fn kind(&self, name: &ChannelName) -> ChannelKind {
        self.rules.iter().find(|rule| rule.matches(name)).map_or(ChannelKind::Stream, |rule| rule.kind)
    }

    /// Adds a channel of which the client has everything up to `since`.
    pub(crate) fn join(&mut self, who: MemberId, name: ChannelName, since: Number) {
        let Some(member) = self.get(who) else { return };
        if member.channels.contains(&name) {
            return;
        }
        member.channels.push(name.clone());
        let rules = &self.rules;
        let channel = self.channels.entry(name).or_insert_with_key(|name| {
            let rule = rules.iter().find(|r| r.matches(name));
            let every = rule.filter(|r| r.kind == ChannelKind::State).map_or(Duration::ZERO, |r| r.every);
            Channel { subscribers: Vec::new(), throttle: (!every.is_zero()).then(|| Throttle::new(every)) }
        });
        channel.subscribers.push(Subscriber { slot: who.slot, since });
    }

    /// Takes a channel from a session.
    pub(crate) fn leave(&mut self, who: MemberId, name: &ChannelName) {
        let Some(member) = self.get(who) else { return };
        member.channels.retain(|c| c != name);
        member.link.settle(name);
        self.unlist(who.slot, name);
    }

    fn unlist(&mut self, slot: u32, name: &ChannelName) {
        let Some(channel) = self.channels.get_mut(name) else { return };
        if let Some(at) = channel.subscribers.iter().position(|s| s.slot == slot) {
            channel.subscribers.swap_remove(at);
        }
        if channel.subscribers.is_empty() {
            self.channels.remove(name);
        }
    }

    /// Makes a session live (with everything up to `number`) or behind.
    pub(crate) fn set_live(&mut self, who: MemberId, live: bool, number: Number) {
        if let Some(member) = self.get(who) {
            member.live = live;
            member.number = member.number.max(number);
        }
    }

    /// Pushes a frame for one session.
    pub(crate) fn tell(&mut self, who: MemberId, frame: Bytes) {
        let Self { slots, touched, .. } = self;
        let slot = &mut slots[who.slot as usize];
        if let Some(member) = slot.member.as_mut().filter(|_| slot.generation == who.generation) {
            member.link.push(frame);
            touch(member, who.slot, touched);
        }
    }

    /// Pushes a `gap` for one session, if its dialect knows gaps.
    pub(crate) fn tell_gap(&mut self, who: MemberId, gap: impl FnOnce() -> Bytes) {
        if self.get(who).is_some_and(|member| member.dialect.resumes()) {
            self.tell(who, gap());
        }
    }

    /// Changes which event types a session gets from here on.
    pub(crate) fn narrow(&mut self, who: MemberId, change: Narrowing) -> Result<(), TooManyNames> {
        let Some(member) = self.get(who) else { return Ok(()) };
        member.filter.get_or_insert_default().narrow(change)
    }

    /// Pushes a message for one session that catches up, if the session has its channel.
    pub(crate) fn catch_up(&mut self, who: MemberId, message: &Arc<Message>, only: Option<&ChannelName>) {
        let kind = if only.is_some() { ChannelKind::State } else { ChannelKind::Stream };
        let Some(member) = self.get(who) else { return };
        let wanted = only.map_or_else(|| member.channels.contains(&message.channel), |c| *c == message.channel);
        if wanted
            && message.channel_kind == kind
            && let Some(frame) = member.dialect.message(message)
        {
            self.tell(who, frame);
        }
    }

    /// Hands a message to everybody who has its channel.
    pub(crate) fn deliver(&mut self, message: &Arc<Message>, now: Instant) {
        let Some(channel) = self.channels.get_mut(&message.channel) else { return };
        if message.channel_kind == ChannelKind::State
            && let Some(throttle) = &mut channel.throttle
            && !throttle.passes(message, now)
        {
            self.due = earlier(self.due, throttle.due());
            return;
        }
        self.sent.count(push(channel, &mut self.slots, &mut self.touched, message));
    }

    /// Hands on the states that were held back and are due.
    pub(crate) fn release(&mut self, now: Instant) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = None;
        for channel in self.channels.values_mut() {
            let Some(throttle) = &mut channel.throttle else { continue };
            let released = throttle.release(now);
            self.due = earlier(self.due, throttle.due());
            for message in released {
                self.sent.count(push(channel, &mut self.slots, &mut self.touched, &message));
            }
        }
    }

    /// When [`Self::release`] has something to do.
    pub(crate) fn release_at(&self) -> Option<Instant> {
        self.due
    }

    /// Tells every live session something that moves its number.
    pub(crate) fn announce(&mut self, frame: &Bytes, number: Number) {
        for (slot, place) in self.slots.iter_mut().enumerate() {
            if let Some(member) = place.member.as_mut().filter(|m| m.live) {
                member.number = number;
                if member.dialect.resumes() {
                    member.link.push(frame.clone());
                    touch(member, slot as u32, &mut self.touched);
                }
            }
        }
    }

    /// Pings who is due, with a mark for who fell behind in silence, and closes who is silent or
    /// whose token has expired.
    pub(crate) fn sweep(&mut self, now: Instant, position: Number, mark: &Bytes) {
        let time = Micros::now();
        // Encoded once for all that are due now.
        let mut heartbeats = HashMap::new();
        for (slot, place) in self.slots.iter_mut().enumerate() {
            let Some(member) = place.member.as_mut() else { continue };
            if member.link.was_heard() {
                member.deadline = None;
            }
            if member.expires <= time {
                member.link.close(Close::TokenExpired);
            } else if member.deadline.is_some_and(|deadline| now >= deadline) {
                member.link.close(Close::Silent);
            } else if now >= member.next_ping {
                member.next_ping = now + self.heartbeat;
                member.deadline.get_or_insert(now + self.pong_within);
                if member.live && member.number < position && member.dialect.resumes() {
                    member.link.push(mark.clone());
                    member.number = position;
                }
                member.link.push(frame::ping());
                let beat = heartbeats.entry(member.dialect).or_insert_with_key(|dialect| dialect.heartbeat(time));
                if let Some(beat) = beat {
                    member.link.push(beat.clone());
                }
                touch(member, slot as u32, &mut self.touched);
            }
        }
    }

    pub(crate) fn close_all(&self, why: Close) {
        for member in self.slots.iter().filter_map(|s| s.member.as_ref()) {
            member.link.close(why);
        }
    }

    /// Writes to every socket that something was pushed for.
    pub(crate) fn flush(&mut self) {
        for slot in self.touched.drain(..) {
            if let Some(member) = self.slots[slot as usize].member.as_mut() {
                member.touched = false;
                member.link.flush();
            }
        }
    }

    fn get(&mut self, who: MemberId) -> Option<&mut Member> {
        let slot = self.slots.get_mut(who.slot as usize)?;
        slot.member.as_mut().filter(|_| slot.generation == who.generation)
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn touch(member: &mut Member, slot: u32, touched: &mut Vec<u32>) {
    if !member.touched {
        member.touched = true;
        touched.push(slot);
    }
}

/// Pushes a message to all who have its channel; to how many.
fn push(channel: &Channel, slots: &mut [Slot], touched: &mut Vec<u32>, message: &Arc<Message>) -> u64 {
    let mut pushed = 0;
    for subscriber in &channel.subscribers {
        let Some(member) = slots[subscriber.slot as usize].member.as_mut() else { continue };
        if message.number <= subscriber.since {
            continue;
        }
        if member.filter.as_ref().is_some_and(|filter| !filter.passes(message)) {
            continue;
        }
        let Some(frame) = member.dialect.message(message) else { continue };
        match message.channel_kind {
            // Its task reads it from the journal.
            ChannelKind::Stream if !member.live => continue,
            ChannelKind::Stream => {
                member.link.push(frame);
                member.number = message.number;
            }
            ChannelKind::State => member.link.push_state(frame, message),
            ChannelKind::Ephemeral => member.link.push_if_room(frame),
        }
        pushed += 1;
        touch(member, subscriber.slot, touched);
    }
    pushed
}
