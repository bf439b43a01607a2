//! Whether a server runs with these settings. If so it knows best how it is; if not, its port must be free.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value;
use tokio::net::TcpListener;

use super::super::access::{address, get};
use super::{Finding, Verdict};
use crate::config::{Config, SourceSettings};
use crate::journal;

/// A server that doesn't answer within this doesn't answer.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, PartialEq)]
pub(super) enum Running {
    No,
    /// What `/readyz` says.
    Yes(Value),
    /// The data folder is in use, but nobody answers.
    Silent,
    /// The data folder is free, but the port isn't.
    PortTaken {
        by_relevo: bool,
        why: String,
    },
}

/// What a server that runs says of one of its parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    ready: bool,
    reason: &'a str,
}

impl Said<'_> {
    /// What it says beyond these texts: one trouble is told once.
    pub(super) fn beyond(&self, check: &str, known: &[String]) -> Vec<Finding> {
        let verdict = if self.ready { Verdict::Warning } else { Verdict::Problem };
        let news = self.reason.lines().filter(|line| !known.iter().any(|known| known == line));
        news.map(|line| Finding { verdict, ..told(check, line) }).collect()
    }
}

/// A reason that the server gives. Only where it doesn't say itself what to do, more stands in the log.
fn told(check: &str, reason: &str) -> Finding {
    let remedy = (!says_what_to_do(reason)).then(|| "see the server's log".to_owned());
    Finding { remedy, ..Finding::problem(check, reason, "") }
}

/// By convention what to do stands behind a semicolon, or is a command.
fn says_what_to_do(reason: &str) -> bool {
    ["; ", "`", "relevo "].iter().any(|sign| reason.contains(sign))
}

impl Running {
    pub(super) async fn look(config: &Config) -> Self {
        let in_use = journal::in_use(&config.data);
        let base = format!("http://{}", address(config));
        let answer = async |path: &str| tokio::time::timeout(PATIENCE, get(&base, path)).await.ok()?.ok();
        if in_use {
            let ready = answer("/readyz").await.filter(|(_, said)| said["parts"].is_array());
            return ready.map_or(Self::Silent, |(_, said)| Self::Yes(said));
        }
        // Given back at once.
        match TcpListener::bind(config.listen).await {
            Ok(_) => Self::No,
            Err(error) => {
                let ready = answer("/readyz").await;
                let by_relevo = ready.is_some_and(|(status, said)| {
                    [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&status) && said["parts"].is_array()
                });
                Self::PortTaken { by_relevo, why: error.to_string() }
            }
        }
    }

    /// What a server that runs says of one of its parts.
    pub(super) fn says(&self, name: &str) -> Option<Said<'_>> {
        let Self::Yes(said) = self else { return None };
        let part = said["parts"].as_array()?.iter().find(|part| part["name"] == name)?;
        Some(Said { ready: part["ready"] == true, reason: part["reason"].as_str()? })
    }

    /// But for PostgreSQL sources, of which `sources` tells.
    pub(super) fn findings(&self, config: &Config) -> Vec<Finding> {
        let (check, listen): (_, SocketAddr) = ("server", config.listen);
        match self {
            Self::No => vec![Finding::ok(check, format!("it doesn't run, and {listen} is free for it"))],
            Self::Silent => {
                let found = format!("one uses {}, but doesn't answer at {listen}", config.data.display());
                let remedy = "ask with the settings that it was started with (RELEVO_LISTEN, --config), or see its log";
                vec![Finding::warning(check, found, remedy)]
            }
            Self::PortTaken { by_relevo: true, .. } => {
                let found = format!("at {listen} runs a relevo with another data folder");
                vec![Finding::problem(check, found, "set RELEVO_DATA to its folder, or RELEVO_LISTEN to another port")]
            }
            Self::PortTaken { by_relevo: false, why } => {
                let remedy = "set RELEVO_LISTEN to an address of this machine and a free port";
                vec![Finding::problem(check, format!("it can't listen at {listen}: {why}"), remedy)]
            }
            Self::Yes(said) => {
                let parts = said["parts"].as_array().map(Vec::as_slice).unwrap_or_default();
                let elsewhere = |part: &&Value| {
                    let is_it = |source: &&SourceSettings| part["name"] == *format!("source {}", source.name);
                    config.sources.iter().find(is_it).is_some_and(SourceSettings::is_postgres)
                };
                let parts_here = parts.iter().filter(|part| !elsewhere(part));
                let not_ready = parts_here.filter(|part| part["ready"] != true).map(|part| {
                    let (name, reason) = (part["name"].as_str().unwrap_or(check), part["reason"].as_str());
                    told(name, reason.unwrap_or("it isn't ready"))
                });
                let runs = Finding::ok(check, format!("it runs at {listen}, with {} parts", parts.len()));
                std::iter::once(runs).chain(not_ready).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_part_of_a_running_server_that_is_not_ready_is_a_problem() {
        let config = Config::load(None).unwrap();
        let said = json!({"parts": [
            {"name": "source gad", "ready": true},
            {"name": "pipeline panel", "ready": false, "reason": "plugin panel: no such file"},
        ]});
        let findings = Running::Yes(said).findings(&config);
        assert_eq!(findings.len(), 2);
        assert_eq!((findings[1].check.as_str(), findings[1].verdict), ("pipeline panel", Verdict::Problem));
        assert!(findings[1].found.contains("no such file"));
    }

    #[test]
    fn the_log_is_named_only_where_a_reason_does_not_say_what_to_do() {
        for reason in [
            "there is no panel.wasm; deploy it: relevo plugin deploy panel.wasm",
            "u7 paused it; relevo plugin resume goes on",
            "pipeline p wants the rows of table t, which isn't watched: add \"t\" to the `tables` of source s",
        ] {
            assert_eq!(told("pipeline p", reason).remedy, None, "{reason}");
        }
        for reason in ["plugin p: trapped", "it is starting", "database: no such table"] {
            assert_eq!(told("pipeline p", reason).remedy.as_deref(), Some("see the server's log"), "{reason}");
        }
    }

    #[test]
    fn what_a_running_server_says_of_a_source_is_told_once() {
        let said = json!({"parts": [
            {"name": "source gad", "ready": true, "reason": "table a; as b run: C;\npipeline p wants rows\ntable d"},
        ]});
        let running = Running::Yes(said);
        let mut config = Config::load(None).unwrap();
        config.sources[0].url = "postgres://db/gad".into();
        assert_eq!(running.findings(&config).len(), 1, "that it runs");
        let said = running.says("source gad").unwrap();
        let known = ["table a; as b run: C;", "table d"].map(str::to_owned);
        let beyond = said.beyond("source gad", &known);
        assert_eq!(
            (&*beyond[0].found, beyond[0].verdict, beyond.len()),
            ("pipeline p wants rows", Verdict::Warning, 1)
        );
        assert!(Said { reason: "table d", ..said }.beyond("source gad", &known).is_empty());
    }

    #[test]
    fn a_port_that_is_taken_has_the_remedy_for_who_has_it() {
        let config = Config::load(None).unwrap();
        for (by_relevo, remedy) in [(true, "RELEVO_DATA"), (false, "free port")] {
            let finding = Running::PortTaken { by_relevo, why: "in use".into() }.findings(&config).remove(0);
            assert!(finding.verdict == Verdict::Problem && finding.remedy.unwrap().contains(remedy));
        }
        assert_eq!(Running::Silent.findings(&config)[0].verdict, Verdict::Warning);
        assert_eq!(Running::No.findings(&config)[0].verdict, Verdict::Ok);
    }
}
