//! `scratch-postgres COMMAND …` runs a command with the address of a throw-away PostgreSQL in
//! `RELEVO_DATABASE_URL`: what `cargo xtask run --postgres` does with the server that it has built.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: scratch-postgres COMMAND …");
        return ExitCode::from(2);
    };
    let mut command = Command::new(program);
    command.args(arguments);
    let error = match tempfile::Builder::new().prefix("relevo-pg-").tempdir() {
        Ok(folder) => scratch_postgres::hand_over(folder, command, |_| ()).to_string(),
        Err(error) => format!("a temporary folder: {error}"),
    };
    eprintln!("scratch-postgres: {error}");
    ExitCode::FAILURE
}
