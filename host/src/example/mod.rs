//! Examples: domains given as data (tables, seed, simulation), to try the server with. `cli` is the
//! only caller: nothing here touches a database unless somebody asks for it.

mod migrate;
mod simulation;

pub use migrate::{MigrateError, Standing, migrate, seed, standing};
pub use simulation::{Simulation, SimulationError};

/// A domain as data. The host knows none: it runs scripts.
#[derive(Debug)]
pub struct Example {
    pub name: &'static str,
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

macro_rules! script {
    ($folder:literal, $name:literal) => {
        Script { name: $name, sql: include_str!(concat!("../../../migrations/", $folder, "/sqlite/", $name, ".sql")) }
    };
}

/// The examples that ship.
static SHIPPED: &[Example] = &[Example {
    name: "gad",
    migrations: &[script!("gad", "0001_usuarios"), script!("gad", "0002_efectivos"), script!("gad", "0003_tareas")],
    seed: include_str!("../../../migrations/gad/seed.sql"),
    simulation: include_str!("../../../migrations/gad/simulation.toml"),
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
