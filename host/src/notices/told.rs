//! What was told before this start: read from the channel's own history, so there is nothing else to keep.

use std::collections::HashMap;

use serde::Deserialize;

use super::conditions::Subject;
use super::notice::{About, Code, KIND, Level};
use crate::event::Number;
use crate::journal::{Journal, JournalError};
use crate::message::ChannelName;

/// Messages at a time.
const READ: usize = 500;

#[derive(Default)]
pub(super) struct Told {
    conditions: HashMap<Subject, Code>,
    /// Up to which record each kind was told of a thing.
    happenings: HashMap<(Code, About), Number>,
}

/// What of a notice's data counts.
#[derive(Deserialize)]
struct Data {
    code: String,
    #[serde(flatten)]
    about: About,
    offset: Option<Number>,
}

impl Told {
    /// Reads the notices up to `head`.
    pub(super) async fn read(journal: &Journal, channel: &ChannelName, head: Number) -> Result<Self, JournalError> {
        let (mut told, mut after) = (Self::default(), Number::ZERO);
        while after < head {
            let history = journal.history(std::slice::from_ref(channel), after, READ).await?;
            for message in history.messages.iter().filter(|message| &*message.kind == KIND) {
                // Others may have published there what isn't one of these.
                let Ok(data) = serde_json::from_str::<Data>(&message.data) else { continue };
                if let Some(code) = Code::parse(&data.code) {
                    told.add(code, data.about, data.offset);
                }
            }
            if history.through <= after {
                break;
            }
            after = history.through;
        }
        Ok(told)
    }

    #[cfg(test)]
    pub(super) fn of(notices: impl IntoIterator<Item = (Code, About, Option<Number>)>) -> Self {
        let mut told = Self::default();
        for (code, about, offset) in notices {
            told.add(code, about, offset);
        }
        told
    }

    fn add(&mut self, code: Code, about: About, offset: Option<Number>) {
        if let Some(subject) = Subject::of(code, &about) {
            self.conditions.insert(subject, code);
        } else if let Some(offset) = offset {
            let reached = self.happenings.entry((code, about)).or_default();
            *reached = offset.max(*reached);
        }
    }

    /// The things of which the last word was that they are not well.
    pub(super) fn troubles(&self) -> impl Iterator<Item = (Subject, Code)> {
        let bad = self.conditions.iter().filter(|(_, code)| code.level() != Level::Info);
        bad.map(|(subject, code)| (subject.clone(), *code))
    }

    /// Whether a record of this kind was told.
    pub(super) fn reached(&self, code: Code, about: &About, number: Number) -> bool {
        self.happenings.get(&(code, about.clone())).is_some_and(|reached| number <= *reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_about_a_thing_counts() {
        let about = |pipeline: &str| About { pipeline: Some(pipeline.into()), ..About::default() };
        let blamed = About { plugin: Some("x".into()), ..about("a") };
        let told = Told::of([
            (Code::PipelineFailed, blamed, None),
            (Code::PipelineFailed, about("b"), None),
            (Code::PipelineRunning, about("a"), None),
        ]);
        assert_eq!(told.troubles().collect::<Vec<_>>(), [(Subject::Pipeline("b".into()), Code::PipelineFailed)]);
    }
}
