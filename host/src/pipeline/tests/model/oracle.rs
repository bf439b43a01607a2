//! What must be true of the journal, whatever happened: computed from its records alone, in their order.
//!
//! A plugin *has* an event when the event had its effect there: the plugin's count is the number of the
//! events that it has. An event that became a dead letter has none until it is tried again; a state that is
//! made anew has the same events as the one before, or, if it is made of rows, those rows and what came
//! after them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::stamps::Stamped;
use super::operations::Setting;
use super::server::PIPELINE;
use super::versions::Version;
use crate::event::{Body, Name, Number, Position};
use crate::journal::{
    Append, Committed, Control, DeadLetter, LetterEnd, Record, RecordBody, StateChange, Swap, SwapReason,
};
use crate::message::Message;
use crate::sandbox::OnFault;

/// A change of an account.
struct Seen {
    number: Number,
    key: String,
    incarnation: Name,
    position: Position,
}

/// An open letter, or one that was let go.
struct Letter {
    event: Number,
    /// The plugins that lack the event because of it.
    lacking: BTreeSet<&'static str>,
    /// What the event means was sent before it failed.
    delivered: bool,
}

/// The rows that a state was made of.
#[derive(Clone, PartialEq)]
struct Rows {
    incarnation: Name,
    contains: Position,
}

pub(super) struct Oracle<'a> {
    setting: &'a Setting,
    plugins: &'static [&'static str],
    versions: &'a BTreeMap<String, Version>,
    events: Vec<Seen>,
    /// Rows of snapshots, by what they contain.
    snapshots: Vec<(Rows, Vec<Seen>)>,
    /// The last snapshot is at its end.
    whole: bool,
    /// By plugin: the stamp of the version that serves, according to the commits.
    serving: BTreeMap<&'static str, String>,
    former: BTreeMap<&'static str, Vec<String>>,
    /// By plugin: the events that it has.
    has: BTreeMap<&'static str, BTreeSet<Number>>,
    /// What plugin sent messages of what event.
    sent: BTreeSet<(&'static str, Number)>,
    open: BTreeMap<Number, Letter>,
    dropped: BTreeMap<Number, Letter>,
    /// Letters that were tried again, and not closed yet.
    tried: BTreeSet<Number>,
    rows: Option<Rows>,
    cursor: Option<Number>,
    /// How many letters came with nothing good between them.
    in_a_row: u32,
    swapped: Option<(Swap, Number)>,
    wishes: Vec<(Number, Swap)>,
    skips: BTreeSet<Number>,
    replays: BTreeMap<Number, Vec<Number>>,
    ids: BTreeSet<uuid::Uuid>,
}

impl<'a> Oracle<'a> {
    /// Goes through all records.
    ///
    /// # Panics
    /// Something is not as it must be.
    pub(super) fn of(
        setting: &'a Setting,
        plugins: &'static [&'static str],
        versions: &'a BTreeMap<String, Version>,
        log: &[Arc<Record>],
    ) -> Self {
        let mut oracle = Self {
            setting,
            plugins,
            versions,
            events: Vec::new(),
            snapshots: Vec::new(),
            whole: true,
            serving: BTreeMap::new(),
            former: BTreeMap::new(),
            has: plugins.iter().map(|plugin| (*plugin, BTreeSet::new())).collect(),
            sent: BTreeSet::new(),
            open: BTreeMap::new(),
            dropped: BTreeMap::new(),
            tried: BTreeSet::new(),
            rows: None,
            cursor: None,
            in_a_row: 0,
            swapped: None,
            wishes: Vec::new(),
            skips: BTreeSet::new(),
            replays: BTreeMap::new(),
            ids: BTreeSet::new(),
        };
        for record in log {
            match &record.body {
                RecordBody::Append(append) => oracle.append(append),
                RecordBody::Control(control) => oracle.control(record.first, control),
                RecordBody::Commit(commit) if &*commit.pipeline == PIPELINE => oracle.commit(commit),
                RecordBody::Commit(_) => {}
            }
        }
        oracle
    }

    fn append(&mut self, append: &Append) {
        let seen = append.events.iter().filter_map(|event| match &event.body {
            Body::Change(change) if &*change.table == "accounts" => Some(Seen {
                number: event.number,
                key: change.key.to_string(),
                incarnation: append.incarnation.clone(),
                position: event.position,
            }),
            _ => None,
        });
        let Some(part) = &append.snapshot else { return self.events.extend(seen) };
        let rows = Rows { incarnation: append.incarnation.clone(), contains: part.contains };
        match self.snapshots.last_mut() {
            // Chunks of one snapshot follow each other.
            Some((last, all)) if *last == rows && !self.whole => all.extend(seen),
            _ => self.snapshots.push((rows, seen.collect())),
        }
        self.whole = append.complete;
    }

    fn version(&self, plugin: &str) -> &'a Version {
        let stamp = self.serving.get(plugin).expect("a version serves");
        &self.versions[stamp]
    }

    /// Whether the rows stand for an event.
    fn is_told(&self, event: &Seen) -> bool {
        self.rows.as_ref().is_some_and(|rows| {
            if event.incarnation == rows.incarnation {
                event.position <= rows.contains
            } else {
                // Of an earlier life, unless it came after the rows.
                let first = self.snapshots.iter().filter(|(of, _)| of == rows).flat_map(|(_, all)| all).next();
                first.is_some_and(|first| event.number < first.number)
            }
        })
    }

    fn lacks(&self, plugin: &str, event: Number) -> bool {
        let mut letters = self.open.values().chain(self.dropped.values());
        letters.any(|letter| letter.event == event && letter.lacking.contains(plugin))
    }

    fn control(&mut self, number: Number, control: &Control) {
        match control {
            Control::SwapWanted(swap) => self.wishes.push((number, Swap::clone(swap))),
            Control::Swapped { swap, cursor, .. } => self.swapped = Some((Swap::clone(swap), *cursor)),
            Control::SwapRefused { swap, reason } => self.refused(swap, reason),
            Control::SkipWanted { event, .. } => _ = self.skips.insert(*event),
            Control::ReplayWanted { letter, .. } => self.replays.entry(*letter).or_default().push(number),
            Control::DeadLetter(letter) if &*letter.pipeline == PIPELINE => self.letter(number, letter),
            Control::LetterClosed { letter, end: LetterEnd::Dropped, .. } => {
                if let Some(gone) = self.open.remove(letter) {
                    self.dropped.insert(*letter, gone);
                }
            }
            Control::LetterClosed { letter, end: LetterEnd::Replayed, .. } => {
                assert!(self.tried.remove(letter), "letter {letter} is closed, and was not tried again");
            }
            _ => {}
        }
    }

    fn refused(&self, swap: &Swap, reason: &str) {
        let version = &self.versions[stamp(&swap.version)];
        let said = |text: &str| reason.contains(text);
        let fair = if said("waits for its state") || said("has to be rolled back") {
            self.setting.rows
        } else {
            !version.is_sound() || said("its state can't be made")
        };
        assert!(fair, "{version:?} was refused: {reason}");
    }

    /// An event became a letter.
    fn letter(&mut self, number: Number, letter: &DeadLetter) {
        let blamed = &self.versions[stamp(&letter.version)];
        let row = self.snapshots.iter().flat_map(|(_, rows)| rows).find(|row| row.number == letter.number);
        let event = self.events.iter().find(|event| event.number == letter.number).or(row).expect("an event");
        assert!(blamed.fails_at(&event.key), "{blamed:?} can handle {}", event.key);
        let event = event.number;
        if blamed.on_fault == OnFault::Hold {
            assert!(self.skips.contains(&event), "event {event} was to hold the pipeline");
        }
        // One that is tried again has its letter until that is closed.
        let before = self.open.iter().find(|(former, known)| {
            known.event == event && self.replays.contains_key(former) && known.lacking.contains(blamed.plugin)
        });
        let missing = |plugin: &&'static str| match before {
            Some((_, before)) => before.lacking.contains(plugin),
            None => !self.lacks(plugin, event),
        };
        let mut lacking: BTreeSet<&'static str> = self.plugins.iter().copied().filter(missing).collect();
        if blamed.on_fault == OnFault::Bypass {
            lacking.retain(|plugin| *plugin == blamed.plugin);
        }
        assert!(lacking.contains(blamed.plugin), "a second letter of event {event}");
        let sent = lacking.iter().any(|plugin| self.sent.contains(&(plugin, event)));
        let delivered =
            sent || before.is_some_and(|(_, before)| before.delivered) || (row.is_some() && self.cursor.is_some());
        for plugin in &lacking {
            self.has.get_mut(plugin).expect("a plugin").remove(&event);
        }
        self.in_a_row += 1;
        self.open.insert(number, Letter { event, lacking, delivered });
    }

    fn commit(&mut self, commit: &Committed) {
        let before = self.cursor.replace(commit.cursor);
        assert!(before.is_none_or(|before| before <= commit.cursor), "the cursor went back");
        assert_eq!(before.is_none(), commit.after.is_none(), "a pipeline begins once");
        self.take_over(commit, before.unwrap_or_default());
        let mut messages = commit.messages.iter();
        if commit.reset {
            assert!(commit.messages.is_empty(), "what is made anew is not sent again");
            self.anew(commit);
        } else if let Some(letter) = replayed(commit) {
            self.tried_again(letter, commit, &mut messages);
        } else if let Some(before) = before {
            self.handled(before, commit.cursor, &mut messages);
        }
        assert!(messages.next().is_none(), "more messages than events: {:?}", commit.messages);
        for message in &commit.messages {
            assert!(self.ids.insert(message.id), "an id came twice");
        }
        if !commit.messages.is_empty() {
            self.in_a_row = 0;
            for plugin in self.plugins {
                let version = commit.plugins.iter().find(|of| &*of.plugin == *plugin);
                let version = version.map(|of| stamp(&of.version));
                assert_eq!(version, Some(&*self.serving[plugin]), "the commit says who made it");
            }
        }
        for plugin in self.plugins {
            let key = self.version(plugin).count_key();
            let count = commit.state.iter().find(|change| &*change.owner == *plugin && &*change.key == key);
            if let Some(StateChange { value: Some(value), .. }) = count {
                let count: usize = String::from_utf8_lossy(value).parse().expect("a count");
                assert_eq!(count, self.has[plugin].len(), "the state of {plugin} at {}", commit.cursor);
            } else if commit.reset {
                assert_eq!(self.has[plugin].len(), 0, "the state of {plugin} at {}", commit.cursor);
            }
        }
    }

    /// The versions that serve from a commit on: a control record told of it just before.
    fn take_over(&mut self, commit: &Committed, before: Number) {
        let Some(now) = entry(commit, "versions") else { return };
        let swapped = self.swapped.take();
        for plugin in self.plugins {
            let now = stamp(now[plugin]["version"].as_str().expect("a version")).to_owned();
            let Some(was) = self.serving.insert(plugin, now.clone()) else { continue };
            if was == now {
                continue;
            }
            let (swap, cursor) = swapped.clone().expect("a control record tells of each swap");
            assert_eq!((&*swap.plugin, stamp(&swap.version), cursor), (*plugin, &*now, commit.cursor));
            let former = self.former.entry(plugin).or_default();
            if swap.why == SwapReason::Probation {
                assert!(self.setting.probation && former.last() == Some(&now), "{now} is not what was before {was}");
            } else {
                let wish = self.wishes.iter().rev().find(|(_, wish)| wish.id == swap.id).expect("a wish").0;
                let ahead = cursor < wish;
                let failed = &self.versions[&was];
                let next = self.events.iter().find(|event| event.number > before && !self.is_told(event));
                let holds = next.is_some_and(|_| true) && failed.on_fault == OnFault::Hold;
                let others = self.plugins.len() > 1;
                let stuck = holds || others || self.in_a_row >= self.setting.quarantine_after;
                assert!(!ahead || stuck, "{now} took over at {cursor}, before its place {wish}");
            }
            let former = self.former.entry(plugin).or_default();
            former.retain(|known| *known != now);
            former.push(was);
        }
    }

    /// The events after `before` had their effect, or are letters.
    fn handled<'m>(&mut self, before: Number, cursor: Number, messages: &mut impl Iterator<Item = &'m Arc<Message>>) {
        let events: Vec<(Number, String)> = self
            .events
            .iter()
            .filter(|event| event.number > before && event.number <= cursor && !self.is_told(event))
            .map(|event| (event.number, event.key.clone()))
            .collect();
        for (event, key) in events {
            for plugin in self.plugins {
                if !self.lacks(plugin, event) {
                    self.take(plugin, event);
                    self.message(plugin, event, &key, false, messages.next());
                }
            }
        }
    }

    fn take(&mut self, plugin: &'static str, event: Number) {
        assert!(self.has.get_mut(plugin).expect("a plugin").insert(event), "{plugin} had event {event} before");
    }

    fn message(&mut self, plugin: &'static str, event: Number, key: &str, late: bool, message: Option<&Arc<Message>>) {
        let message = message.unwrap_or_else(|| panic!("{plugin} sent nothing of event {event}"));
        let stamped: Stamped = serde_json::from_str(&message.data).expect("what a stamp sends");
        let count = self.has[plugin].len() as u64;
        let wanted = Stamped { key: key.to_owned(), stamp: self.serving[plugin].clone(), count };
        assert_eq!((stamped, message.late), (wanted, late), "{plugin}, event {event}");
        self.sent.insert((plugin, event));
    }

    /// A letter's event was tried again.
    fn tried_again<'m>(
        &mut self,
        number: Number,
        commit: &Committed,
        messages: &mut impl Iterator<Item = &'m Arc<Message>>,
    ) {
        let wished = self.replays.get(&number).is_some_and(|places| places.contains(&commit.cursor));
        assert!(wished, "nobody wished for letter {number} at {}", commit.cursor);
        self.tried.insert(number);
        let Some(letter) = self.open.remove(&number).or_else(|| self.dropped.remove(&number)) else {
            panic!("letter {number} was tried again twice");
        };
        let key = self
            .events
            .iter()
            .find(|event| event.number == letter.event)
            .map(|event| (event.key.clone(), self.is_told(event)));
        let row = || {
            self.snapshots.iter().find_map(|(rows, all)| {
                let row = all.iter().find(|row| row.number == letter.event)?;
                Some((row.key.clone(), self.rows.as_ref() != Some(rows)))
            })
        };
        let (key, told) = key.or_else(row).expect("an event");
        if told {
            // The rows have it.
            return;
        }
        for plugin in self.plugins {
            // It failed again, and is another letter now.
            if letter.lacking.contains(plugin) && !self.lacks(plugin, letter.event) {
                self.take(plugin, letter.event);
                if !letter.delivered {
                    self.message(plugin, letter.event, &key, true, messages.next());
                }
            }
        }
    }

    /// A state was made anew.
    fn anew(&mut self, commit: &Committed) {
        let contained = commit.state.iter().find(|change| &*change.owner == "@source" && &*change.key == "bank");
        let Some(StateChange { value: Some(value), .. }) = contained else { return };
        let told: serde_json::Value = serde_json::from_slice(value).expect("JSON");
        let position = |name: &str| told["position"][name].as_u64().expect("a position");
        let index = u32::try_from(position("index")).expect("an index");
        let rows = Rows {
            incarnation: told["incarnation"].as_str().expect("an incarnation").into(),
            contains: Position { commit: position("commit"), index },
        };
        self.rows = Some(rows.clone());
        let (_, all) = self.snapshots.iter().rev().find(|(of, _)| *of == rows).expect("the rows");
        let beyond = self.events.iter().filter(|event| event.number <= commit.cursor && !self.is_told(event));
        let numbers: Vec<Number> = all.iter().chain(beyond).map(|event| event.number).collect();
        for plugin in self.plugins {
            let has = numbers.iter().copied().filter(|event| !self.lacks(plugin, *event)).collect();
            self.has.insert(plugin, has);
        }
    }

    /// What else is true when nothing more happens by itself: `cursor` was reached, and these letters are open.
    pub(super) fn assert_settled(&self, cursor: Number, running: bool, letters: &[Number]) {
        let open: Vec<Number> = self.open.keys().copied().collect();
        let written: Vec<Number> =
            letters.iter().copied().filter(|letter| open.binary_search(letter).is_err()).collect();
        assert!(!running || (written.is_empty() && letters.len() == open.len()), "letters {letters:?}, not {open:?}");
        let committed = self.cursor.unwrap_or_default();
        let passed = self.events.iter().filter(|event| event.number > committed && event.number <= cursor);
        for event in passed.filter(|event| !self.is_told(event)) {
            for plugin in self.plugins {
                assert!(self.lacks(plugin, event.number), "event {} was passed over", event.number);
            }
        }
        for plugin in self.plugins.iter().filter(|_| running) {
            let newest = self.wishes.iter().rev().find(|(_, wish)| &*wish.plugin == *plugin);
            if let Some((place, wish)) = newest {
                assert!(*place <= cursor, "wish {place} lies ahead");
                let _ = wish;
            }
        }
    }
}

/// `v3` of `v3+0123abcd`.
fn stamp(version: &str) -> &str {
    version.split('+').next().unwrap_or_default()
}

fn entry(commit: &Committed, key: &str) -> Option<serde_json::Value> {
    let change = commit.state.iter().find(|change| &*change.owner == "@meta" && &*change.key == key)?;
    serde_json::from_slice(change.value.as_deref()?).ok()
}

/// The letter that a commit tells of, if it tells nothing else of the pipeline.
fn replayed(commit: &Committed) -> Option<Number> {
    if entry(commit, "versions").is_some() {
        return None;
    }
    entry(commit, "replayed")?["letter"].as_u64().map(Number)
}
