//! Makes an example's tables in a SQLite file, and fills them. Keeps its hands off a database that
//! holds somebody else's tables.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use super::Example;
use super::migrate::{Applied, MigrateError, SEED, hash, shortened};
use crate::capture::sqlite::inspect::open_untouched;

/// What was applied, and to which content: one row a script.
const APPLIED: &str = "create table if not exists _relevo_migrations (
  name text primary key, hash text not null, applied_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ'))
) strict";

/// Applies what is not applied yet, making the file where there is none. Returns how many scripts
/// ran. `beside`: also in a database that holds other tables.
///
/// # Errors
/// Says what stands in the way; the database is as it was then.
pub(super) async fn migrate(example: &Example, path: &Path, beside: bool) -> Result<usize, MigrateError> {
    let mut database = open(path).await?;
    let database_error = |cause| MigrateError::Database { at: path.display().to_string(), cause };
    let mut transaction = database.begin_with("begin immediate").await.map_err(database_error)?;

    let tables =
        sqlx::query("select name from sqlite_schema where type = 'table' and name not like 'sqlite\\_%' escape '\\'")
            .fetch_all(&mut *transaction)
            .await
            .map_err(database_error)?;
    let tables: Vec<String> = tables.iter().map(|row| row.get(0)).collect();
    let ours = tables.iter().any(|table| table == "_relevo_migrations");
    let foreign: Vec<&str> = tables.iter().map(String::as_str).filter(|t| !t.starts_with("_relevo_")).collect();
    if !ours && !beside && !foreign.is_empty() {
        return Err(MigrateError::Foreign { at: path.display().to_string(), tables: shortened(&foreign) });
    }

    sqlx::query(APPLIED).execute(&mut *transaction).await.map_err(database_error)?;
    let mut ran = 0;
    for script in example.sqlite.migrations {
        let name = format!("{}/{}", example.name, script.name);
        if run_once(&mut transaction, path, &name, script.sql).await? {
            ran += 1;
        }
    }
    transaction.commit().await.map_err(database_error)?;
    let _ = database.close().await;
    Ok(ran)
}

/// Fills the tables, once in the database's life. Returns whether it did now.
///
/// # Errors
/// Says what stands in the way; the database is as it was then.
pub(super) async fn seed(example: &Example, path: &Path) -> Result<bool, MigrateError> {
    let mut database = open(path).await?;
    let database_error = |cause| MigrateError::Database { at: path.display().to_string(), cause };
    let mut transaction = database.begin_with("begin immediate").await.map_err(database_error)?;
    let name = format!("{}/{SEED}", example.name);
    let seeded = sqlx::query("select 1 from _relevo_migrations where name = ?")
        .bind(&name)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(database_error)?
        .is_some();
    // A newer seed is not for a database that has its rows already.
    let now = !seeded && run_once(&mut transaction, path, &name, example.sqlite.seed).await?;
    transaction.commit().await.map_err(database_error)?;
    let _ = database.close().await;
    Ok(now)
}

/// See [`super::standing`].
pub(super) async fn applied(path: &Path) -> Result<Applied, MigrateError> {
    if !path.exists() {
        return Ok(Applied::new());
    }
    let database_error = |cause| MigrateError::Database { at: path.display().to_string(), cause };
    let mut database = open_untouched(path).await.map_err(database_error)?;
    let ours = sqlx::query("select 1 from sqlite_schema where type = 'table' and name = '_relevo_migrations'")
        .fetch_optional(&mut database)
        .await
        .map_err(database_error)?;
    let mut applied = Applied::new();
    if ours.is_some() {
        let rows = sqlx::query("select name, hash, applied_at from _relevo_migrations")
            .fetch_all(&mut database)
            .await
            .map_err(database_error)?;
        applied.extend(rows.iter().map(|row| (row.get::<String, _>(0), (row.get::<String, _>(1), row.get(2)))));
    }
    let _ = database.close().await;
    Ok(applied)
}

/// Runs a script unless it was run before.
async fn run_once(
    database: &mut SqliteConnection,
    path: &Path,
    name: &str,
    sql: &'static str,
) -> Result<bool, MigrateError> {
    let database_error = |cause| MigrateError::Database { at: path.display().to_string(), cause };
    let hash = hash(sql);
    let applied = sqlx::query("select hash from _relevo_migrations where name = ?")
        .bind(name)
        .fetch_optional(&mut *database)
        .await
        .map_err(database_error)?;
    if let Some(row) = applied {
        if row.get::<String, _>(0) != hash {
            return Err(MigrateError::Changed { at: path.display().to_string(), script: name.to_owned() });
        }
        return Ok(false);
    }
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *database).await.map_err(|cause| MigrateError::Script {
        at: path.display().to_string(),
        script: name.to_owned(),
        cause,
    })?;
    sqlx::query("insert into _relevo_migrations (name, hash) values (?, ?)")
        .bind(name)
        .bind(hash)
        .execute(&mut *database)
        .await
        .map_err(database_error)?;
    Ok(true)
}

/// A connection to the example's file. WAL, so that writers and the capture don't wait for each other.
pub(super) async fn open(path: &Path) -> Result<SqliteConnection, MigrateError> {
    if let Some(folder) = path.parent() {
        crate::folder::private(folder).map_err(|cause| MigrateError::Io { at: folder.display().to_string(), cause })?;
    }
    // It holds people's passwords, if only digests of them.
    crate::folder::private_file(path).map_err(|cause| MigrateError::Io { at: path.display().to_string(), cause })?;
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10))
        .disable_statement_logging()
        .connect()
        .await
        .map_err(|cause| MigrateError::Database { at: path.display().to_string(), cause })
}

#[cfg(test)]
mod tests {
    use super::super::{Database, Standing, find, standing};
    use super::*;

    async fn run(path: &Path, sql: &'static str) {
        let mut database = open(path).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut database).await.unwrap();
        database.close().await.unwrap();
    }

    async fn count(path: &Path, sql: &'static str) -> i64 {
        let mut database = open(path).await.unwrap();
        sqlx::query(sql).fetch_one(&mut database).await.unwrap().get(0)
    }

    #[tokio::test]
    async fn an_empty_place_gets_the_tables_and_rows_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/gad.db");
        let example = find("gad").unwrap();
        assert_eq!(migrate(example, &path, false).await.unwrap(), 3);
        assert!(seed(example, &path).await.unwrap());
        assert_eq!(migrate(example, &path, false).await.unwrap(), 0);
        assert!(!seed(example, &path).await.unwrap());
        assert_eq!(count(&path, "select count(*) from usuarios").await, 12);
        assert_eq!(count(&path, "select count(*) from tareas where id = 1 and estado = 'PROGRAMMED'").await, 1);
    }

    #[tokio::test]
    async fn a_database_with_other_people_s_tables_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("theirs.db");
        run(&path, "create table a (x); create table b (x); create table c (x); create table d (x)").await;
        let example = find("gad").unwrap();
        let refused = migrate(example, &path, false).await.unwrap_err().to_string();
        assert!(refused.contains("a, b, c and 1 more") && refused.contains("--example"), "{refused}");
        assert_eq!(count(&path, "select count(*) from sqlite_schema where type = 'table'").await, 4);
        assert_eq!(migrate(example, &path, true).await.unwrap(), 3);
        assert_eq!(migrate(example, &path, false).await.unwrap(), 0, "it was asked for once");
    }

    #[tokio::test]
    async fn a_script_that_fails_leaves_the_database_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("theirs.db");
        run(&path, "create table tareas (x)").await;
        let failed = migrate(find("gad").unwrap(), &path, true).await.unwrap_err();
        assert!(matches!(&failed, MigrateError::Script { script, .. } if script == "gad/0003_tareas"), "{failed}");
        assert_eq!(count(&path, "select count(*) from sqlite_schema where type = 'table'").await, 1);
    }

    #[tokio::test]
    async fn a_script_that_was_changed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gad.db");
        let example = find("gad").unwrap();
        migrate(example, &path, false).await.unwrap();
        run(&path, "update _relevo_migrations set hash = 'x' where name = 'gad/0002_efectivos'").await;
        let failed = migrate(example, &path, false).await.unwrap_err().to_string();
        assert!(failed.contains("gad/0002_efectivos"), "{failed}");
    }

    #[tokio::test]
    async fn it_says_how_each_script_stands_and_makes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gad.db");
        let database = Database::Sqlite(path.clone());
        let example = find("gad").unwrap();
        let all = standing(example, &database).await.unwrap();
        assert!(all.len() == 3 && all.iter().all(|(_, standing)| *standing == Standing::Pending), "{all:?}");
        assert!(!path.exists());
        run(&path, "create table theirs (x)").await;
        assert_eq!(standing(example, &database).await.unwrap()[0].1, Standing::Pending);
        migrate(example, &path, true).await.unwrap();
        let all = standing(example, &database).await.unwrap();
        assert!(all.iter().all(|(_, standing)| matches!(standing, Standing::Applied { .. })), "{all:?}");
        run(&path, "update _relevo_migrations set hash = 'x' where name = 'gad/0002_efectivos'").await;
        let all = standing(example, &database).await.unwrap();
        assert!(matches!(&all[1], (name, Standing::Changed { .. }) if name == "gad/0002_efectivos"), "{all:?}");
        assert!(!folder.path().join("gad.db-wal").exists(), "nothing was left beside it");
    }

    #[test]
    fn an_example_that_is_not_there_names_those_that_are() {
        assert_eq!(find("dag").unwrap_err(), "gad");
    }
}
