//! An example's simulation: steps of SQL, chosen by weight, one after the other with pauses, in a
//! database of its own connection. What the steps mean is the example's business.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection};
use tokio::sync::{Notify, watch};
use tracing::{debug, warn};

use super::migrate::{Database, MigrateError};
use super::{postgres, sqlite};
use crate::config::human;

/// Why a simulation can't run.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    #[error("the simulation's file: {0}")]
    File(#[from] toml::de::Error),
    #[error("the simulation's file: {0}")]
    Wrong(&'static str),
    #[error(transparent)]
    Open(#[from] MigrateError),
    #[error("the simulation: prepare: {0}")]
    Prepare(sqlx::Error),
}

/// A simulation that is ready to run.
pub struct Simulation {
    script: Script,
    database: Open,
    /// Rung after each step: capture is quicker so than by watching the file.
    bell: Option<Arc<Notify>>,
}

/// The database's connection.
enum Open {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Open {
    async fn to(database: &Database) -> Result<Self, MigrateError> {
        Ok(match database {
            Database::Sqlite(path) => Self::Sqlite(sqlite::open(path).await?),
            Database::Postgres(url) => Self::Postgres(postgres::open(url, &database.to_string()).await?),
        })
    }

    async fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match self {
            Self::Sqlite(database) => sql.execute(database).await.map(drop),
            Self::Postgres(database) => sql.execute(database).await.map(drop),
        }
    }

    /// Runs statements in one transaction.
    async fn step(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match self {
            Self::Sqlite(database) => {
                let mut transaction = database.begin_with("begin immediate").await?;
                sql.execute(&mut *transaction).await?;
                transaction.commit().await
            }
            Self::Postgres(database) => {
                let mut transaction = database.begin().await?;
                sql.execute(&mut *transaction).await?;
                transaction.commit().await
            }
        }
    }

    async fn close(self) {
        let _ = match self {
            Self::Sqlite(database) => database.close().await,
            Self::Postgres(database) => database.close().await,
        };
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    #[serde(with = "human::duration")]
    at_least: Duration,
    #[serde(with = "human::duration")]
    at_most: Duration,
    /// Run once, before the first step.
    #[serde(default)]
    prepare: String,
    #[serde(rename = "step")]
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    name: String,
    weight: u32,
    /// Statements, run in one transaction.
    sql: String,
}

impl Simulation {
    /// Reads a simulation's file and opens the database.
    ///
    /// # Errors
    /// If the file can't be used or the database can't be opened.
    pub async fn open(file: &str, at: &Database, bell: Option<Arc<Notify>>) -> Result<Self, SimulationError> {
        let script: Script = toml::from_str(file)?;
        if script.steps.iter().all(|step| step.weight == 0) {
            return Err(SimulationError::Wrong("there is no step with a weight"));
        }
        if script.at_least > script.at_most || script.at_most.is_zero() {
            return Err(SimulationError::Wrong("at_most must be a time of at_least or more"));
        }
        let mut database = Open::to(at).await?;
        database.run(&script.prepare).await.map_err(SimulationError::Prepare)?;
        Ok(Self { script, database, bell })
    }

    /// Runs until `shutdown` becomes true. A step that fails is logged and left out.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        loop {
            let range = self.script.at_most - self.script.at_least;
            let pause = self.script.at_least + range.mul_f64(fraction());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = shutdown.wait_for(|stop| *stop) => break,
            }
            let step = choose(&self.script.steps, fraction());
            match self.database.step(&step.sql).await {
                Ok(()) => debug!("simulation: {}", step.name),
                Err(e) => warn!("the simulation's step \"{}\" failed: {e}", step.name),
            }
            if let Some(bell) = &self.bell {
                bell.notify_one();
            }
        }
        self.database.close().await;
    }
}

/// The step at a place between 0 and 1 of the sum of all weights.
fn choose(steps: &[Step], place: f64) -> &Step {
    let sum: f64 = steps.iter().map(|step| f64::from(step.weight)).sum();
    let mut left = place * sum;
    let mut chosen = &steps[0];
    for step in steps.iter().filter(|step| step.weight > 0) {
        chosen = step;
        left -= f64::from(step.weight);
        if left < 0.0 {
            break;
        }
    }
    chosen
}

/// A random number from 0 up to, but without, 1.
fn fraction() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness the steps come in one order: no harm.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use sqlx::Row;

    use super::super::{find, migrate, seed};
    use super::*;

    #[tokio::test]
    async fn every_step_of_the_example_runs_and_leaves_task_1_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gad.db");
        let example = find("gad").unwrap();
        let at = Database::Sqlite(path.clone());
        migrate(example, &at, false).await.unwrap();
        seed(example, &at).await.unwrap();
        let mut simulation = Simulation::open(example.sqlite.simulation, &at, None).await.unwrap();
        let mut database = sqlite::open(&path).await.unwrap();
        let task = "select * from tareas where id = 1";
        let rows = "select group_concat(quote(estado) || quote(updated_at) || quote(efectivos_asignados) || quote(deleted_at)) from tareas where id = 1";
        let before: String = sqlx::query(rows).fetch_one(&mut database).await.unwrap().get(0);
        for round in 0..60 {
            for step in &simulation.script.steps {
                simulation
                    .database
                    .step(&step.sql)
                    .await
                    .unwrap_or_else(|e| panic!("{}, round {round}: {e}", step.name));
            }
        }
        let after: String = sqlx::query(rows).fetch_one(&mut database).await.unwrap().get(0);
        assert_eq!(before, after);
        assert_eq!(sqlx::query(task).fetch_all(&mut database).await.unwrap().len(), 1);
        let new: i64 =
            sqlx::query("select count(*) from tareas where id > 15").fetch_one(&mut database).await.unwrap().get(0);
        assert!(new > 0, "no task was planned");
    }

    #[tokio::test]
    async fn every_step_runs_on_postgres_too_and_leaves_task_1_alone() {
        let server = relevo_tests::postgres::Postgres::start();
        let at = Database::Postgres(server.url(relevo_tests::postgres::DATABASE));
        let example = find("gad").unwrap();
        assert_eq!(migrate(example, &at, false).await.unwrap(), 3);
        assert_eq!(migrate(example, &at, false).await.unwrap(), 0);
        assert!(seed(example, &at).await.unwrap() && !seed(example, &at).await.unwrap());
        let mut simulation = Simulation::open(example.postgres.simulation, &at, None).await.unwrap();
        let before = server.sql("select * from tareas where id = 1");
        for round in 0..40 {
            for step in &simulation.script.steps {
                let done = simulation.database.step(&step.sql).await;
                done.unwrap_or_else(|e| panic!("{}, round {round}: {e}", step.name));
            }
        }
        assert_eq!(server.sql("select * from tareas where id = 1"), before);
        assert!(
            server.sql("select count(*) from tareas where id > 15").parse::<u64>().unwrap() > 0,
            "no task was planned"
        );
        let names = |sqlite: &str, postgres: &str| -> [Vec<String>; 2] {
            [sqlite, postgres].map(|file| {
                let script: Script = toml::from_str(file).unwrap();
                script.steps.iter().map(|step| format!("{} {}", step.name, step.weight)).collect()
            })
        };
        let [sqlite, postgres] = names(example.sqlite.simulation, example.postgres.simulation);
        assert_eq!(sqlite, postgres, "one day, two databases");
        server.sql("drop table _relevo_migrations");
        let refused = migrate(example, &at, false).await.unwrap_err().to_string();
        assert!(refused.contains("efectivos, tareas, usuarios") && refused.contains("--example"), "{refused}");
    }

    #[test]
    fn steps_are_chosen_by_weight() {
        let step = |name: &str, weight| Step { name: name.into(), weight, sql: String::new() };
        let steps = [step("never", 0), step("often", 3), step("seldom", 1)];
        assert_eq!(choose(&steps, 0.0).name, "often");
        assert_eq!(choose(&steps, 0.74).name, "often");
        assert_eq!(choose(&steps, 0.76).name, "seldom");
        assert_eq!(choose(&steps, 0.999_999).name, "seldom");
    }

    #[tokio::test]
    async fn a_file_that_can_t_be_used_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = Database::Sqlite(folder.path().join("x.db"));
        for file in [
            "",
            "at_least = 1\nat_most = 2\nstep = []",
            "at_least = 2\nat_most = 1\n[[step]]\nname = \"x\"\nweight = 1\nsql = \"\"",
        ] {
            assert!(Simulation::open(file, &at, None).await.is_err(), "{file}");
        }
    }
}
