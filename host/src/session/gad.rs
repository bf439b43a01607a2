//! What is other for a client of the original system: its channels come by its role, and its commands
//! narrow what they bring.

use std::sync::Arc;

use bytes::Bytes;

use super::work::{Job, Stop};
use super::{Had, Session, WAITING_COMMANDS};
use crate::channel::{Narrowing, TooManyNames};
use crate::event::{Micros, Number};
use crate::message::ChannelKind;
use crate::wire::gad::command::Command;
use crate::wire::gad::{self, Connections, Metrics, System, Usage};

impl Session {
    pub(super) fn gad_command(self: &Arc<Self>, text: &str) {
        let now = Micros::now();
        let job = match Command::parse(text) {
            Err(why) => return self.say(gad::error(&why, now)),
            // Whatever comes is a sign of life.
            Ok(Command::Pong) => return,
            Ok(Command::Ping { client_time }) => return self.say(gad::pong(client_time.as_deref(), now)),
            Ok(Command::Metrics) => return self.say(gad::metrics(&self.metrics(), now)),
            Ok(Command::Dashboard) => Job::Newest,
            Ok(Command::Subscribe { events }) => {
                let answer = gad::subscribed(events.len(), now);
                Job::Narrow { change: Narrowing::Want(events), answer }
            }
            Ok(Command::Unsubscribe { events }) => {
                let answer = gad::unsubscribed(events.len(), now);
                Job::Narrow { change: Narrowing::Refuse(events), answer }
            }
        };
        if !self.enqueue(job) {
            self.say(gad::error(&format!("{WAITING_COMMANDS} commands wait for their answers"), now));
        }
    }

    /// Gives the session its own channels and those of its role, as far as it may read them, live from
    /// `from` on.
    pub(super) async fn start_by_role(&self, from: Number) -> Result<(), Stop> {
        let mut join = self.own_channels();
        let granted = self.context.gad.channels_of(&self.who.role).iter();
        let granted = granted.filter(|c| c.own().is_none() && self.context.policy.may_read(&self.who, c));
        let (states, others): (Vec<_>, Vec<_>) = granted.cloned().partition(|c| self.kind(c) == ChannelKind::State);
        join.extend(others);
        self.state().channels.extend(join.iter().chain(&states).map(|name| (name.clone(), Had::Own)));
        for channel in &states {
            self.all_keys(channel, Vec::new()).await?;
        }
        self.membership.join(join, Vec::new()).await?;
        self.catch_up(from, Vec::new()).await
    }

    pub(super) async fn narrow(&self, change: Narrowing, answer: Bytes) -> Result<(), Stop> {
        if self.membership.narrow(change, answer).await? == Err(TooManyNames) {
            let why = format!("a session's filter holds at most {} event types", TooManyNames::MAX);
            self.say(gad::error(&why, Micros::now()));
        }
        Ok(())
    }

    /// Sends the newest message of the channel that the configuration names for it.
    pub(super) async fn newest(&self) -> Result<(), Stop> {
        let readable = self.context.gad.dashboard.as_ref().filter(|c| self.context.policy.may_read(&self.who, c));
        let newest = match readable {
            None => Err("this role may not read that"),
            Some(channel) => {
                let keys = self.context.journal.state_channel(channel).await?.messages;
                let newest = keys.iter().max_by_key(|message| message.number);
                newest
                    .and_then(|message| self.link.dialect().message(message))
                    .ok_or("there is none yet; ask again later")
            }
        };
        let frame = newest.unwrap_or_else(|why| gad::error(why, Micros::now()));
        self.link.push_paced(frame).await?;
        self.link.flush();
        Ok(())
    }

    fn metrics(&self) -> Metrics {
        let count = self.context.census.count();
        Metrics {
            usage: Usage {
                active_users: count.users,
                total_sessions: count.begun,
                peak_concurrent_users: count.most_users,
            },
            connections: Connections { total: count.sessions, by_role: count.sessions_by_role },
            system: System { uptime_seconds: count.uptime.as_secs() },
        }
    }
}
