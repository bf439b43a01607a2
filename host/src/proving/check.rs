//! All checks of a plugin, in order.

use std::path::Path;
use std::time::Duration;

use super::generate;
use super::hostile;
use super::lane::Usage;
use super::learn::learn;
use super::migrate;
use super::repeat;
use super::report::{Check, Report, bytes};
use super::rows::Tables;
use super::samples::Samples;
use crate::config::{Capability, Granted, Terms};
use crate::event::Name;
use crate::sandbox::{LoadError, Manifest, Missing, Plugin, Role, Sandbox};
use crate::store::{Package, SignatureError};

/// What to prove with.
#[derive(Debug)]
pub struct Options {
    /// Makes the generated events.
    pub seed: u64,
    /// How many are generated.
    pub events: usize,
    /// Use the samples as they are, instead of generated events.
    pub only_samples: bool,
    /// What a migration may take of CPU time.
    pub migration_cpu: Duration,
}

/// Proves the plugin `name` in `folder`.
pub fn prove(
    sandbox: &Sandbox,
    folder: &Path,
    name: &Name,
    terms: &Terms,
    samples: &Samples,
    options: &Options,
) -> Report {
    let mut report = Report::new(name, options.seed);
    let (plugin, missing) = match as_asked(sandbox, folder, name, terms) {
        Ok(loaded) => loaded,
        Err(error) => {
            let all = if error.is_of_settings() { unmet(folder, name, terms) } else { Vec::new() };
            let texts = if all.is_empty() { vec![error.to_string()] } else { all };
            for text in texts {
                report.add(Check::failed("loads", text, "nothing else can be checked before it loads"));
            }
            return report;
        }
    };
    let role = match plugin.role() {
        Role::Enrich => "enrich",
        Role::Route => "route",
        Role::Aggregate => "aggregate",
    };
    report.add(Check::ok("loads", format!("a component of contract 0.1, role {role}, {}", plugin.version().version)));
    report.add(asks(&plugin));
    report.add(granted(missing));
    report.add(vouched_for(folder, name, terms));
    if let Err(fault) = plugin.instantiate(&"check".into()) {
        report.add(Check::fault("starts", "", &fault));
        return report;
    }
    report.add(Check::ok("starts", "`init` accepts the manifest's [config]"));

    let manifest = plugin.manifest();
    let mut tables = Tables::new(manifest, samples);
    let unseen = tables.unseen(manifest);
    if !unseen.is_empty() {
        let found = format!("no sample row has {}", unseen.join(", "));
        report.add(Check::note(
            "changed",
            found,
            "updates of a column that the table hasn't never come: is it a typing error?",
        ));
    }
    let learned = learn(&plugin, samples, &mut tables, options.seed);
    if !learned.is_empty() {
        let advice = format!("real rows prove more: show some in {name}.samples.jsonl, a JSON object a line");
        report.add(Check::note("columns", format!("learned from its errors: {}", learned.join(", ")), advice));
    }
    let events = match options.only_samples {
        true => generate::recorded(samples),
        false => generate::generated(manifest, samples, &mut tables, options.seed, options.events),
    };
    let lookup = generate::lookup(manifest, samples, &mut tables, options.seed);
    let (checks, mut usage) = repeat::checks(&plugin, &lookup, &events, options.seed);
    checks.into_iter().for_each(|check| report.add(check));
    let (checks, used) = hostile::checks(&plugin, &lookup, &events, &mut tables, options.seed);
    checks.into_iter().for_each(|check| report.add(check));
    migrate::check(&plugin, &lookup, &events, options.migration_cpu).into_iter().for_each(|check| report.add(check));
    usage = usage.and(used);
    report.add(limits_of(manifest, usage));
    report
}

/// Loads a plugin with all that it asks for, and says what of it the settings don't grant: whether it is sound is
/// another question than whether it may run.
///
/// # Errors
/// Why it can't be used at all.
pub fn as_asked(
    sandbox: &Sandbox,
    folder: &Path,
    name: &Name,
    terms: &Terms,
) -> Result<(Plugin, Option<Box<Missing>>), LoadError> {
    // Nor does it matter here who vouches for it: that is a check of its own.
    let terms = &Terms { signatures: None, ..terms.clone() };
    match sandbox.load(folder, name, terms) {
        Err(LoadError::Grant { missing, .. }) => {
            let terms = Terms {
                limits: missing.needed.limits.over(&terms.limits),
                granted: Granted::Listed(missing.needed.clone()),
                ..terms.clone()
            };
            Ok((sandbox.load(folder, name, &terms)?, Some(missing)))
        }
        loaded => Ok((loaded?, None)),
    }
}

/// All that the operator's terms refuse of a plugin.
fn unmet(folder: &Path, name: &Name, terms: &Terms) -> Vec<String> {
    let Ok(package) = Package::read(folder, name) else { return Vec::new() };
    let judged = Manifest::judged(&package.manifest, &folder.join(format!("{name}.toml")), name, terms);
    judged.map(|(_, unmet)| unmet.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

/// What the operator has yet to grant.
fn granted(missing: Option<Box<Missing>>) -> Check {
    const NAME: &str = "is granted";
    match missing {
        None => Check::ok(NAME, "the settings grant all that it asks for"),
        Some(missing) => {
            Check::note(NAME, "not by the settings here, and the server would not load it", missing.to_string())
        }
    }
}

/// Whether the server would take its signature.
fn vouched_for(folder: &Path, name: &Name, terms: &Terms) -> Check {
    const NAME: &str = "is signed";
    let Some(rules) = &terms.signatures else { return Check::ok(NAME, "no signature is looked at") };
    let package = match Package::read(folder, name) {
        Ok(package) => package,
        Err((path, error)) => return Check::failed(NAME, format!("{}: {error}", path.display()), "bring it in order"),
    };
    match package.signer(rules) {
        Ok(Some(key)) => Check::ok(NAME, format!("with the trusted key {key}")),
        Ok(None) => Check::ok(NAME, "it is not, and the settings here do not require it"),
        Err(error @ (SignatureError::Missing | SignatureError::Untrusted(_))) => {
            Check::note(NAME, "not as the settings here want it, and the server would not load it", error.to_string())
        }
        Err(error @ (SignatureError::Damaged | SignatureError::Other(_))) => {
            Check::failed(NAME, "not any more, and no server loads it", error.to_string())
        }
    }
}

/// What it can use, against what its manifest asks for.
fn asks(plugin: &Plugin) -> Check {
    const NAME: &str = "asks for what it uses";
    let imports = plugin.imports();
    let uses = |name: &str| imports.iter().any(|import| import == name);
    let manifest = plugin.manifest();
    let found =
        if imports.is_empty() { "uses nothing of the host".into() } else { format!("uses {}", imports.join(", ")) };
    if uses("lookup") && manifest.lookup.is_empty() {
        return Check::note(
            NAME,
            format!("{found}, and the manifest has no [lookup]"),
            "a lookup would fail the batch: name the table and its columns under [lookup]",
        );
    }
    let idle = |capability: &Capability| manifest.capabilities.contains(capability) && !uses(capability.as_str());
    if let Some(idle) = Capability::ALL.into_iter().find(idle) {
        let found = format!("{found}, and the manifest asks for {}", idle.as_str());
        return Check::note(NAME, found, "it would be granted for nothing: take it out of capabilities");
    }
    if !uses("lookup") && !manifest.lookup.is_empty() {
        let tables: Vec<&str> = manifest.lookup.keys().map(|table| &**table).collect();
        let found = format!("{found}, and [lookup] names {}", tables.join(", "));
        return Check::note(NAME, found, "the host would keep these tables in memory for nothing: take them out");
    }
    if plugin.role() != Role::Enrich && manifest.channels.is_empty() {
        return Check::note(
            NAME,
            format!("{found}, and the manifest names no channels"),
            "it can send nothing: name them under channels",
        );
    }
    Check::ok(NAME, found)
}

fn limits_of(manifest: &Manifest, usage: Usage) -> Check {
    const NAME: &str = "limits";
    let limits = &manifest.limits;
    let parts = [
        (
            "cpu",
            usage.cpu.as_micros() as f64,
            limits.cpu.as_micros() as f64,
            format!("{:.1} of {:?}", usage.cpu.as_secs_f64() * 1e3, limits.cpu),
        ),
        ("memory", usage.memory as f64, limits.memory as f64, of_bytes(usage.memory, limits.memory)),
        (
            "output",
            usage.output_bytes as f64,
            limits.output_bytes as f64,
            of_bytes(usage.output_bytes, limits.output_bytes),
        ),
        (
            "messages",
            usage.messages as f64,
            f64::from(limits.output_messages),
            format!("{} of {}", usage.messages, limits.output_messages),
        ),
        ("state", usage.state_bytes as f64, limits.state_bytes as f64, of_bytes(usage.state_bytes, limits.state_bytes)),
    ];
    let found = format!(
        "at most, of a batch: {}",
        parts.iter().map(|(name, _, _, text)| format!("{name} {text}")).collect::<Vec<_>>().join(", ")
    );
    let near: Vec<&str> =
        parts.iter().filter(|(_, used, limit, _)| used * 2.0 > *limit).map(|(name, ..)| *name).collect();
    if near.is_empty() {
        return Check::ok(NAME, found);
    }
    let debug = if cfg!(debug_assertions) {
        " (this relevo is built without optimisation, which makes the host slow)"
    } else {
        ""
    };
    Check::note(NAME, found, format!("more than half of it: {}{debug}", near.join(", ")))
}

fn of_bytes(used: u64, limit: u64) -> String {
    format!("{} of {}", bytes(used), bytes(limit))
}
