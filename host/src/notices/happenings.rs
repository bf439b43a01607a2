//! What happened, as the journal's control records tell: nothing of it is missed, whenever the server stopped.
//! Many of one kind and one thing are one notice.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::notice::{About, Code, Notice};
use super::told::Told;
use crate::event::Number;
use crate::journal::{Control, Journal, JournalError, SwapReason};

/// Control records at a time: a dead letter may be as large as a record.
const READ: usize = 16;

pub(super) struct Happenings {
    again_after: Duration,
    /// What was told before, by kind and thing: everything up to a number.
    before: Told,
    /// Everything up to here was read.
    read: Number,
    waiting: HashMap<(Code, About), Waiting>,
    told: HashMap<(Code, About), Instant>,
}

/// How many reasons one notice gives.
const REASONS: usize = 4;

/// What is still to tell of a kind and a thing.
struct Waiting {
    first: Number,
    last: Number,
    count: u64,
    /// Of the last ones, each once; no more than [`REASONS`].
    reasons: VecDeque<String>,
    /// Earlier ones, that found no place.
    unsaid: usize,
}

impl Waiting {
    fn content(&self, code: Code) -> String {
        let mut sentences: Vec<String> = self.reasons.iter().cloned().collect();
        if self.unsaid > 0 {
            let more = format!("{} earlier: relevo journal export --kind control has them.", self.unsaid);
            sentences.insert(0, more);
        }
        if code == Code::SourceGap {
            sentences.push("The pipelines that keep rows of it make their states anew.".into());
        }
        sentences.join(" ")
    }
}

/// What a control record tells operators.
struct Happening {
    code: Code,
    about: About,
    reason: String,
}

/// The one place where control records become notices: a new kind that operators should hear of gets an arm
/// here, a code in `notice.rs`, a title below, and a row in docs/notices.md.
fn happening(control: Control) -> Option<Happening> {
    match control {
        Control::DeadLetter(letter) => Some(Happening {
            code: Code::DeadLetter,
            // Why is the plugin's own text and may quote the row: notices may be read by more than the operators.
            reason: format!(
                "Event {}, version {}: relevo plugin dead-letters shows why, and has it tried again.",
                letter.number, letter.version
            ),
            about: About { pipeline: Some(letter.pipeline), plugin: Some(letter.plugin), source: None },
        }),
        Control::Gap { source, reason } | Control::TableGap { source, reason, .. } => Some(Happening {
            code: Code::SourceGap,
            about: About { source: Some(source), ..About::default() },
            reason: format!("{reason}."),
        }),
        Control::SchemaChanged { source, table, change } => Some(Happening {
            code: Code::SchemaChanged,
            about: About { source: Some(source), ..About::default() },
            reason: format!("table {table}: {change}."),
        }),
        Control::PipelineGap { pipeline } => Some(Happening {
            code: Code::PipelineGap,
            about: About { pipeline: Some(pipeline), ..About::default() },
            reason: "The journal was full, and this pipeline held it back: it is rebuilt.".into(),
        }),
        Control::PipelineRemoved { pipeline } => Some(Happening {
            code: Code::PipelineRemoved,
            about: About { pipeline: Some(pipeline), ..About::default() },
            reason:
                "No [[pipeline]] of the settings has its name: its cursor and state are gone. If it comes back, it \
                     begins anew."
                    .into(),
        }),
        Control::Swapped { swap, former, .. } => {
            let back = swap.why == SwapReason::Probation;
            let about = About { pipeline: Some(swap.pipeline), plugin: Some(swap.plugin), source: None };
            let reason = if back {
                format!("{former} {}; {} serves again.", swap.by, swap.version)
            } else {
                format!("{} serves, in the place of {former}; {} wanted it.", swap.version, swap.by)
            };
            Some(Happening { code: if back { Code::PluginRolledBack } else { Code::PluginSwapped }, about, reason })
        }
        Control::SwapRefused { swap, reason } => Some(Happening {
            code: Code::PluginRefused,
            about: About { pipeline: Some(swap.pipeline), plugin: Some(swap.plugin), source: None },
            reason: format!("{} does not serve: {reason}. The former version goes on.", swap.version),
        }),
        Control::PauseWanted { pipeline, by } => Some(Happening {
            code: Code::PipelinePaused,
            about: About { pipeline: Some(pipeline), ..About::default() },
            reason: format!("{by} wanted it; relevo plugin resume ends it."),
        }),
        _ => None,
    }
}

fn title(code: Code, about: &About, count: u64) -> String {
    let name = about.pipeline.as_deref().or(about.source.as_deref()).unwrap_or_default();
    let plugin = about.plugin.as_deref().unwrap_or_default();
    match code {
        Code::DeadLetter if count == 1 => format!("Pipeline {name}: an event could not be handled"),
        Code::DeadLetter => format!("Pipeline {name}: {count} events could not be handled"),
        Code::PipelineGap => format!("Pipeline {name} lost events"),
        Code::PipelineRemoved => format!("Pipeline {name} was removed"),
        Code::SchemaChanged if count == 1 => format!("Source {name}: a table has another form"),
        Code::SchemaChanged => format!("Source {name}: tables have another form, {count} times"),
        Code::PluginSwapped => format!("Pipeline {name}: a version of {plugin} took over"),
        Code::PluginRolledBack => format!("Pipeline {name}: a version of {plugin} was rolled back"),
        Code::PluginRefused => format!("Pipeline {name}: a version of {plugin} was refused"),
        Code::PipelinePaused => format!("Pipeline {name} is paused"),
        _ if count == 1 => format!("Source {name} had a gap"),
        _ => format!("Source {name} had {count} gaps"),
    }
}

impl Happenings {
    /// `from`: everything up to here is no longer kept.
    pub(super) fn new(again_after: Duration, before: Told, from: Number) -> Self {
        Self { again_after, before, read: from, waiting: HashMap::new(), told: HashMap::new() }
    }

    /// Takes in what the journal has beyond what was read.
    pub(super) async fn read(&mut self, journal: &Journal) -> Result<(), JournalError> {
        loop {
            let head = journal.head();
            if head <= self.read {
                return Ok(());
            }
            let controls = journal.controls(self.read, READ).await?;
            let all = controls.len() < READ;
            for (number, control) in controls {
                self.read = number;
                self.take(number, control);
            }
            if all {
                self.read = self.read.max(head);
                return Ok(());
            }
        }
    }

    fn take(&mut self, number: Number, control: Control) {
        let Some(Happening { code, about, reason }) = happening(control) else { return };
        if self.before.reached(code, &about, number) {
            return;
        }
        let fresh = Waiting { first: number, last: number, count: 0, reasons: VecDeque::new(), unsaid: 0 };
        let waiting = self.waiting.entry((code, about)).or_insert(fresh);
        waiting.last = number;
        waiting.count += 1;
        waiting.reasons.retain(|earlier| *earlier != reason);
        waiting.reasons.push_back(reason);
        // Of dead letters there may be thousands, each with a reason of its own, and how many there are is told.
        let kept = if code == Code::DeadLetter { 1 } else { REASONS };
        let over = waiting.reasons.len().saturating_sub(kept);
        waiting.reasons.drain(..over);
        waiting.unsaid += if code == Code::DeadLetter { 0 } else { over };
    }

    /// What is to be told now. Say [`Self::told`] of what was.
    pub(super) fn due(&self, at: Instant) -> Vec<Notice> {
        let long_ago =
            |kind| self.told.get(kind).is_none_or(|last| at.saturating_duration_since(*last) >= self.again_after);
        let mut due: Vec<Notice> = self
            .waiting
            .iter()
            .filter(|(kind, _)| long_ago(kind))
            .map(|((code, about), waiting)| {
                let title = title(*code, about, waiting.count);
                let mut notice = Notice::new(*code, about.clone(), title, &waiting.content(*code));
                notice.offset = Some(waiting.last);
                notice.key = format!("{} {}", code.name(), waiting.first);
                notice
            })
            .collect();
        due.sort_by_key(|notice| notice.offset);
        due
    }

    pub(super) fn told(&mut self, notice: &Notice, at: Instant) {
        let kind = (notice.code, notice.about.clone());
        self.waiting.remove(&kind);
        self.told.insert(kind, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Body, Event, Micros, Position};
    use crate::journal::DeadLetter;

    fn gap(source: &str) -> Control {
        gap_of(source, "another file")
    }

    fn gap_of(source: &str, reason: &str) -> Control {
        Control::Gap { source: source.into(), reason: reason.into() }
    }

    #[test]
    fn many_of_a_kind_are_one_notice_and_the_next_comes_later() {
        let minute = Duration::from_secs(60);
        let mut happenings = Happenings::new(minute, Told::default(), Number::ZERO);
        let now = Instant::now();
        for number in [5, 7] {
            happenings.take(Number(number), gap("gad"));
        }
        happenings.take(Number(7), gap_of("gad", "another slot"));
        happenings.take(Number(6), gap("other"));
        happenings.take(Number(8), Control::RebuildWanted { pipeline: "p".into() });
        let due = happenings.due(now);
        assert_eq!(due.iter().map(|n| n.offset).collect::<Vec<_>>(), [Some(Number(6)), Some(Number(7))]);
        assert_eq!(due[1].title, "Source gad had 3 gaps");
        assert_eq!(
            due[1].content,
            "another file. another slot. The pipelines that keep rows of it make their states anew."
        );
        assert_eq!(due[1].key, "source_gap 5", "the first one's number: the same after a restart");
        due.iter().for_each(|notice| happenings.told(notice, now));
        happenings.take(Number(9), gap("gad"));
        assert!(happenings.due(now + minute / 2).is_empty());
        assert_eq!(happenings.due(now + minute).len(), 1);
        for reason in ["a", "b", "c", "d", "e"] {
            happenings.take(Number(10), gap_of("gad", reason));
        }
        let content = happenings.due(now + minute).remove(0).content;
        assert!(content.starts_with("2 earlier: relevo journal export --kind control has them. b. c. "), "{content}");
    }

    #[test]
    fn what_a_plugin_says_of_a_row_is_not_told_to_whoever_reads_notices() {
        let event = Event {
            number: Number(7),
            source: "gad".into(),
            position: Position::default(),
            committed_at: Micros(1),
            transaction: 1,
            last_of_transaction: true,
            late: false,
            body: Body::Tick { up_to: Micros(1) },
        };
        let letter = DeadLetter {
            pipeline: "p".into(),
            plugin: "panel".into(),
            version: "1+ab".into(),
            reason: "can't handle event 0 of the batch: dni 12345678 is odd".into(),
            number: event.number,
            origin: "one".into(),
            event,
            lacking: ["panel".into()].into(),
            delivered: false,
        };
        let mut happenings = Happenings::new(Duration::ZERO, Told::default(), Number::ZERO);
        happenings.take(Number(9), Control::DeadLetter(Box::new(letter)));
        let told = format!("{:?}", happenings.due(Instant::now()));
        assert!(!told.contains("12345678") && told.contains("Event 7") && told.contains("dead-letters"), "{told}");
    }

    #[test]
    fn what_was_told_before_a_restart_is_not_told_again() {
        let about = About { source: Some("gad".into()), ..About::default() };
        let told = Told::of([(Code::SourceGap, about, Some(Number(7)))]);
        let mut happenings = Happenings::new(Duration::ZERO, told, Number::ZERO);
        for number in [5, 7, 9] {
            happenings.take(Number(number), gap("gad"));
        }
        let due = happenings.due(Instant::now());
        assert_eq!((due.len(), due[0].key.as_str()), (1, "source_gap 9"));
    }
}
