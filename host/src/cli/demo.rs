//! `relevo serve --demo`: the example's tables, rows and working day.

use std::time::Duration;

use super::migrate::examples;
use crate::config::Config;
use crate::example::{self, Simulation};
use crate::server::Server;

/// What the demo's token may do, and for how long.
const ROLE: &str = "ADMIN";
const TTL: Duration = Duration::from_secs(12 * 3600);

/// Makes and fills the tables.
pub(super) async fn prepare(config: &Config, beside: bool) -> anyhow::Result<()> {
    for source in examples(config)? {
        example::migrate(source.example, &source.path, beside).await?;
        example::seed(source.example, &source.path).await?;
    }
    Ok(())
}

/// Starts the working day, and says where to look.
pub(super) async fn start(config: &Config, server: &Server) -> anyhow::Result<()> {
    for source in examples(config)? {
        let bell = server.bell(&source.source.name);
        let simulation = Simulation::open(source.example.simulation, &source.path, bell).await?;
        tokio::spawn(simulation.run(server.closing()));
        println!("simulating a working day in {}", source.path.display());
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
        println!(
            "missing in {}: {} (`cargo xtask run` builds them); their pipelines stand still",
            plugins.display(),
            missing.join(", ")
        );
    }
    let channels = streams_and_states(config);
    let token = server.tokens().issue("demo", ROLE, TTL)?;
    println!("\nwatch it in a second terminal:\n");
    println!("  relevo tail --url ws://{}/api/v1/ws/connect {channels} --token {token}\n", server.address());
    println!("a token ({ROLE}, good for {} h):\n{token}", TTL.as_secs() / 3600);
    Ok(())
}

/// A `--channel` for each channel that the configuration names in full and this role may read, and
/// for patterns nothing: their channels are not known.
fn streams_and_states(config: &Config) -> String {
    let named = config.channels.iter().filter(|rule| !rule.pattern.contains('*'));
    let read = named.filter(|rule| rule.read.iter().any(|role| role == "*" || role == ROLE));
    read.map(|rule| format!("--channel {}", rule.pattern)).collect::<Vec<_>>().join(" ")
}
