//! What the settings lack for a plugin to run here, with the lines to write: said all at once, so that one restart of the
//! server does.

use std::path::Path;

use crate::config::{Config, Terms};
use crate::event::Name;
use crate::message::ChannelPattern;
use crate::sandbox::{LoadError, Manifest};
use crate::store::Package;

/// What a manifest asks for and isn't granted or configured, the channels that have no rule, the tables that no source
/// watches. `path`: where errors say that the manifest is.
///
/// # Errors
/// What is wrong with the manifest itself.
pub(crate) fn lacks(
    config: &Config,
    name: &Name,
    package: &Package,
    terms: &Terms,
    path: &Path,
) -> Result<Vec<String>, LoadError> {
    let (manifest, unmet) = Manifest::judged(&package.manifest, path, name, terms)?;
    Ok(unmet.iter().map(ToString::to_string).chain(around(config, &manifest)).collect())
}

/// The channels that have no rule, and the tables that no source watches.
pub(crate) fn around(config: &Config, manifest: &Manifest) -> Vec<String> {
    let mut all = Vec::new();
    let channels = manifest.channels.iter().filter_map(ChannelPattern::exact);
    let channels: Vec<_> = channels.filter(|channel| config.channel(channel).is_none()).collect();
    if !channels.is_empty() {
        let rules = channels.iter().map(|channel| {
            format!("\n  [[channel]]\n  pattern = \"{channel}\"\n  read = []  # the roles that may; [\"*\"]: all")
        });
        let names = channels.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        all.push(format!(
            "sends to {names}, for which there is no [[channel]]; add, and restart the server:{}",
            rules.collect::<String>()
        ));
    }
    let mut tables: Vec<&str> =
        manifest.tables().filter(|table| !config.watches(table)).map(|table| &**table).collect();
    tables.sort_unstable();
    tables.dedup();
    if !tables.is_empty() {
        let names = tables.join(", ");
        all.push(format!(
            "wants the rows of {names}, which no [[source]] watches; add them to the `tables` of one, and restart the server"
        ));
    }
    all
}

/// That no pipeline has the plugin.
pub(crate) fn place(config: &Config, name: &Name) -> Option<String> {
    let has = config.pipelines.iter().any(|pipeline| pipeline.plugins.contains(name));
    (!has).then(|| {
        format!(
            "no [[pipeline]] has it; add it to the plugins of one, or a new one, and restart the server:\n  \
             [[pipeline]]\n  name = \"{name}\"\n  plugins = [\"{name}\"]"
        )
    })
}

/// All of it as one text.
pub(crate) fn told(config: &Config, lacks: &[String]) -> String {
    let mut text = match lacks {
        [] => String::new(),
        [one] => one.clone(),
        several => {
            let all = several.iter().map(|one| format!("\n- {one}"));
            format!("{} things are missing:{}", several.len(), all.collect::<String>())
        }
    };
    if config.file.is_none() {
        text.push_str(NO_FILE);
    }
    text
}

/// Whoever wrote these lines alone into a new file would lose what the example has.
pub(crate) const NO_FILE: &str = "\nThere is no settings' file: the built-in example is in use, and a relevo.toml takes its place as a whole. Begin \
    one with `relevo doctor --example > relevo.toml` in the folder where the server is started, and add the lines there.";

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "name = \"p\"\nversion = \"1\"\nevents = { items = [\"insert\"], tareas = [\"insert\"] }\n\
        channels = [\"news\", \"tasks\", \"more\"]\nlookup = { items = [\"id\"] }\n[schema.zone]\ntype = \"text\"\nrequired = true\n";

    #[test]
    fn all_that_is_missing_is_said_at_once_and_the_lines_mend_it() {
        let mut config = Config::load(None).unwrap();
        let package = Package { component: Vec::new(), manifest: MANIFEST.into(), signature: None };
        let lacking = |config: &Config| {
            let all = lacks(config, &"p".into(), &package, &config.terms("p"), Path::new("p.toml")).unwrap();
            told(config, &place(config, &"p".into()).into_iter().chain(all).collect::<Vec<_>>())
        };
        let all = lacking(&config);
        for text in [
            "- no [[pipeline]] has it",
            "- relevo.toml: plugin.p.config.zone: is missing",
            "- p.toml: asks for what relevo.toml does not grant",
            "- sends to news, more, for which",
            "- wants the rows of items, which",
            "There is no settings' file",
        ] {
            assert!(all.contains(text), "no {text:?} in\n{all}");
        }
        let lines: String =
            all.lines().filter_map(|line| line.strip_prefix("  ")).map(|line| format!("{line}\n")).collect();
        let example = crate::config::BUILT_IN.replacen("tables = [", "tables = [\"items\", ", 1);
        let text = format!("{example}\n{lines}\n[plugin.p.config]\nzone = \"n\"\n");
        config = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(lacking(&config), NO_FILE);
        config.file = Some("relevo.toml".into());
        assert_eq!(lacking(&config), "");
    }
}
