//! The plugins: is each pipeline's there, does it load, do the tables and channels exist that it names; and is
//! there one that nobody uses.

use std::path::{Path, PathBuf};

use super::Finding;
use crate::config::{Config, PipelineSettings, Terms};
use crate::event::Name;
use crate::message::ChannelPattern;
use crate::sandbox::{LoadError, Manifest, Plugin, Sandbox};
use crate::store::Versions;

pub(super) fn all(config: &Config) -> Vec<Finding> {
    let mut findings = unused(config);
    // Compiled code goes to a place of our own: nothing is changed where the server keeps its.
    let scratch = Scratch(std::env::temp_dir().join(format!("relevo-doctor-{}", uuid::Uuid::new_v4().simple())));
    let sandbox = match Sandbox::new(&scratch.0) {
        Ok(sandbox) => sandbox,
        Err(error) => {
            let remedy = "give the program memory, address space, and a temporary folder (TMPDIR)";
            findings.push(Finding::problem("plugins", format!("none can be loaded: {error}"), remedy));
            return findings;
        }
    };
    for pipeline in &config.pipelines {
        findings.extend(of_pipeline(config, &sandbox, pipeline));
    }
    findings
}

fn of_pipeline(config: &Config, sandbox: &Sandbox, pipeline: &PipelineSettings) -> Vec<Finding> {
    let check = format!("pipeline {}", pipeline.name);
    let folder = config.plugins_folder();
    let mut findings = Vec::new();
    for name in &pipeline.plugins {
        let in_folder = sandbox.load(&folder, name, &config.terms(name));
        let loaded = in_folder.or_else(|error| match (deployed(config, sandbox, name), &error) {
            (Some(deployed), LoadError::File { .. }) if !holds(&folder, name) => deployed,
            (Some(Ok(plugin)), _) => {
                let found = format!("plugin {name} in the plugins folder: {error}; an earlier version serves");
                findings.push(Finding::problem(check.clone(), found, "mend its files, or take them out of the folder"));
                Ok(plugin)
            }
            _ => Err(error),
        });
        match loaded {
            Ok(plugin) => findings.extend(judge(&check, config, plugin.manifest())),
            Err(error) => {
                findings.push(Finding::problem(
                    check.clone(),
                    format!("plugin {name}: {error}"),
                    remedy(&config.data, &folder, name, &error),
                ));
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(check, format!("its plugins load: {}", pipeline.plugins.join(", "))));
    }
    findings
}

fn remedy(data: &Path, folder: &Path, name: &Name, error: &LoadError) -> String {
    match error {
        _ if error.is_of_settings() => {
            "mend relevo.toml as it says, and restart the server (docs/operating-plugins.md, Grants)".into()
        }
        // None that was deployed can be used, either.
        LoadError::File { .. } if !holds(folder, name) => {
            // A folder that is there keeps its mode.
            let missing = [data, folder].into_iter().filter(|folder| !folder.exists()).map(in_shell);
            let missing: Vec<String> = missing.collect();
            let make = match &*missing {
                [] => String::new(),
                missing => format!("install -d -m 700 {}; ", missing.join(" ")),
            };
            let folder = in_shell(folder);
            format!(
                "{make}cp {name}.wasm {name}.toml {folder}/ (`relevo plugin build` makes them, of the example `cargo xtask plugins`); or start the server, and: relevo plugin deploy {name}.wasm"
            )
        }
        _ => format!("mend it; when the server runs: relevo plugin deploy {name}.wasm (README.md, Write a plugin)"),
    }
}

/// A path as a shell's command names it.
fn in_shell(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+:".contains(&byte));
    if is_plain { path } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

/// Whether the folder has any of a plugin's two files; where it has none, only what was deployed counts.
fn holds(folder: &Path, name: &Name) -> bool {
    ["wasm", "toml"].iter().any(|ending| folder.join(format!("{name}.{ending}")).exists())
}

/// The newest version that was deployed and not refused.
fn deployed(config: &Config, sandbox: &Sandbox, name: &Name) -> Option<Result<Plugin, LoadError>> {
    let versions = Versions::at(&config.versions_folder());
    let newest = versions.list(name).into_iter().find(|about| about.refused.is_none())?;
    let package = versions.package(name, &newest.id).ok()?;
    let terms = Terms { later_keys: true, ..config.terms(name) };
    Some(sandbox.prepare(&package, name, &terms, &config.plugins_folder()))
}

fn judge(check: &str, config: &Config, manifest: &Manifest) -> Vec<Finding> {
    let mut findings = Vec::new();
    let plugin = &manifest.name;
    for channel in manifest.channels.iter().filter_map(ChannelPattern::exact) {
        if config.channel(&channel).is_none() {
            let found = format!("plugin {plugin} sends to {channel}, for which there is no rule");
            let remedy = format!("add to the settings: [[channel]] pattern = \"{channel}\" and who may read it");
            findings.push(Finding::problem(check, found, remedy));
        }
    }
    for table in manifest.tables().filter(|table| !config.watches(table)) {
        let found = format!("plugin {plugin} wants table {table}, which no source watches");
        findings.push(Finding::problem(check, found, format!("add {table} to the tables of a [[source]]")));
    }
    findings
}

/// Components that are in no pipeline.
fn unused(config: &Config) -> Vec<Finding> {
    let used = |name: &str| config.pipelines.iter().flat_map(|p| &p.plugins).any(|plugin| **plugin == *name);
    let mut names: Vec<String> = components(&config.plugins_folder()).collect();
    names.retain(|name| !used(name));
    names.sort();
    let warn = |name: &String| {
        let remedy = format!("add a [[pipeline]] with plugins = [\"{name}\"], or take {name}.wasm away");
        Finding::warning(format!("plugin {name}"), "it is in no [[pipeline]]: it does nothing", remedy)
    };
    names.iter().map(warn).collect()
}

fn components(folder: &Path) -> impl Iterator<Item = String> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    let is_component = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "wasm");
    files.filter(is_component).filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
}

/// A folder that goes when it is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in a temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_plugin_that_is_missing_or_unused_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::load(None).unwrap();
        config.plugins.folder = Some(folder.path().into());
        config.pipelines.truncate(1);
        std::fs::write(folder.path().join("other.wasm"), "").unwrap();
        let findings = all(&config);
        let [unused, missing] = &findings[..] else { panic!("{findings:?}") };
        assert_eq!((unused.check.as_str(), unused.verdict), ("plugin other", Verdict::Warning));
        assert_eq!((missing.check.as_str(), missing.verdict), ("pipeline tareas", Verdict::Problem));
        assert!(missing.remedy.as_deref().unwrap().contains("tareas.wasm"), "{missing:?}");
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 1, "nothing was made beside it");
    }
}
