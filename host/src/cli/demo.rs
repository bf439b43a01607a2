//! `relevo serve --demo`: the example's tables, rows and working day.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::migrate::examples;
use super::say;
use crate::config::Config;
use crate::example::{self, Simulation};
use crate::message::ChannelName;
use crate::server::Server;

/// What the demo's token may do, and for how long.
const ROLE: &str = "ADMIN";
const TTL: Duration = Duration::from_secs(12 * 3600);

/// Makes and fills the tables.
pub(super) async fn prepare(config: &Config, beside: bool) -> anyhow::Result<()> {
    for source in examples(config)? {
        example::migrate(source.example, &source.database, beside).await?;
        example::seed(source.example, &source.database).await?;
    }
    Ok(())
}

/// Starts the working day, and says where to look.
pub(super) async fn start(config: &Config, server: &Server) -> anyhow::Result<()> {
    for source in examples(config)? {
        let bell = server.bell(&source.source.name);
        let simulation =
            Simulation::open(source.example.scripts(&source.database).simulation, &source.database, bell).await?;
        tokio::spawn(simulation.run(server.closing()));
        say(format_args!("simulating a working day in {}", source.database));
    }
    let plugins = config.plugins_folder();
    let missing: Vec<&str> = config
        .pipelines
        .iter()
        .flat_map(|pipeline| &pipeline.plugins)
        .map(|plugin| &**plugin)
        .filter(|plugin| !plugins.join(format!("{plugin}.wasm")).exists())
        .collect();
    if !missing.is_empty() {
        say(format_args!(
            "missing in {}: {} (`cargo xtask run` builds them); their pipelines stand still",
            plugins.display(),
            missing.join(", ")
        ));
    }
    let channels = channels(config);
    let token = server.tokens().issue("demo", ROLE, TTL)?;
    if config.page.enabled {
        say(format_args!("\nwatch it in a browser (the link has the demo's token in it: don't pass it on):\n"));
        say(format_args!("  open http://{}/#token={token}", server.address()));
    }
    say(format_args!("\nwatch it in a second terminal:\n"));
    // It may not be on the PATH.
    let relevo = std::env::current_exe().map_or_else(|_| "relevo".into(), |path| path.display().to_string());
    say(format_args!(
        "  RELEVO_TOKEN={token} {relevo} tail --url ws://{}/api/v1/ws/connect {channels}\n",
        server.address()
    ));
    say(format_args!("a token ({ROLE}, good for {} h):\n{token}", TTL.as_secs() / 3600));
    Ok(())
}

/// The channels that are known in full and that this role may read: the plugins' manifests name them, and the
/// configuration's rules.
fn channels(config: &Config) -> String {
    let plugins = config.pipelines.iter().flat_map(|pipeline| &pipeline.plugins);
    let sent = plugins.flat_map(|plugin| sent_by(&config.plugins_folder().join(format!("{plugin}.toml"))));
    let ruled = config.channels.iter().map(|rule| rule.pattern.clone());
    let names: BTreeSet<ChannelName> = sent.chain(ruled).filter_map(|name| ChannelName::new(&name).ok()).collect();
    let read = names.iter().filter(|name| {
        config.channel(name).is_some_and(|rule| rule.read.iter().any(|role| role == "*" || role == ROLE))
    });
    read.map(ChannelName::as_str).collect::<Vec<_>>().join(" ")
}

/// The channels in a plugin's manifest. It is only for show: the sandbox reads it with care.
fn sent_by(manifest: &Path) -> Vec<String> {
    let table: toml::Table =
        std::fs::read_to_string(manifest).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
    let channels = table.get("channels").and_then(toml::Value::as_array);
    channels.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}
