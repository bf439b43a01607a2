//! `relevo backup`: copies the data folder while the server runs. `relevo restore`: puts a copy back.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;

use super::{Settings, counted, runtime, say};
use crate::backup::{self, Made, Restored};

/// Copies the journal as it is at one moment, the plugins, the tokens' secret and the settings' file into a new folder,
/// and checks the copy. The server may run, and goes on meanwhile. Watched databases are not in it: back those up with
/// their own tools.
#[derive(Args)]
pub(super) struct Backup {
    #[command(flatten)]
    settings: Settings,
    /// The folder to make; until it is whole it is called DIR.incomplete.
    #[arg(value_name = "DIR")]
    into: PathBuf,
    /// Print one JSON object: {"path","files","bytes","epoch","offset","seconds"}.
    #[arg(long)]
    json: bool,
}

impl Backup {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let began = Instant::now();
        let data = self.settings.load()?.data;
        let settings = self.settings.file();
        let into = &self.into;
        let made = runtime()?.block_on(backup::make(&data, settings.as_deref(), into))?;
        let Made { files, bytes, epoch, offset } = made;
        let seconds = began.elapsed().as_secs_f64();
        if self.json {
            let path = into.display().to_string();
            let shown = serde_json::json!({"path": path, "files": files, "bytes": bytes, "epoch": epoch, "offset": offset, "seconds": seconds});
            say(shown);
        } else {
            say(format_args!(
                "{}: {}, {bytes} bytes, newest offset {offset}, checked; {seconds:.1} s",
                into.display(),
                counted(files, "file")
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Checks a backup (each file's hash, then the journal) and puts it into the data folder of the settings, where nothing
/// of a server's may be. The server must be stopped. Its next start begins a new epoch: clients that come back are told
/// of a gap.
#[derive(Args)]
pub(super) struct Restore {
    #[command(flatten)]
    settings: Settings,
    /// The folder that `relevo backup` made.
    #[arg(value_name = "DIR")]
    from: PathBuf,
}

impl Restore {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let data = self.settings.load()?.data;
        let restored = runtime()?.block_on(backup::restore(&self.from, &data))?;
        let Restored { at, bytes, offset, settings } = restored;
        say(format_args!("{}: {bytes} bytes of {at}, newest offset {offset}, checked", data.display()));
        if let Some(settings) = settings {
            say(format_args!("the settings of then are in {}; they were not put anywhere", settings.display()));
        }
        say("a new epoch begins at the next start of the server: clients that come back are told of a gap");
        Ok(ExitCode::SUCCESS)
    }
}
