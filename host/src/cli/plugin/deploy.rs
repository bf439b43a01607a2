//! `relevo plugin deploy`: brings a version to the running server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use axum::http::Method;
use clap::Args;
use serde_json::Value;

use crate::cli::ask::{Content, Files, Operator, escaped};
use crate::cli::{one_line, say};

#[derive(Args)]
pub(super) struct Deploy {
    #[command(flatten)]
    operator: Operator,
    /// The component; its manifest NAME.toml and, if there is one, its signature NAME.sig are read from beside it.
    file: PathBuf,
}

impl Deploy {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (name, files) = read(&self.file)?;
        let path = format!("/api/v1/plugins/{}", escaped(&name));
        let answer = self.operator.ask(Method::PUT, &path, Content::Files(files))?;
        Ok(told(&answer))
    }
}

/// A plugin's name and its files, as the server takes them.
pub(super) fn read(file: &Path) -> anyhow::Result<(String, Files)> {
    let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let component = std::fs::read(file).with_context(|| format!("{}", file.display()))?;
    let beside = file.with_extension("toml");
    let manifest = std::fs::read(&beside)
        .with_context(|| format!("{}: a plugin's manifest stands beside its component", beside.display()))?;
    let mut files = vec![("component", component), ("manifest", manifest)];
    let signature = file.with_extension("sig");
    if signature.exists() {
        files.push(("signature", std::fs::read(&signature).with_context(|| format!("{}", signature.display()))?));
    }
    Ok((name, files))
}

/// Tells what became of a version in each pipeline. Failure, if it does not serve in one.
pub(super) fn told(answer: &Value) -> ExitCode {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let version = format!("{} {}", text(&answer["plugin"]), text(&answer["version"]));
    let mut failed = false;
    for in_pipeline in answer["pipelines"].as_array().into_iter().flatten() {
        let pipeline = text(&in_pipeline["pipeline"]);
        let outcome = match in_pipeline["outcome"].as_str().unwrap_or_default() {
            "serves" if in_pipeline["already"] == true => "serves, as it did before".to_owned(),
            "serves" => "serves".to_owned(),
            "waits_for_state" => "takes over when its state is made of the source's rows".to_owned(),
            "waits" => format!(
                "takes over when the pipeline comes to {}; it is at {}",
                in_pipeline["place"], in_pipeline["cursor"]
            ),
            _ => {
                failed = true;
                format!("does not serve: {}", one_line(&text(&in_pipeline["reason"])))
            }
        };
        say(format_args!("{version} in pipeline {pipeline}: {outcome}"));
        let canary = &in_pipeline["canary"];
        if canary.is_object() {
            say(format_args!(
                "  tried on {} recorded events: {} results as before, {} added, {} missing, {} changed",
                canary["events"], canary["same"], canary["added"], canary["missing"], canary["changed"]
            ));
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
