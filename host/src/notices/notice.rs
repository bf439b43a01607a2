//! One notice: its code, whom it is about, and the words.

use serde::{Deserialize, Serialize};

use crate::event::{Name, Number, Published};
use crate::message::ChannelName;

/// What clients find under a notice's `type`.
pub(super) const KIND: &str = "system_event";

/// The longest reason that is passed on, in bytes: a plugin may say a lot.
const LONGEST_REASON: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Info,
    Warning,
    Error,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// As that of the notices that people publish.
    const fn event_type(self) -> &'static str {
        match self {
            Self::Info => "notification",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident $text:literal $level:ident;)*) => {
        /// What happened: stable names, for programs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(super) enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            pub(super) const ALL: &'static [Self] = &[$(Self::$name,)*];
            pub(super) const fn name(self) -> &'static str { match self { $(Self::$name => $text,)* } }
            pub(super) const fn level(self) -> Level { match self { $(Self::$name => Level::$level,)* } }
        }
    };
}

codes! {
    PipelineFailed "pipeline_failed" Error;
    PipelineRunning "pipeline_running" Info;
    CaptureFailed "capture_failed" Error;
    CaptureIncomplete "capture_incomplete" Warning;
    CaptureComplete "capture_complete" Info;
    CaptureLagging "capture_lagging" Warning;
    CaptureRunning "capture_running" Info;
    CaptureAtRisk "capture_at_risk" Warning;
    CaptureSafe "capture_safe" Info;
    JournalFull "journal_full" Warning;
    JournalRoom "journal_room" Info;
    DeadLetter "dead_letter" Error;
    PipelineGap "pipeline_gap" Error;
    PipelineRemoved "pipeline_removed" Warning;
    SourceGap "source_gap" Warning;
    SchemaChanged "schema_changed" Info;
    PluginSwapped "plugin_swapped" Info;
    PluginRolledBack "plugin_rolled_back" Error;
    PluginRefused "plugin_refused" Error;
    PipelinePaused "pipeline_paused" Info;
}

impl Code {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }
}

/// Whom a notice is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct About {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pipeline: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) plugin: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<Name>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) code: Code,
    pub(super) about: About,
    pub(super) title: String,
    pub(super) content: String,
    /// The last of the journal's records that it is about, where it is about some.
    pub(super) offset: Option<Number>,
    /// Of two with the same key the second is not told.
    pub(super) key: String,
}

/// A notice's `data`; more may come.
#[derive(Serialize)]
struct Data<'a> {
    title: &'a str,
    content: &'a str,
    level: &'static str,
    code: &'static str,
    #[serde(flatten)]
    about: &'a About,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<Number>,
}

impl Notice {
    pub(super) fn new(code: Code, about: About, title: String, content: &str) -> Self {
        let content = content[..content.floor_char_boundary(LONGEST_REASON)].to_owned();
        Self { code, about, title, content, offset: None, key: String::new() }
    }

    pub(super) fn published(&self, channel: &ChannelName, by: &str) -> Published {
        let Self { code, about, title, content, offset, key } = self;
        let level = code.level();
        let data = Data { title, content, level: level.name(), code: code.name(), about, offset: *offset };
        Published {
            channel: channel.as_str().into(),
            kind: KIND.into(),
            event_type: level.event_type().into(),
            // Texts and numbers alone: nothing that can't be written.
            data: serde_json::to_string(&data).unwrap_or_else(|_| "{}".into()).into(),
            by: by.into(),
            idempotency_key: Some(key.as_str().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_has_the_shape_of_those_that_people_publish() {
        let about = About { pipeline: Some("panel".into()), ..About::default() };
        let notice = Notice::new(Code::PipelineFailed, about, "It stands".into(), &"é".repeat(2000));
        let published = notice.published(&ChannelName::new("system:operators").unwrap(), "relevo");
        assert_eq!((&*published.kind, &*published.event_type), ("system_event", "error"));
        let data: serde_json::Value = serde_json::from_str(&published.data).unwrap();
        assert_eq!(
            (&data["level"], &data["code"], &data["pipeline"]),
            (&"error".into(), &"pipeline_failed".into(), &"panel".into())
        );
        assert!(data["content"].as_str().unwrap().len() == LONGEST_REASON && data.get("source").is_none());
    }

    #[test]
    fn the_docs_list_each_code_with_its_level() {
        let docs = include_str!("../../../docs/notices.md");
        for code in Code::ALL {
            let row = format!("| `{}` | {} |", code.name(), code.level().name());
            assert!(docs.contains(&row), "docs/notices.md has no row {row}");
            assert_eq!(Code::parse(code.name()), Some(*code));
        }
    }
}
