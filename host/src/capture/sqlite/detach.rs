//! Takes everything of ours out of a watched database, of whichever format it is.

use std::path::Path;

use sqlx::{Connection as _, SqliteConnection};

use super::connect;
use super::error::CaptureError;
use super::tables::{self, is_there, run};
use super::triggers::quote;

/// Takes everything of ours out of a database: while a trigger names a column, SQLite refuses to
/// drop it. Capture, when it starts again, takes it for a new source and says `gap`. Returns what was taken out,
/// in words.
///
/// # Errors
/// If the address is none, the file is missing, or the database refuses.
pub(crate) async fn detach(url: &str, data: &Path) -> Result<Vec<String>, CaptureError> {
    let path = connect::path(url, data)?;
    let mut db = connect::open(&path).await?;
    let (triggers, tables) = remove(&mut db).await?;
    db.close().await?;
    let count = |count: usize, what| (count > 0).then(|| format!("{count} {what} of relevo's own"));
    Ok(count(triggers, "triggers").into_iter().chain(count(tables, "tables")).collect())
}

/// How many triggers and tables there were.
async fn remove(db: &mut SqliteConnection) -> Result<(usize, usize), CaptureError> {
    let mut tx = db.begin_with("BEGIN IMMEDIATE").await?;
    let triggers = tables::triggers(&mut tx).await?;
    for name in triggers.keys() {
        run(&mut tx, format!("DROP TRIGGER {}", quote(name))).await?;
    }
    let mut removed = 0;
    for table in tables::NAMES {
        if is_there(&mut tx, table).await? {
            run(&mut tx, format!("DROP TABLE {table}")).await?;
            removed += 1;
        }
    }
    tx.commit().await?;
    Ok((triggers.len(), removed))
}
