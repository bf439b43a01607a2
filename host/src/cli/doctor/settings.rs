//! The settings: can they be used, and does the environment say something that nobody reads.

use std::ffi::OsString;
use std::path::Path;

use super::Finding;
use crate::cli::counted;
use crate::config::{Config, ConfigError, nearest, read_from};

/// What the program reads; the others are for its tests, its build, and the client in Python.
const KNOWN: [&str; 23] = [
    "RELEVO_CONFIG",
    "RELEVO_LISTEN",
    "RELEVO_DATA",
    "RELEVO_DATABASE_URL",
    "RELEVO_JWT_SECRET",
    "RELEVO_LOG",
    "RELEVO_LOG_FORMAT",
    "RELEVO_FAILPOINT",
    "RELEVO_BIN",
    "RELEVO_RUSTUP",
    "RELEVO_SEED",
    "RELEVO_KILL_ROUNDS",
    "RELEVO_FAULT_ROUNDS",
    "RELEVO_FUZZ_ROUNDS",
    "RELEVO_MODEL_CASES",
    "RELEVO_MODEL_SEED",
    "RELEVO_MODEL_SHRINK",
    "RELEVO_POSTGRES_BIN",
    "RELEVO_TEST_JOURNAL",
    "RELEVO_TEST_PLUGINS",
    "RELEVO_SDK",
    "RELEVO_TOKEN",
    "RELEVO_URL",
];

/// Variables that look like ours and aren't.
pub(super) fn variables(names: impl Iterator<Item = OsString>) -> Vec<Finding> {
    let known: Vec<String> = KNOWN.map(str::to_owned).into();
    let names = names.filter_map(|name| name.into_string().ok());
    let unknown = names.filter(|name| name.starts_with("RELEVO_") && !known.contains(name));
    unknown
        .map(|name| {
            let remedy = match nearest(&name, &known) {
                Some(meant) => format!("did you mean {meant}?"),
                None => "take it out; README.md lists those that count".to_owned(),
            };
            Finding::warning("environment", format!("nobody reads {name}"), remedy)
        })
        .collect()
}

/// Which file they are read from.
pub(super) fn file(file: Option<&Path>) -> Finding {
    Finding::ok("settings' file", read_from(file))
}

pub(super) fn refused(error: &ConfigError) -> Finding {
    Finding::problem("settings", format!("{}: {}", error.name, error.wrong), format!("allowed: {}", error.allowed))
}

pub(super) fn good(config: &Config) -> Finding {
    let (sources, pipelines) = (config.sources.len(), config.pipelines.len());
    if sources > 0 && pipelines == 0 {
        let remedy = "add a [[pipeline]] with plugins (README.md, Write a plugin)";
        return Finding::warning("settings", "there is no [[pipeline]]: changes are read, and nothing is sent", remedy);
    }
    let found = format!("they can be used: {}, {}", counted(sources, "source"), counted(pipelines, "pipeline"));
    Finding::ok("settings", found)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_variable_that_nobody_reads_is_named_with_the_one_that_was_meant() {
        let names = ["RELEVO_DATA", "RELEVO_SDK", "RELEVO_LISTENS", "RELEVO_SOMETHING_ELSE_ALTOGETHER", "PATH"];
        let found = variables(names.map(OsString::from).into_iter());
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|finding| finding.verdict == Verdict::Warning));
        assert_eq!(found[0].remedy.as_deref(), Some("did you mean RELEVO_LISTEN?"));
        assert!(found[1].found.contains("ALTOGETHER") && found[1].remedy.as_deref().unwrap().contains("README"));
    }
}
