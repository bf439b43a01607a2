//! Licences and duplicate versions of what we build on, by `deny.toml` (which `cargo deny` reads too).
//! Only cargo's own metadata is asked, so it needs no network and no program to install.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::steps;

#[derive(Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    skip: Vec<Skip>,
}

/// A version that may stand beside another one.
#[derive(Deserialize)]
struct Skip {
    #[serde(rename = "crate")]
    version: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
}

/// Checks the tree that is built here.
pub(crate) fn check() -> Result<()> {
    let text = std::fs::read_to_string(steps::root().join("deny.toml")).context("can't read deny.toml")?;
    let rules: Rules = toml::from_str(&text).context("deny.toml")?;
    let version = steps::output(std::process::Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    let asked = steps::output(steps::cargo().args(["metadata", "--format-version", "1", "--filter-platform", host]))?;
    let tree: Metadata = serde_json::from_str(&asked).context("cargo metadata")?;
    let built: BTreeSet<&str> = tree.resolve.nodes.iter().map(|node| node.id.as_str()).collect();
    let packages: Vec<&Package> = tree.packages.iter().filter(|p| built.contains(p.id.as_str())).collect();
    let mut wrong: Vec<String> = packages.iter().filter_map(|package| bad_licence(package, &rules)).collect();
    wrong.extend(duplicates(&packages, &rules));
    if !wrong.is_empty() {
        bail!("deny.toml:\n  {}", wrong.join("\n  "));
    }
    steps::note(&format!("{} packages, all as deny.toml allows", packages.len()));
    Ok(())
}

fn bad_licence(package: &Package, rules: &Rules) -> Option<String> {
    let named = format!("{} {}", package.name, package.version);
    let Some(text) = &package.license else { return Some(format!("{named} names no licence")) };
    match spdx::Expression::parse_mode(text, spdx::ParseMode::LAX) {
        Err(error) => Some(format!("{named}: the licence {text:?} can't be read: {}", error.reason)),
        Ok(terms) if terms.evaluate(|term| rules.licenses.allow.contains(&term.to_string())) => None,
        Ok(_) => Some(format!("{named}: the licence {text:?} is not allowed; if it may be, add it to licenses.allow")),
    }
}

/// Crates that stand twice in the tree, and versions that are excused and no longer there.
fn duplicates(packages: &[&Package], rules: &Rules) -> Vec<String> {
    let mut excused: BTreeSet<&str> = rules.bans.skip.iter().map(|skip| skip.version.as_str()).collect();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        if !excused.remove(format!("{}@{}", package.name, package.version).as_str()) {
            versions.entry(&package.name).or_default().push(&package.version);
        }
    }
    let twice = versions.into_iter().filter(|(_, versions)| versions.len() > 1);
    let twice = twice.map(|(name, versions)| {
        format!(
            "{name} stands twice: {}; if it can't be helped, add one to bans.skip with the reason",
            versions.join(", ")
        )
    });
    let stale = excused.into_iter().map(|version| format!("bans.skip excuses {version}, which is not there any more"));
    twice.chain(stale).collect()
}
