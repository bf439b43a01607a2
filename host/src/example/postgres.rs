//! An example's tables in PostgreSQL.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use super::Example;
use super::migrate::{Applied, MigrateError, SEED, hash, shortened};

/// What was applied, and to which content: one row a script.
const APPLIED: &str = "create table if not exists _relevo_migrations (
  name text primary key, hash text not null, applied_at timestamptz not null default now()
)";

/// See [`super::migrate`]. `at`: how the database is named in errors.
pub(super) async fn migrate(example: &Example, url: &str, at: &str, beside: bool) -> Result<usize, MigrateError> {
    let mut database = open(url, at).await?;
    let wrong = |cause| MigrateError::Database { at: at.to_owned(), cause };
    let mut transaction = database.begin().await.map_err(wrong)?;
    // Two that migrate at once wait for each other.
    sqlx::query("select pg_advisory_xact_lock(hashtext('relevo migrate'))")
        .execute(&mut *transaction)
        .await
        .map_err(wrong)?;
    let tables: Vec<String> =
        sqlx::query_scalar("select tablename::text from pg_tables where schemaname = current_schema() order by 1")
            .fetch_all(&mut *transaction)
            .await
            .map_err(wrong)?;
    let ours = tables.iter().any(|table| table == "_relevo_migrations");
    let foreign: Vec<&str> = tables.iter().map(String::as_str).filter(|t| !t.starts_with("_relevo_")).collect();
    if !ours && !beside && !foreign.is_empty() {
        return Err(MigrateError::Foreign { at: at.to_owned(), tables: shortened(&foreign) });
    }
    may_make(&mut transaction, at).await?;
    sqlx::query(APPLIED).execute(&mut *transaction).await.map_err(wrong)?;
    let mut ran = 0;
    for script in example.postgres.migrations {
        let name = format!("{}/{}", example.name, script.name);
        if run_once(&mut transaction, at, &name, script.sql).await? {
            ran += 1;
        }
    }
    transaction.commit().await.map_err(wrong)?;
    let _ = database.close().await;
    Ok(ran)
}

/// Whether our role may make tables; the database would say so without saying what to do.
async fn may_make(database: &mut PgConnection, at: &str) -> Result<(), MigrateError> {
    let asked = "select quote_ident(current_user), quote_ident(current_schema()), \
                 coalesce(has_schema_privilege(current_schema(), 'create'), false), current_setting('search_path')";
    let (role, schema, may, path): (String, Option<String>, bool, String) = sqlx::query_as(asked)
        .fetch_one(database)
        .await
        .map_err(|cause| MigrateError::Database { at: at.to_owned(), cause })?;
    if may {
        return Ok(());
    }
    let at = at.to_owned();
    let Some(schema) = schema else { return Err(MigrateError::Nowhere { at, role, path }) };
    let grant = format!("GRANT CREATE ON SCHEMA {schema} TO {role};");
    Err(MigrateError::Forbidden { at, role, schema, grant })
}

/// See [`super::seed`].
pub(super) async fn seed(example: &Example, url: &str, at: &str) -> Result<bool, MigrateError> {
    let mut database = open(url, at).await?;
    let wrong = |cause| MigrateError::Database { at: at.to_owned(), cause };
    let mut transaction = database.begin().await.map_err(wrong)?;
    let name = format!("{}/{SEED}", example.name);
    let seeded = sqlx::query("select 1 from _relevo_migrations where name = $1")
        .bind(&name)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(wrong)?
        .is_some();
    // A newer seed is not for a database that has its rows already.
    let now = !seeded && run_once(&mut transaction, at, &name, example.postgres.seed).await?;
    transaction.commit().await.map_err(wrong)?;
    let _ = database.close().await;
    Ok(now)
}

/// See [`super::standing`].
pub(super) async fn applied(url: &str, at: &str) -> Result<Applied, MigrateError> {
    let mut database = open(url, at).await?;
    let wrong = |cause| MigrateError::Database { at: at.to_owned(), cause };
    let ours: bool = sqlx::query_scalar("select to_regclass('_relevo_migrations') is not null")
        .fetch_one(&mut database)
        .await
        .map_err(wrong)?;
    let mut applied = Applied::new();
    if ours {
        let when = r#"to_char(applied_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"#;
        let rows = sqlx::query(AssertSqlSafe(format!("select name, hash, {when} from _relevo_migrations")))
            .fetch_all(&mut database)
            .await
            .map_err(wrong)?;
        applied.extend(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))));
    }
    let _ = database.close().await;
    Ok(applied)
}

/// Runs a script unless it was run before.
async fn run_once(database: &mut PgConnection, at: &str, name: &str, sql: &'static str) -> Result<bool, MigrateError> {
    let wrong = |cause| MigrateError::Database { at: at.to_owned(), cause };
    let applied = sqlx::query("select hash from _relevo_migrations where name = $1")
        .bind(name)
        .fetch_optional(&mut *database)
        .await
        .map_err(wrong)?;
    if let Some(row) = applied {
        if row.get::<String, _>(0) != hash(sql) {
            return Err(MigrateError::Changed { at: at.to_owned(), script: name.to_owned() });
        }
        return Ok(false);
    }
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *database).await.map_err(|cause| MigrateError::Script {
        at: at.to_owned(),
        script: name.to_owned(),
        cause,
    })?;
    sqlx::query("insert into _relevo_migrations (name, hash) values ($1, $2)")
        .bind(name)
        .bind(hash(sql))
        .execute(&mut *database)
        .await
        .map_err(wrong)?;
    Ok(true)
}

/// A connection to the example's database.
pub(super) async fn open(url: &str, at: &str) -> Result<PgConnection, MigrateError> {
    let wrong = |cause| MigrateError::Database { at: at.to_owned(), cause };
    let options: PgConnectOptions = url.parse().map_err(wrong)?;
    options.application_name("relevo example").disable_statement_logging().connect().await.map_err(wrong)
}
