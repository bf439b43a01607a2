//! Examples: domains given as data (tables, seed, simulation), to try the server with. `cli` is the
//! only caller: nothing here touches a database unless somebody asks for it.

mod migrate;
mod postgres;
mod simulation;
mod sqlite;

pub use migrate::{Database, MigrateError, Standing, migrate, seed, standing};
pub use simulation::{Simulation, SimulationError};

/// A domain as data. The host knows none: it runs scripts.
#[derive(Debug)]
pub struct Example {
    pub name: &'static str,
    pub sqlite: Scripts,
    pub postgres: Scripts,
}

/// What an example has for one kind of database.
#[derive(Debug)]
pub struct Scripts {
    /// In order; each is run once in a database's life.
    pub migrations: &'static [Script],
    /// Rows to begin with.
    pub seed: &'static str,
    /// What happens by itself: see [`Simulation`].
    pub simulation: &'static str,
}

/// An SQL script.
#[derive(Debug)]
pub struct Script {
    pub name: &'static str,
    pub sql: &'static str,
}

impl Example {
    /// What it has for a database.
    pub fn scripts(&self, database: &Database) -> &Scripts {
        match database {
            Database::Sqlite(_) => &self.sqlite,
            Database::Postgres(_) => &self.postgres,
        }
    }
}

macro_rules! file {
    ($folder:literal, $name:expr) => {
        include_str!(concat!("../../../migrations/", $folder, "/", $name))
    };
}

macro_rules! scripts {
    ($folder:literal: $($name:literal),+) => {
        Scripts {
            migrations: &[$(Script { name: $name, sql: file!($folder, concat!($name, ".sql")) }),+],
            seed: file!($folder, "seed.sql"),
            simulation: file!($folder, "simulation.toml"),
        }
    };
}

/// The examples that ship.
static SHIPPED: &[Example] = &[Example {
    name: "gad",
    sqlite: scripts!("gad/sqlite": "0001_usuarios", "0002_efectivos", "0003_tareas"),
    postgres: scripts!("gad/postgres": "0001_usuarios", "0002_efectivos", "0003_tareas"),
}];

/// Finds an example by its name; otherwise tells which there are.
///
/// # Errors
/// The names that there are.
pub fn find(name: &str) -> Result<&'static Example, String> {
    SHIPPED
        .iter()
        .find(|example| example.name == name)
        .ok_or_else(|| SHIPPED.iter().map(|e| e.name).collect::<Vec<_>>().join(", "))
}
