//! `relevo capture status`: how each source stands, asked of the running server, else of journal and database.

use std::process::ExitCode;

use axum::http::Method;
use clap::Args;
use serde_json::{Value, json};

use super::sources;
use crate::capture::status;
use crate::cli::ask::{Content, Operator};
use crate::cli::{runtime, say};
use crate::config::Config;
use crate::journal;

#[derive(Args)]
pub(super) struct Status {
    #[command(flatten)]
    operator: Operator,
    /// As JSON, in the form of `GET /api/v1/sources`.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.operator.config()?;
        let answer = if self.operator.is_elsewhere() || journal::in_use(&config.data) {
            self.operator.ask(Method::GET, "/api/v1/sources", Content::Nothing)?
        } else {
            runtime()?.block_on(stopped(&config))?
        };
        if self.json {
            say(&answer);
            return Ok(ExitCode::SUCCESS);
        }
        for source in answer["sources"].as_array().into_iter().flatten() {
            for line in shown(source) {
                say(line);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn stopped(config: &Config) -> anyhow::Result<Value> {
    let known = journal::sources(&config.data).await?;
    let mut all = Vec::new();
    for source in sources(config, None)? {
        all.push(status::stopped(source, &config.data, &known).await);
    }
    Ok(json!({ "sources": all }))
}

/// A source's lines: its name and state, then one a fact.
fn shown(source: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut lines = vec![format!("{} ({}): {}", text(&source["name"]), text(&source["kind"]), text(&source["state"]))];
    // The name stands before the first line of a value that has several.
    let mut add = |name: &str, value: Option<String>| {
        let value = value.unwrap_or_default();
        let names = std::iter::once(name).chain(std::iter::repeat(""));
        lines.extend(value.lines().zip(names).map(|(line, name)| format!("  {name:<12} {line}")));
    };
    let field = |name: &str| source.get(name).map(text);
    add("reason", field("reason"));
    add("incarnation", field("incarnation"));
    add("position", field("position"));
    add("watermark", field("watermark"));
    let waits = field("lag_ms").filter(|lag| lag != "0").map(|lag| format!(", the oldest for {lag} ms"));
    add("behind", field("behind").map(|behind| format!("{behind} changes{}", waits.unwrap_or_default())));
    let tables = source["tables"].as_array().map(|tables| tables.iter().map(text).collect::<Vec<_>>().join(", "));
    add("tables", tables.filter(|tables| !tables.is_empty()));
    add("publication", field("publication"));
    if let Some(slot) = source.get("slot") {
        let mib = |name: &str| slot[name].as_u64().map(|bytes| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)));
        let of = |name: &str| mib(name).unwrap_or_else(|| "no limit".into());
        add("slot", Some(format!("{}, {}", text(&slot["name"]), text(&slot["wal_status"]))));
        add("", slot.get("invalidation_reason").map(text));
        // Of one that is lost nothing is kept, and it has no way to go.
        if slot["wal_status"] != "lost" {
            add("retained", Some(of("retained_bytes")));
            add("until lost", Some(of("safe_bytes")));
            add("unread", Some(of("lag_bytes")));
        }
    }
    for snapshot in source["snapshots"].as_array().into_iter().flatten() {
        let mib = snapshot["bytes"].as_f64().unwrap_or_default() / f64::from(1 << 20);
        let about = snapshot.get("estimated_rows").map_or_else(String::new, |rows| format!(" of about {rows}"));
        let rows = text(&snapshot["rows"]);
        add("snapshot", Some(format!("for {}: {rows}{about} rows, {mib:.1} MiB", text(&snapshot["pipeline"]))));
        add("", snapshot.get("waits_for").map(|what| format!("waits for {}", text(what))));
    }
    let last = source.get("last_error").map(|error| match (&error["what"], &source["reason"]) {
        (what, reason) if what == reason => format!("{}: the same", text(&error["at"])),
        (what, _) => format!("{}: {}", text(&error["at"]), text(what)),
    });
    add("last error", last);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_a_line_for_each_fact() {
        let slot = json!({"name": "relevo_gad", "wal_status": "extended", "active": true, "retained_bytes": 3 << 20, "lag_bytes": 0});
        let source = json!({"name": "gad", "kind": "postgres", "state": "running", "position": "0/16B3748, row 1 of its transaction", "lag_ms": 70,
            "behind": 3, "tables": ["a", "b"], "slot": slot,
            "snapshots": [{"pipeline": "panel", "rows": 3000, "bytes": 3 << 19, "estimated_rows": 9000}, {"pipeline": "p", "rows": 0, "bytes": 0, "waits_for": "a transaction of ana"}]});
        let lines = shown(&source).join("\n");
        for line in [
            "gad (postgres): running",
            "position     0/16B3748, row 1 of its transaction",
            "behind       3 changes, the oldest for 70 ms",
            "tables       a, b",
            "slot         relevo_gad, extended",
            "retained     3.0 MiB",
            "until lost   no limit",
            "snapshot     for panel: 3000 of about 9000 rows, 1.5 MiB",
            "snapshot     for p: 0 rows, 0.0 MiB",
            "waits for a transaction of ana",
        ] {
            assert!(lines.contains(line), "{line} is not in\n{lines}");
        }
        assert!(!lines.contains("incarnation") && !lines.contains("last error"));
        let mut lacks = source.clone();
        lacks["reason"] = "table a: no key\ntable b: no rights".into();
        lacks["last_error"] = json!({"at": "12:00", "what": lacks["reason"]});
        let lines = shown(&lacks).join("\n");
        assert!(lines.ends_with("\n  last error   12:00: the same"), "{lines}");
        assert!(lines.contains("\n  reason       table a: no key\n               table b: no rights\n"), "{lines}");
        let mut lost = source;
        lost["slot"]["wal_status"] = "lost".into();
        let lines = shown(&lost).join("\n");
        assert!(lines.contains("relevo_gad, lost") && !lines.contains("no limit"), "{lines}");
    }
}
