//! What is well and what isn't: pipelines, sources, and the room in the journal. Only changes are told, and
//! troubles of one thing at most once every `again_after`, so that what flaps doesn't flood.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Watched;
use super::notice::{About, Code, Notice};
use super::told::Told;
use crate::capture::{SourceHealth, SourceState};
use crate::config::JournalSettings;
use crate::event::Name;
use crate::pipeline::{Health, Status};

/// A thing that is well or not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Pipeline(Name),
    Source(Name),
    /// Whether all that is wanted of a source that runs is captured.
    Tables(Name),
    /// What a source's database keeps for it.
    Slot(Name),
    Journal,
}

impl Subject {
    /// Whom a notice with this code is about, if the code is that of a condition.
    pub(super) fn of(code: Code, about: &About) -> Option<Self> {
        match code {
            Code::PipelineFailed | Code::PipelineRunning => about.pipeline.clone().map(Self::Pipeline),
            Code::CaptureFailed | Code::CaptureLagging | Code::CaptureRunning => about.source.clone().map(Self::Source),
            Code::CaptureIncomplete | Code::CaptureComplete => about.source.clone().map(Self::Tables),
            Code::CaptureAtRisk | Code::CaptureSafe => about.source.clone().map(Self::Slot),
            Code::JournalFull | Code::JournalRoom => Some(Self::Journal),
            Code::DeadLetter
            | Code::PipelineGap
            | Code::PipelineRemoved
            | Code::SourceGap
            | Code::SchemaChanged
            | Code::PluginSwapped
            | Code::PluginRolledBack
            | Code::PluginRefused
            | Code::PipelinePaused => None,
        }
    }
}

/// How a thing is now.
enum Now {
    Well(Code),
    Trouble(Code),
}

/// A change that is to be told.
pub(super) struct Edge {
    pub(super) subject: Subject,
    pub(super) notice: Notice,
}

pub(super) struct Conditions {
    again_after: Duration,
    said: HashMap<Subject, Said>,
    /// Why the journal had no room, until that is told: while there is none a notice may find none either.
    untold: Option<String>,
}

/// What was told of a thing.
#[derive(Default)]
struct Said {
    trouble: Option<Code>,
    /// When, in this life of the server, a trouble was told.
    at: Option<Instant>,
}

impl Conditions {
    pub(super) fn new(again_after: Duration, told: &Told) -> Self {
        let said = told.troubles().map(|(subject, code)| (subject, Said { trouble: Some(code), at: None }));
        Self { again_after, said: said.collect(), untold: None }
    }

    /// What is to be told. Say [`Self::told`] of what was.
    pub(super) fn look(&mut self, at: Instant, watched: &Watched) -> Vec<Edge> {
        let lately = watched.journal.lacked_room();
        let no_room = watched.journal.no_room().or(lately);
        let journal = self.journal(no_room, watched.journal.used(), &watched.journal_settings);
        let pipelines = watched.pipelines.health().into_iter().filter_map(|health| pipeline(&health));
        let lag = watched.settings.capture_lag;
        let sources = (watched.sources)().into_iter().flat_map(|health| {
            let lagged = self.trouble(&Subject::Source(health.name.clone())) == Some(Code::CaptureLagging);
            let told = self.trouble(&Subject::Slot(health.name.clone())).is_some();
            source(&health, lag, lagged).into_iter().chain(tables(&health)).chain(slot(&health, told))
        });
        let all = pipelines.chain(sources).chain(journal);
        all.filter(|(subject, now, _)| self.is_due(subject, now, at))
            .map(|(subject, _, notice)| Edge { subject, notice })
            .collect()
    }

    fn journal(&mut self, no_room: Option<String>, used: u64, settings: &JournalSettings) -> Option<Found> {
        let full = self.trouble(&Subject::Journal).is_some();
        self.untold = no_room.clone().or(self.untold.take()).filter(|_| !full);
        match no_room.as_ref().or(self.untold.as_ref()) {
            Some(why) => Some(self::no_room(why)),
            None => journal(used, settings, full),
        }
    }

    pub(super) fn told(&mut self, subject: Subject, code: Code, at: Instant) {
        let said = self.said.entry(subject).or_default();
        if matches!(
            code,
            Code::PipelineRunning
                | Code::CaptureRunning
                | Code::CaptureComplete
                | Code::CaptureSafe
                | Code::JournalRoom
        ) {
            said.trouble = None;
        } else {
            *said = Said { trouble: Some(code), at: Some(at) };
        }
    }

    fn trouble(&self, subject: &Subject) -> Option<Code> {
        self.said.get(subject).and_then(|said| said.trouble)
    }

    fn is_due(&self, subject: &Subject, now: &Now, at: Instant) -> bool {
        let told = self.trouble(subject);
        match now {
            Now::Well(_) => told.is_some(),
            Now::Trouble(code) if told == Some(*code) => false,
            Now::Trouble(_) => {
                let last = self.said.get(subject).and_then(|said| said.at);
                last.is_none_or(|last| at.saturating_duration_since(last) >= self.again_after)
            }
        }
    }
}

type Found = (Subject, Now, Notice);

/// None: it is on its way to one or the other.
fn pipeline(health: &Health) -> Option<Found> {
    let name = &health.pipeline;
    let about = |plugin: Option<&Name>| About { pipeline: Some(name.clone()), plugin: plugin.cloned(), source: None };
    let (now, notice) = match &health.status {
        Status::Running => {
            let (title, code) = (format!("Pipeline {name} runs again"), Code::PipelineRunning);
            let content = "It goes on where it stood; nothing is lost.";
            (Now::Well(code), Notice::new(code, about(None), title, content))
        }
        Status::Failed { plugin, reason } => {
            let (title, code) = (format!("Pipeline {name} stands still"), Code::PipelineFailed);
            let reason = plugin.as_ref().map_or_else(|| reason.clone(), |plugin| format!("plugin {plugin}: {reason}"));
            (Now::Trouble(code), Notice::new(code, about(plugin.as_ref()), title, &reason))
        }
        Status::Starting
        | Status::WaitingForSnapshot
        | Status::Rebuilding
        | Status::Paused { .. }
        | Status::Stopped => return None,
    };
    Some((Subject::Pipeline(name.clone()), now, notice))
}

/// `lagged`: it was told that it lags. It is well again at half of the time that counts as lagging.
fn source(health: &SourceHealth, limit: Duration, lagged: bool) -> Option<Found> {
    let name = &health.name;
    let about = About { source: Some(name.clone()), ..About::default() };
    let lags = health.lag >= if lagged { limit / 2 } else { limit };
    let (now, title, content) = match &health.state {
        SourceState::Failed { reason } => {
            // The first word of a stop may be that a connection broke; why there is no other is known a moment later.
            let content = format!(
                "{reason}\nIt tries again by itself. What stands in its way by then, and what to do: /readyz, or `relevo doctor`."
            );
            (Now::Trouble(Code::CaptureFailed), format!("Source {name} can't be read"), content)
        }
        SourceState::Running | SourceState::Incomplete { .. } if lags => {
            let content = format!(
                "{} changes wait; the oldest one for {} s. Is the machine or its disk too busy?",
                health.behind,
                health.lag.as_secs()
            );
            (Now::Trouble(Code::CaptureLagging), format!("Source {name} is behind"), content)
        }
        SourceState::Running | SourceState::Incomplete { .. } => {
            let content = "Its changes come as they are made.".to_owned();
            (Now::Well(Code::CaptureRunning), format!("Source {name} is read again"), content)
        }
        SourceState::Starting => return None,
    };
    let (Now::Well(code) | Now::Trouble(code)) = now;
    Some((Subject::Source(name.clone()), now, Notice::new(code, about, title, &content)))
}

/// None: it doesn't run, so that another notice is due.
fn tables(health: &SourceHealth) -> Option<Found> {
    let name = &health.name;
    let (now, title, content) = match &health.state {
        SourceState::Incomplete { reason } => {
            let title = format!("Not all of source {name} is captured");
            (Now::Trouble(Code::CaptureIncomplete), title, reason.to_string())
        }
        SourceState::Running => {
            let content = "What was missing is captured from now on.".to_owned();
            (Now::Well(Code::CaptureComplete), format!("All of source {name} is captured"), content)
        }
        SourceState::Starting | SourceState::Failed { .. } => return None,
    };
    let (Now::Well(code) | Now::Trouble(code)) = now;
    let about = About { source: Some(name.clone()), ..About::default() };
    Some((Subject::Tables(name.clone()), now, Notice::new(code, about, title, &content)))
}

/// None: the source has no such thing, or it isn't known.
fn slot(health: &SourceHealth, told: bool) -> Option<Found> {
    let (name, slot) = (&health.name, health.slot.as_ref()?);
    let (now, title, content) = match slot.risk(told) {
        Some(risk) => (Now::Trouble(Code::CaptureAtRisk), format!("Source {name} may lose its place"), risk),
        None => {
            let content = format!("The server keeps {} bytes of WAL for it.", slot.retained_bytes);
            (Now::Well(Code::CaptureSafe), format!("Source {name} is safe again"), content)
        }
    };
    let (Now::Well(code) | Now::Trouble(code)) = now;
    let about = About { source: Some(name.clone()), ..About::default() };
    Some((Subject::Slot(name.clone()), now, Notice::new(code, about, title, &content)))
}

/// It may be written only when there is room again.
fn no_room(why: &str) -> Found {
    let code = Code::JournalFull;
    let notice = Notice::new(code, About::default(), "The journal had no room".into(), why);
    (Subject::Journal, Now::Trouble(code), notice)
}

/// Full at 80 % of the limit, if that is more than what is always kept; room again below 75 %.
fn journal(used: u64, settings: &JournalSettings, full: bool) -> Option<Found> {
    let limit = settings.limit_bytes;
    let level = if full { limit / 4 * 3 } else { limit / 5 * 4 };
    let is_full = used >= level && used > settings.keep_bytes;
    let (now, title, content) = if is_full {
        let content = format!(
            "It holds {used} of {limit} bytes (journal.limit_bytes). A pipeline that stands still holds it back; at the limit that one loses events and must be rebuilt."
        );
        (Now::Trouble(Code::JournalFull), "The journal is filling up", content)
    } else {
        (Now::Well(Code::JournalRoom), "The journal has room again", format!("It holds {used} of {limit} bytes."))
    };
    let (Now::Well(code) | Now::Trouble(code)) = now;
    Some((Subject::Journal, now, Notice::new(code, About::default(), title.into(), &content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn health(lag: u64) -> SourceHealth {
        let lag = Duration::from_secs(lag);
        SourceHealth { state: SourceState::Running, lag, behind: 3, ..SourceHealth::starting(&"gad".into()) }
    }

    fn is_trouble(found: Option<Found>) -> bool {
        matches!(found, Some((_, Now::Trouble(_), _)))
    }

    #[test]
    fn a_trouble_is_told_once_and_its_end_at_once() {
        let mut conditions = Conditions::new(MINUTE, &Told::default());
        let (subject, began) = (Subject::Journal, Instant::now());
        let (bad, good) = (Now::Trouble(Code::JournalFull), Now::Well(Code::JournalRoom));
        assert!(!conditions.is_due(&subject, &good, began), "nothing was told of it");
        assert!(conditions.is_due(&subject, &bad, began));
        conditions.told(subject.clone(), Code::JournalFull, began);
        assert!(!conditions.is_due(&subject, &bad, began + 2 * MINUTE));
        assert!(conditions.is_due(&subject, &good, began));
    }

    #[test]
    fn what_flaps_is_told_once_in_a_while() {
        let mut conditions = Conditions::new(MINUTE, &Told::default());
        let (subject, began) = (Subject::Pipeline("p".into()), Instant::now());
        let bad = Now::Trouble(Code::PipelineFailed);
        conditions.told(subject.clone(), Code::PipelineFailed, began);
        conditions.told(subject.clone(), Code::PipelineRunning, began);
        assert!(!conditions.is_due(&subject, &bad, began + MINUTE / 2));
        assert!(conditions.is_due(&subject, &bad, began + MINUTE));
    }

    #[test]
    fn that_there_was_no_room_is_told_though_there_is_some_again_and_then_its_end() {
        let settings = JournalSettings::default();
        let mut conditions = Conditions::new(MINUTE, &Told::default());
        let mut now = |no_room: Option<&str>, told: Option<Code>| {
            told.into_iter().for_each(|code| conditions.told(Subject::Journal, code, Instant::now()));
            let (_, now, notice) = conditions.journal(no_room.map(str::to_owned), 0, &settings).unwrap();
            (matches!(now, Now::Trouble(_)), notice.content)
        };
        assert_eq!(now(Some("full"), None), (true, "full".into()));
        assert_eq!(now(None, None), (true, "full".into()), "it could not be written before");
        assert!(!now(None, Some(Code::JournalFull)).0, "its end is to be told");
        assert!(now(Some("full again"), Some(Code::JournalRoom)).0);
        assert!(now(Some("full again"), Some(Code::JournalFull)).0, "it still has none");
        assert!(!now(None, None).0, "it was told while there was none");
    }

    #[test]
    fn a_source_lags_from_the_limit_on_and_until_half_of_it() {
        let limit = Duration::from_secs(30);
        assert!(!is_trouble(source(&health(29), limit, false)) && is_trouble(source(&health(30), limit, false)));
        assert!(is_trouble(source(&health(15), limit, true)) && !is_trouble(source(&health(14), limit, true)));
    }

    #[test]
    fn a_source_that_lacks_a_table_runs_and_a_real_stop_is_told_all_the_same() {
        let reason = "table u does not exist";
        let lacks = SourceHealth { state: SourceState::Incomplete { reason: reason.into() }, ..health(0) };
        let stands = SourceHealth { state: SourceState::Failed { reason: "no route".into() }, ..health(0) };
        let mut conditions = Conditions::new(MINUTE, &Told::default());
        let at = Instant::now();
        let mut told = |health: &SourceHealth| -> Vec<Code> {
            let found = source(health, MINUTE, false).into_iter().chain(tables(health));
            let due: Vec<Found> = found.filter(|(subject, now, _)| conditions.is_due(subject, now, at)).collect();
            due.into_iter()
                .map(|(subject, _, notice)| {
                    conditions.told(subject, notice.code, at);
                    notice.code
                })
                .collect()
        };
        assert_eq!(told(&lacks), [Code::CaptureIncomplete]);
        assert_eq!(told(&lacks), []);
        assert_eq!(told(&stands), [Code::CaptureFailed], "at once");
        assert_eq!(told(&lacks), [Code::CaptureRunning], "what it lacks was told");
        assert_eq!(told(&health(0)), [Code::CaptureComplete]);
    }

    #[test]
    fn the_journal_is_full_at_80_percent_but_not_while_it_keeps_what_it_should() {
        let settings = JournalSettings { limit_bytes: 1000, keep_bytes: 500, ..JournalSettings::default() };
        assert!(!is_trouble(journal(799, &settings, false)) && is_trouble(journal(800, &settings, false)));
        assert!(is_trouble(journal(750, &settings, true)) && !is_trouble(journal(749, &settings, true)));
        let settings = JournalSettings { limit_bytes: 1000, keep_bytes: 900, ..JournalSettings::default() };
        assert!(!is_trouble(journal(900, &settings, false)) && is_trouble(journal(901, &settings, false)));
    }
}
