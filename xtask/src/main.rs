//! `cargo xtask run` and `cargo xtask test`: everything from a fresh clone to a running server, or to
//! a verdict.

mod bench;
mod deny;
mod plugins;
mod postgres18;
mod python;
mod steps;
mod test;
mod tools;
mod wasm;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Builds, runs and tests Relevo.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Task {
    /// Prepares the machine, builds plugins and server, and starts the example on 127.0.0.1:8002.
    Run {
        /// On a throw-away PostgreSQL found on the machine, in the place of a SQLite file: it goes with the server.
        #[arg(long)]
        postgres: bool,
        /// Handed to `relevo serve`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Prepares the machine and runs all checks and tests.
    Test {
        /// Only the tests whose name contains this; none of the Python client's.
        filter: Option<String>,
        /// Leave out formatting, lints and licences.
        #[arg(long)]
        only_tests: bool,
    },
    /// Runs what concerns PostgreSQL with version 18, on what `test` has built.
    TestPostgres18,
    /// Measures the optimised server: throughput, latency, memory, fan-out.
    Bench,
    /// Builds the plugins that ship into `target/plugins/ready`.
    Plugins,
    /// Finds or prepares the compiler for wasm32-wasip2, and prints which one it is.
    WasmTarget,
    /// Checks licences and duplicate versions of what we build on.
    Deny,
}

fn main() -> ExitCode {
    match run(Task::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Run { postgres, arguments } => serve(postgres, &arguments),
        Task::Test { filter, only_tests } => test::run(filter.as_deref(), only_tests),
        Task::TestPostgres18 => test::postgres18(),
        Task::Bench => bench::run(),
        Task::Plugins => {
            let ready = plugins::build(&wasm::compiler()?, plugins::SHIPPED)?;
            println!("{}", ready.display());
            Ok(())
        }
        Task::WasmTarget => {
            println!("{}", wasm::compiler()?);
            Ok(())
        }
        Task::Deny => deny::check(),
    }
}

/// Builds all, lays out the data folder and hands over to the server.
fn serve(postgres: bool, arguments: &[String]) -> Result<()> {
    let of = 4;
    // Now rather than after a quarter of an hour.
    let folder = if postgres { Some(throw_away()?) } else { None };
    steps::say(1, of, "the compiler for plugins (wasm32-wasip2)");
    let compiler = wasm::compiler()?;
    steps::say(2, of, "the example's plugins");
    let ready = plugins::build(&compiler, plugins::SHIPPED)?;
    steps::say(3, of, "the server, optimised (about ten minutes on two cores the first time)");
    steps::run(steps::cargo().args(["build", "--release", "--package", "relevo"]))?;
    steps::say(4, of, "the example: tables, a simulated working day, and the server");
    let default = match &folder {
        // A journal that outlives its database only knows of a gap.
        Some(folder) => folder.path().join("relevo"),
        None => steps::root().join("data"),
    };
    let data = std::env::var_os("RELEVO_DATA").map_or(default, PathBuf::from);
    plugins::install(&ready, &data.join("plugins"))?;
    let relevo = steps::target().join("release/relevo");
    let mut serve = std::process::Command::new(relevo);
    serve.env("RELEVO_DATA", &data).arg("serve").arg("--demo").args(arguments);
    match folder {
        Some(folder) => {
            let up = |url: &str| {
                steps::note(
                    "PostgreSQL goes when the server ends. `relevo doctor` and the like find both in another terminal by",
                );
                steps::note(&format!("  export RELEVO_DATA='{}' RELEVO_DATABASE_URL='{url}'", data.display()));
                steps::note("and then a change by hand is");
                steps::note("  psql \"$RELEVO_DATABASE_URL\" -c \"update tareas set estado='IN_PROGRESS' where id=1\"");
            };
            Err(scratch_postgres::hand_over(folder, serve, up).into())
        }
        None => steps::become_(&mut serve),
    }
}

/// The folder of a throw-away PostgreSQL, where there are programs for it.
fn throw_away() -> Result<tempfile::TempDir> {
    tools::need_postgres()?;
    scratch_postgres::Binaries::find()?;
    scratch_postgres::Account::find()?;
    Ok(tempfile::Builder::new().prefix("relevo-pg-").tempdir()?)
}
