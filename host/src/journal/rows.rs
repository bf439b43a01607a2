//! Writes many rows with few statements: a statement costs about 15 µs, whatever it writes.

use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection};

pub(super) type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

/// How many rows a statement takes. Few sizes, so that the statements stay prepared.
const SIZES: [usize; 5] = [256, 64, 16, 4, 1];

/// Runs `{head} VALUES (?, …), … {tail}` for all rows; `bind` binds the `columns` values of one.
pub(super) async fn write_rows<T>(
    conn: &mut SqliteConnection,
    head: &'static str,
    columns: usize,
    tail: &'static str,
    rows: &[T],
    mut bind: impl for<'q> FnMut(Query<'q>, &T) -> Query<'q>,
) -> Result<(), sqlx::Error> {
    let row = format!("({})", vec!["?"; columns].join(","));
    let mut rest = rows;
    for size in SIZES {
        while rest.len() >= size {
            let (now, later) = rest.split_at(size);
            rest = later;
            // Only our own constants and question marks.
            let text = format!("{head} VALUES {} {tail}", vec![row.as_str(); size].join(","));
            let query = now.iter().fold(sqlx::query(AssertSqlSafe(text)), &mut bind);
            query.execute(&mut *conn).await?;
        }
    }
    Ok(())
}
