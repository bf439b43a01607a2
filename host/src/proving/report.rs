//! What was found: one line for each check, for people and for programs.

use std::fmt;

use serde::Serialize;

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
}

impl Check {
    pub(super) fn ok(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Ok, found: found.into(), advice: None }
    }

    pub(super) fn note(name: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Note, found: found.into(), advice: Some(advice.into()) }
    }

    pub(super) fn failed(name: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name: name.into(), outcome: Outcome::Failed, found: found.into(), advice: Some(advice.into()) }
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

    pub(super) fn add(&mut self, check: Check) {
        self.passed &= check.outcome != Outcome::Failed;
        self.checks.push(check);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
        for check in &self.checks {
            let outcome = match check.outcome {
                Outcome::Ok => "ok    ",
                Outcome::Note => "note  ",
                Outcome::Failed => "FAILED",
            };
            writeln!(f, "{outcome}  {:width$}  {}", check.name, check.found)?;
            if let Some(advice) = &check.advice {
                writeln!(f, "        {:width$}  → {advice}", "")?;
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
