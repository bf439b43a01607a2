//! `relevo serve`: runs the server until a signal.

use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::{Settings, demo, runtime, say};
use crate::config::Config;
use crate::server::Server;
use crate::telemetry;

#[derive(Args)]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// Makes the example's tables, fills them, and simulates a working day.
    #[arg(long)]
    demo: bool,
    /// With --demo: also where the database holds other tables already.
    #[arg(long, requires = "demo")]
    example: bool,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.settings.load()?;
        super::migrate::examples(&config)?;
        telemetry::init(&config);
        info!(file = config.read_from(), "the settings' file");
        raise_file_limit();
        let runtime = runtime()?;
        let stopped = runtime.block_on(self.serve(config));
        // What still blocks a thread has had its time.
        runtime.shutdown_background();
        stopped
    }

    async fn serve(self, config: Config) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::new()?;
        if config.sources.is_empty() {
            warn!("no [[source]] in the settings: no database is watched; only what is published is sent");
        }
        if self.demo {
            if config.sources.iter().all(|source| source.example.is_none()) {
                warn!("--demo does nothing: no [[source]] in the settings has an example");
            }
            demo::prepare(&config, self.example).await?;
        }
        let started = tokio::select! {
            started = Server::start(config.clone()) => started?,
            name = signals.next() => {
                info!("{name} while starting");
                return Ok(ExitCode::SUCCESS);
            }
        };
        say(format_args!("listening on ws://{}/api/v1/ws/connect", started.address()));
        say(format_args!("ready or not, and why: http://{}/readyz", started.address()));
        if self.demo {
            demo::start(&config, &started).await?;
        }

        let failed = tokio::select! {
            name = signals.next() => {
                info!("{name}: stopping");
                false
            }
            () = started.failed() => {
                error!("stopping, as the journal failed: start the server again");
                true
            }
        };
        let in_order = tokio::select! {
            in_order = started.stop() => in_order,
            name = signals.next() => {
                warn!("{name} again: stopping at once");
                false
            }
        };
        Ok(if in_order && !failed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Each client is an open file, and systems start with 1,024.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(e) = setrlimit(Resource::Nofile, raised) {
            warn!("the open file limit stays at {:?}: {e}", limit.current);
        }
    }
}
