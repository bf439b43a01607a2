//! Makes an example's tables in a database, and fills them. Keeps its hands off a database that holds
//! somebody else's tables.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Example, Script, postgres, sqlite};
use crate::capture::said;

/// Why nothing was migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(
        "{at} holds tables that are not the example's ({tables}); nothing was changed. To make the example's tables beside them, say --example; to use another database, set RELEVO_DATABASE_URL"
    )]
    Foreign { at: String, tables: String },
    #[error("{at}: {script} was changed after it was applied; changes go into a new script")]
    Changed { at: String, script: String },
    #[error(
        "{at}: role {role} may not make tables in schema {schema}; nothing was changed. As the schema's owner or a superuser run in that database: {grant}"
    )]
    Forbidden { at: String, role: String, schema: String, grant: String },
    #[error(
        "{at}: role {role} may use no schema of its search_path ({path}), or none of them is there; nothing was changed. For the one that is meant, as its owner or a superuser run in that database: GRANT USAGE, CREATE ON SCHEMA it TO {role};"
    )]
    Nowhere { at: String, role: String, path: String },
    #[error("{at}: {script}: {}", said(.cause))]
    Script { at: String, script: String, cause: sqlx::Error },
    #[error("{at}: {}", said(.cause))]
    Database { at: String, cause: sqlx::Error },
    #[error("{at}: {cause}")]
    Io { at: String, cause: std::io::Error },
}

/// Where an example lives.
#[derive(Debug, Clone)]
pub enum Database {
    Sqlite(PathBuf),
    /// Its address.
    Postgres(String),
}

impl std::fmt::Display for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            // What is before it may hold a password.
            Self::Postgres(url) => {
                let place = url.rsplit_once('@').or_else(|| url.split_once("://")).map_or("", |(_, place)| place);
                f.write_str(place.split('?').next().unwrap_or_default())
            }
        }
    }
}

/// The seed's name among the scripts that were applied.
pub(super) const SEED: &str = "seed";

/// Applies what is not applied yet, making a SQLite file where there is none. Returns how many scripts
/// ran. `beside`: also in a database that holds other tables.
///
/// # Errors
/// Says what stands in the way; the database is as it was then.
pub async fn migrate(example: &Example, database: &Database, beside: bool) -> Result<usize, MigrateError> {
    match database {
        Database::Sqlite(path) => sqlite::migrate(example, path, beside).await,
        Database::Postgres(url) => postgres::migrate(example, url, &database.to_string(), beside).await,
    }
}

/// Fills the tables, once in the database's life. Returns whether it did now.
///
/// # Errors
/// Says what stands in the way; the database is as it was then.
pub async fn seed(example: &Example, database: &Database) -> Result<bool, MigrateError> {
    match database {
        Database::Sqlite(path) => sqlite::seed(example, path).await,
        Database::Postgres(url) => postgres::seed(example, url, &database.to_string()).await,
    }
}

/// What became of a script in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// RFC 3339.
    Applied {
        at: String,
    },
    Pending,
    /// It was applied in another form than this relevo has.
    Changed {
        at: String,
    },
}

/// The scripts that were applied, by name: their hash, and when.
pub(super) type Applied = BTreeMap<String, (String, String)>;

/// How each script of an example stands in a database, in their order. Changes nothing, and makes no file.
///
/// # Errors
/// If the database can't be read.
pub async fn standing(example: &Example, database: &Database) -> Result<Vec<(String, Standing)>, MigrateError> {
    let mut applied = match database {
        Database::Sqlite(path) => sqlite::applied(path).await?,
        Database::Postgres(url) => postgres::applied(url, &database.to_string()).await?,
    };
    let stands = |script: &Script| {
        let name = format!("{}/{}", example.name, script.name);
        let standing = match applied.remove(&name) {
            None => Standing::Pending,
            Some((found, at)) if found == hash(script.sql) => Standing::Applied { at },
            Some((_, at)) => Standing::Changed { at },
        };
        (name, standing)
    };
    Ok(example.scripts(database).migrations.iter().map(stands).collect())
}

/// What tells a script from one that was changed.
pub(super) fn hash(sql: &str) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, sql.as_bytes()).simple().to_string()
}

pub(super) fn shortened(names: &[&str]) -> String {
    match names {
        [first, second, third, _, ..] => format!("{first}, {second}, {third} and {} more", names.len() - 3),
        few => few.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::Database;

    #[test]
    fn an_address_is_shown_without_its_password() {
        let shown = |url: &str| Database::Postgres(url.to_owned()).to_string();
        assert_eq!(shown("postgres://ana:secret@db.example/shop?sslmode=require"), "db.example/shop");
        assert_eq!(shown("postgres://db.example/shop"), "db.example/shop");
    }
}
