//! `relevo doctor`: looks at a machine and its settings, says what is wrong, and what to do. It changes nothing,
//! neither where the server runs nor where it doesn't.
//!
//! One file a group of checks; each check is a function that gives findings.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{Settings, counted, runtime, say};
use crate::config::BUILT_IN;

mod addresses;
mod folder;
mod journal;
mod machine;
mod plugins;
mod running;
mod settings;
mod sources;

use addresses::Addresses;
use running::Running;

#[derive(Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    settings: Settings,
    /// Print one JSON object: {"ok":…,"findings":[{"check","verdict","found","remedy"}]}.
    #[arg(long)]
    json: bool,
    /// Print the settings of the built-in example, and look at nothing: a relevo.toml to begin with.
    #[arg(long, conflicts_with = "json")]
    example: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// It works, but not as it should, or not for long.
    Warning,
    /// It can't work so.
    Problem,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// What was looked at, like `secret` or `source gad`.
    check: String,
    verdict: Verdict,
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Finding {
    fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check: check.into(), verdict: Verdict::Ok, found: found.into(), remedy: None }
    }

    fn warning(check: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check: check.into(), verdict: Verdict::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn problem(check: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Problem, ..Self::warning(check, found, remedy) }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    /// Nothing is a problem.
    ok: bool,
    findings: &'a [Finding],
}

impl Doctor {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.example {
            say(BUILT_IN.trim_end());
            return Ok(ExitCode::SUCCESS);
        }
        let findings = runtime()?.block_on(self.examine());
        let ok = findings.iter().all(|finding| finding.verdict != Verdict::Problem);
        if self.json {
            say(serde_json::to_string(&Report { ok, findings: &findings })?);
        } else {
            print(&findings);
        }
        Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn examine(&self) -> Vec<Finding> {
        let mut findings = settings::variables(std::env::vars_os().map(|(name, _)| name));
        let file = self.settings.file();
        if file.as_ref().is_none_or(|file| std::fs::File::open(file).is_ok()) {
            findings.push(settings::file(file.as_deref()));
        }
        let config = match self.settings.load() {
            Ok(config) => config,
            Err(error) => {
                findings.push(settings::refused(&error));
                return findings;
            }
        };
        findings.push(settings::good(&config));
        findings.extend(machine::all(&config));
        findings.extend(folder::all(&config));
        let running = Running::look(&config).await;
        findings.extend(running.findings(&config));
        findings.extend(journal::all(&config).await);
        let addresses = Addresses::look(&config).await;
        findings.extend(sources::all(&config, &running, &addresses).await);
        // A server that runs has loaded them, and has said how they are.
        if running == Running::No {
            findings.extend(plugins::all(&config));
        }
        findings
    }
}

fn print(findings: &[Finding]) {
    for Finding { check, verdict, found, remedy } in findings {
        let verdict = match verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Problem => "PROBLEM",
        };
        say(format_args!("{verdict:<8} {check}: {found}"));
        if let Some(remedy) = remedy {
            say(format_args!("         -> {}", remedy.replace('\n', "\n            ")));
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (problems, warnings) = (count(Verdict::Problem), count(Verdict::Warning));
    say(format_args!("\n{}, {}", counted(problems, "problem"), counted(warnings, "warning")));
}
