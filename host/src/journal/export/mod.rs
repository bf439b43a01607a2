//! The journal's records as lines of JSON, for a person with jq and for a report of a defect. `relevo journal export`
//! calls this; docs/journal.md documents the fields.

use std::path::Path;

use super::JournalError;
use super::outside::Outside;
use crate::event::Number;
use crate::message::ChannelName;

mod lines;

use lines::Line;

/// What is wanted.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// From this number on.
    pub(crate) from: Option<Number>,
    /// Up to this number; without it: up to what is the newest when it begins.
    pub(crate) to: Option<Number>,
    /// Messages of, and publications to, this channel alone.
    pub(crate) channel: Option<ChannelName>,
    /// Lines of these kinds alone; empty: all.
    pub(crate) kinds: Vec<Kind>,
}

/// The kinds of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// What a source added: up to where it is read, and how many events come with it.
    Append,
    /// A change, a publication or a tick, with its number.
    Event,
    /// What a pipeline made true: the range that it read, which entries of its state changed, how many messages.
    Commit,
    /// What a pipeline sent to a channel.
    Message,
    /// What was noted of a source or a pipeline: a gap, a swap, a dead letter.
    Control,
    /// A record that can't be read.
    Damaged,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Event => "event",
            Self::Commit => "commit",
            Self::Message => "message",
            Self::Control => "control",
            Self::Damaged => "damaged",
        }
    }
}

/// What was exported.
#[derive(Debug, Default)]
pub(crate) struct Exported {
    pub(crate) lines: u64,
    pub(crate) damaged: u64,
    /// Events and controls up to here were gone.
    pub(crate) kept_after: Number,
    /// The newest number when it began.
    pub(crate) head: Number,
    /// The channels that have messages, where nothing was found of the one that was wanted.
    pub(crate) channels: Vec<String>,
}

/// Hands a line for each thing that is wanted to `take`, in rising order, until that returns false. None: there is no
/// journal. It holds a few MiB, and no transaction while `take` runs.
///
/// # Errors
/// As opening it, but for `Locked`; a record that can't be read is a line, and no error.
pub(crate) async fn export(
    folder: &Path,
    wanted: &Wanted,
    mut take: impl FnMut(&str) -> bool,
) -> Result<Option<Exported>, JournalError> {
    let Some(mut journal) = Outside::open(folder).await? else { return Ok(None) };
    let (kept_after, head) = (journal.kept_after().await?, journal.head().await?);
    let mut exported = Exported { kept_after, head, ..Exported::default() };
    let to = wanted.to.unwrap_or(head);
    // The record that holds the number may begin before it.
    let mut next = journal.first_of(wanted.from.unwrap_or_default()).await?;
    'pages: loop {
        let page = journal.page(next).await?;
        let Some(last) = page.last() else { break };
        // A damaged record may say that it ends anywhere.
        next = last.last.max(last.first).saturating_add(1);
        for stored in page.iter().filter(|stored| stored.last >= wanted.from.unwrap_or_default().0) {
            if stored.first > to.0 {
                break 'pages;
            }
            for line in lines::of(stored).into_iter().filter(|line| wanted.takes(line, to)) {
                exported.lines += 1;
                exported.damaged += u64::from(line.kind == Kind::Damaged);
                if !take(&line.finish()) {
                    break 'pages;
                }
            }
        }
    }
    if exported.lines == 0 && wanted.channel.is_some() {
        exported.channels = journal.channels().await?;
    }
    journal.close().await?;
    Ok(Some(exported))
}

impl Wanted {
    fn takes(&self, line: &Line, to: Number) -> bool {
        (self.from.unwrap_or_default()..=to).contains(&line.number)
            && (self.kinds.is_empty() || self.kinds.contains(&line.kind))
            && self.channel.as_ref().is_none_or(|wanted| line.channel.as_deref() == Some(wanted.as_str()))
    }
}
