//! What was found: one line for each check, for people and for programs.

use std::fmt;

use serde::Serialize;

use super::lane::advice;
use super::repeat::short;
use crate::sandbox::Fault;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Ok,
    /// Nothing is wrong, and somebody should know.
    Note,
    Failed,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    pub name: String,
    pub outcome: Outcome,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The fault that it failed with: the same one is shown once, whichever checks meet it.
    #[serde(skip)]
    cause: Option<String>,
}

impl Check {
    pub(super) fn ok(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Ok, found: found.into(), advice: None, cause: None }
    }

    pub(crate) fn note(name: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { outcome: Outcome::Note, ..Self::failed(name, found, advice) }
    }

    pub(super) fn failed(name: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            outcome: Outcome::Failed,
            found: found.into(),
            advice: Some(advice.into()),
            cause: None,
        }
    }

    /// The plugin stopped with a fault. `place` says at what; it may be empty.
    pub(super) fn fault(name: &str, place: &str, fault: &Fault) -> Self {
        let cause = short(&fault.to_string());
        let found = if place.is_empty() { cause.clone() } else { format!("{place}: {cause}") };
        Self { cause: Some(cause), ..Self::failed(name, found, advice(fault)) }
    }
}

/// All checks of a plugin.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub plugin: String,
    pub passed: bool,
    /// With it the same events are generated again.
    pub seed: u64,
    pub checks: Vec<Check>,
}

impl Report {
    pub(super) fn new(plugin: &str, seed: u64) -> Self {
        Self { plugin: plugin.into(), passed: true, seed, checks: vec![] }
    }

    pub(crate) fn add(&mut self, check: Check) {
        self.passed &= check.outcome != Outcome::Failed;
        self.checks.push(check);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
        for (at, check) in self.checks.iter().enumerate() {
            let same = |other: &&Check| check.cause.is_some() && other.cause == check.cause;
            if self.checks[..at].iter().any(|other| same(&other)) {
                continue;
            }
            let outcome = match check.outcome {
                Outcome::Ok => "ok    ",
                Outcome::Note => "note  ",
                Outcome::Failed => "FAILED",
            };
            writeln!(f, "{outcome}  {:width$}  {}", check.name, check.found)?;
            if let Some(advice) = &check.advice {
                writeln!(f, "        {:width$}  → {advice}", "")?;
            }
            let more: Vec<&str> = self.checks[at + 1..].iter().filter(same).map(|other| &*other.name).collect();
            if !more.is_empty() {
                let checks = count(more.len(), "more check", "more checks");
                writeln!(f, "        {:width$}  the same in {checks}: {}", "", more.join(", "))?;
            }
        }
        let failed = self.checks.iter().filter(|check| check.outcome == Outcome::Failed).count();
        match failed {
            0 => write!(f, "{} passed {} checks (seed {})", self.plugin, self.checks.len(), self.seed),
            _ => {
                let of = self.checks.len();
                write!(
                    f,
                    "{} failed {failed} of {of} checks; --seed {} makes the same events again",
                    self.plugin, self.seed
                )
            }
        }
    }
}

/// A size for people, like `1.5 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// `1 event`, `2 events`.
pub(super) fn count(n: usize, one: &str, more: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {more}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ChannelName;

    #[test]
    fn each_check_is_a_line_and_what_to_do_stands_below_it() {
        let mut report = Report::new("orders", 7);
        report.add(Check::ok("runs", "3 events"));
        report.add(Check::note("samples", "there are none", "write some"));
        let passed = "ok      runs     3 events\nnote    samples  there are none\n                 → write some\n";
        assert_eq!(report.to_string(), format!("{passed}orders passed 2 checks (seed 7)"));
        report.add(Check::failed("odd", "no key", "look"));
        let failed = "FAILED  odd      no key\n                 → look\n";
        let last = "orders failed 1 of 3 checks; --seed 7 makes the same events again";
        assert_eq!(report.to_string(), format!("{passed}{failed}{last}"));
    }

    #[test]
    fn one_cause_is_told_once_and_names_the_checks_that_met_it() {
        let stray = Fault::Undeclared(ChannelName::new("sales").unwrap());
        let mut report = Report::new("orders", 7);
        report.add(Check::fault("runs", "stopped at the batch of event 1", &stray));
        report.add(Check::fault("odd keys", "insert of orders", &stray));
        report.add(Check::fault("huge rows", "", &Fault::Trap("boom".into())));
        report.add(Check::fault("odd texts", "update of orders", &stray));
        let shown = report.to_string();
        assert_eq!(shown.matches("does not name under channels").count(), 1, "{shown}");
        assert!(shown.contains("the same in 2 more checks: odd keys, odd texts"), "{shown}");
        assert!(shown.contains("add the channel to `channels` in the manifest"), "{shown}");
        assert!(shown.contains("huge rows") && shown.contains("4 of 4 checks"), "{shown}");
        assert_eq!(serde_json::to_value(&report).unwrap()["checks"].as_array().unwrap().len(), 4);
    }
}
