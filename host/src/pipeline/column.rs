//! Whether a row has a column. It is asked for each update of a table of which a plugin wants only some, so of most rows
//! nothing is parsed.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::de::IgnoredAny;

use crate::event::Change;

/// A column that a manifest names.
pub(super) struct Column {
    pub(super) name: Box<str>,
    /// As it stands in a row's text: its name as JSON, and the colon.
    written: Box<str>,
}

impl Column {
    pub(super) fn new(name: &str) -> Self {
        let mut written = serde_json::Value::from(name).to_string();
        written.push(':');
        Self { name: name.into(), written: written.into() }
    }

    /// Whether the row after has it, or it was too large for it.
    pub(super) fn is_of(&self, change: &Change) -> bool {
        change.missing.iter().any(|missing| *missing.column == *self.name)
            || change.after.as_deref().is_some_and(|row| self.is_in(row))
    }

    fn is_in(&self, row: &str) -> bool {
        let Some(at) = row.find(&*self.written) else { return false };
        // Behind another object it may be a member of that one.
        let is_plain = row.get(1..at).is_some_and(|before| !before.contains('{'));
        is_plain
            || serde_json::from_str::<HashMap<Cow<'_, str>, IgnoredAny>>(row)
                .is_ok_and(|row| row.contains_key(&*self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::Column;

    #[test]
    fn a_column_is_a_member_of_the_row_itself() {
        let row =
            r#"{"id":1,"note":"say \"state\": open","extra":{"state":"x","zone":[{"deep":1}]},"owner":"Ana","a\"b":2}"#;
        for (name, expected) in [
            ("id", true),
            ("owner", true),
            ("a\"b", true),
            ("state", false),
            ("zone", false),
            ("deep", false),
            ("own", false),
            ("Ana", false),
            ("", false),
        ] {
            assert_eq!(Column::new(name).is_in(row), expected, "{name}");
        }
        assert!(!Column::new("id").is_in("{}") && !Column::new("id").is_in(""));
    }
}
