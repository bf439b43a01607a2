//! A shard: one thread that follows the journal and serves its sessions. Everything it does happens
//! between two records, so "from here on" and "up to here" are exact.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::gaps::{Gaps, lost};
use super::members::Members;
use super::membership::{Attached, Mailbox, MemberId, Request, Subscribed};
use super::sent::Sent;
use crate::config::{ChannelSettings, SessionSettings};
use crate::event::Number;
use crate::journal::{Journal, JournalError, Record, RecordBody};
use crate::message::ChannelName;
use crate::wire::codes::Close;
use crate::wire::native::{self, Answer, GapReason};

/// How much is read, and pushed, before it is written: a burst doesn't fill the outbox of a client
/// that keeps up.
const ROUND: usize = 128 << 10;
/// How far behind a session may be for the shard to bring it up between two records. A shard's other
/// sessions wait meanwhile, so the rest is the session's own work.
const ATTACH: usize = 64 << 10;
/// After the journal failed to read.
const RETRY: Duration = Duration::from_millis(200);

struct Shard {
    journal: Journal,
    head: watch::Receiver<Number>,
    requests: mpsc::UnboundedReceiver<Request>,
    members: Members,
    gaps: Gaps,
    /// Everything up to here was handed to the live sessions.
    position: Number,
    sweep_every: Duration,
    next_sweep: Instant,
    stopping: bool,
}

/// Starts a shard's thread.
pub(crate) fn start(
    index: usize,
    journal: Journal,
    settings: &SessionSettings,
    rules: &[ChannelSettings],
    gaps: Gaps,
    sent: Arc<Sent>,
) -> Result<Mailbox, JournalError> {
    let (sender, requests) = mpsc::unbounded_channel();
    let mailbox = Mailbox::new(sender, gaps.clone());
    let members = Members::new(settings, rules, sent);
    let sweep_every =
        (settings.heartbeat.min(settings.pong_within) / 4).clamp(Duration::from_millis(10), Duration::from_secs(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let head = journal.watch_head();
    let position = journal.head();
    gaps.passed(position);
    std::thread::Builder::new().name(format!("fan-out-{index}")).spawn(move || {
        runtime.block_on(async move {
            let next_sweep = Instant::now() + sweep_every;
            Shard { journal, head, requests, members, gaps, position, sweep_every, next_sweep, stopping: false }
                .run()
                .await;
        });
    })?;
    Ok(mailbox)
}

impl Shard {
    async fn run(mut self) {
        loop {
            let timer = self.members.release_at().map_or(self.next_sweep, |at| at.min(self.next_sweep));
            tokio::select! {
                biased;
                request = self.requests.recv() => match request {
                    None | Some(Request::End) => return,
                    Some(request) => self.serve(request),
                },
                () = tokio::time::sleep_until(timer) => self.on_time(),
                open = moved(&mut self.head, self.position) => {
                    if !open {
                        return;
                    }
                    self.follow().await;
                }
            }
            self.members.flush();
        }
    }

    /// Hands on what was committed since: one round of it, so that requests don't wait for long.
    async fn follow(&mut self) {
        let head = self.journal.head();
        let records = match self.journal.read_memory(self.position, ROUND) {
            Some(records) => records,
            // Further back than memory reaches: this thread was held up for long.
            None => match self.journal.read(self.position, ROUND).await {
                Ok(records) => records,
                Err(JournalError::Pruned { oldest, .. }) => return self.skip_to(oldest),
                Err(error) => {
                    tracing::error!(%error, "the fan-out can't read the journal; it tries again");
                    tokio::time::sleep(RETRY).await;
                    return;
                }
            },
        };
        let now = Instant::now();
        for record in &records {
            self.hand_on(record, now);
        }
        if records.is_empty() {
            // The head may move over numbers that nothing has.
            self.position = self.position.max(head);
        }
        self.gaps.passed(self.position);
    }

    fn hand_on(&mut self, record: &Record, now: Instant) {
        match &record.body {
            RecordBody::Commit(commit) => {
                for message in commit.messages.iter().filter(|m| m.number > self.position) {
                    self.members.deliver(message, now);
                }
            }
            RecordBody::Control(control) => {
                if let Some(what) = lost(control) {
                    self.gaps.add(record.first, &what);
                    let frame = native::gap(None, &GapReason::Source(what), &self.journal.epoch(), record.first);
                    self.members.announce(&frame, record.first);
                }
            }
            RecordBody::Append(_) => {}
        }
        self.position = self.position.max(record.last);
    }

    /// Retention overtook this thread.
    fn skip_to(&mut self, oldest: Number) {
        self.position = self.position.max(oldest);
        let frame = native::gap(None, &GapReason::Pruned, &self.journal.epoch(), self.position);
        self.members.announce(&frame, self.position);
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        self.members.release(now);
        if now >= self.next_sweep {
            self.next_sweep = now + self.sweep_every;
            let mark = Answer::Position { epoch: &self.journal.epoch(), offset: self.position }.frame();
            self.members.sweep(now, self.position, &mark);
        }
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Enter { link, expires, reply } => {
                if self.stopping {
                    return link.close(Close::Shutdown);
                }
                let who = self.members.enter(link, expires, Instant::now());
                if reply.send((who, self.position)).is_err() {
                    self.members.exit(who);
                }
            }
            Request::Join { who, channels, answers, reply } => {
                for channel in channels {
                    self.members.join(who, channel, Number::ZERO);
                }
                self.answer(who, answers);
                let _ = reply.send(());
            }
            Request::Attach { who, after, answers, reply } => {
                if self.members.has(who) {
                    let attached = self.attach(who, after, None);
                    if attached == Attached::Live {
                        self.members.set_live(who, true, self.position);
                        self.answer(who, answers);
                    }
                    let _ = reply.send(attached);
                }
            }
            Request::AttachState { who, channel, after, answers, reply } => {
                if self.members.has(who) {
                    let attached = self.attach(who, after, Some(&channel));
                    if attached == Attached::Live {
                        self.members.join(who, channel, after.max(self.position));
                        self.answer(who, answers);
                    }
                    let _ = reply.send(attached);
                }
            }
            Request::Hold { who, reply } => {
                if self.members.has(who) {
                    self.members.set_live(who, false, self.position);
                    let _ = reply.send(self.position);
                }
            }
            Request::Leave { who, channel, id, reply } => {
                self.members.leave(who, &channel);
                self.members.tell(who, Answer::Unsubscribed { id, channel: &channel }.frame());
                let _ = reply.send(());
            }
            Request::Narrow { who, change, answer, reply } => {
                let narrowed = self.members.narrow(who, change);
                if narrowed.is_ok() {
                    self.members.tell(who, answer);
                }
                let _ = reply.send(narrowed);
            }
            Request::Exit { who } => self.members.exit(who),
            Request::CloseAll => {
                self.stopping = true;
                self.members.close_all(Close::Shutdown);
            }
            Request::End => {}
        }
    }

    /// Pushes what a session misses between `after` and here, if that is little and in memory.
    fn attach(&mut self, who: MemberId, after: Number, only: Option<&ChannelName>) -> Attached {
        if after >= self.position {
            // A state channel is joined with its own number; streams wait until this thread is there.
            return if after == self.position || only.is_some() { Attached::Live } else { Attached::NotYet };
        }
        // What memory was filled with at the start has holes where retention took messages.
        if only.is_none() && self.journal.is_pruned(self.members.channels(who), after) {
            return Attached::NotYet;
        }
        let Some(records) = self.journal.read_memory(after, ATTACH) else { return Attached::NotYet };
        let rest = self.journal.read_memory(records.last().map_or(after, |r| r.last), 1);
        if rest.is_none_or(|rest| rest.iter().any(|r| r.first <= self.position)) {
            return Attached::NotYet;
        }
        for record in records.iter().filter(|r| r.first <= self.position) {
            match &record.body {
                RecordBody::Commit(commit) => {
                    let missed = |number| number > after && number <= self.position;
                    for message in commit.messages.iter().filter(|m| missed(m.number)) {
                        self.members.catch_up(who, message, only);
                    }
                }
                RecordBody::Control(control) if only.is_none() && record.first > after => {
                    if let Some(what) = lost(control) {
                        let gap = GapReason::Source(what);
                        let epoch = self.journal.epoch();
                        self.members.tell_gap(who, || native::gap(None, &gap, &epoch, record.first));
                    }
                }
                RecordBody::Control(_) | RecordBody::Append(_) => {}
            }
        }
        Attached::Live
    }

    fn answer(&mut self, who: MemberId, answers: Vec<Subscribed>) {
        let epoch = self.journal.epoch();
        for Subscribed { id, channel } in answers {
            let kind = self.members.kind(&channel);
            let answer = Answer::Subscribed { id, channel: &channel, kind, epoch: &epoch, offset: self.position };
            self.members.tell(who, answer.frame());
        }
    }
}

/// Waits until the journal's head is beyond a number; false: the journal is closed.
async fn moved(head: &mut watch::Receiver<Number>, beyond: Number) -> bool {
    head.wait_for(|head| *head > beyond).await.is_ok()
}
