//! Statements of a transaction that run together. A run goes to SQLite's thread and back, and wakes both ends: that takes
//! longer than most statements do. What one small commit writes is one run, with its BEGIN and its COMMIT.

use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, Encode, Sqlite, SqliteConnection, Type};

/// How many rows a statement takes where there are more than [`FEW`]. Few sizes, so that the statements stay prepared.
const SIZES: [usize; 3] = [256, 64, 16];

/// So many rows, or fewer, are one statement that runs together with others. What many rows take runs alone: of texts
/// made of such statements there would be too many to stay prepared.
const FEW: usize = 4;

/// How many texts stay prepared: a commit's depends on how many rows of each kind it has, from none to [`FEW`].
pub(super) const TEXTS: usize = 512;

/// See the module. What was added and has not run when it is dropped, never runs.
pub(super) struct Script<'c> {
    conn: &'c mut SqliteConnection,
    text: String,
    values: Values,
}

/// What the question marks of statements stand for, in order.
#[derive(Default)]
pub(super) struct Values {
    arguments: SqliteArguments,
    wrong: Option<BoxDynError>,
}

impl Values {
    pub(super) fn bind<'v>(&mut self, value: impl Encode<'v, Sqlite> + Type<Sqlite>) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.wrong.get_or_insert(error);
        }
        self
    }
}

impl<'c> Script<'c> {
    pub(super) fn new(conn: &'c mut SqliteConnection) -> Self {
        Self { conn, text: String::new(), values: Values::default() }
    }

    /// Adds a statement. Its parameters are plain question marks: a number would count from the first statement on.
    pub(super) fn add(&mut self, statement: &str) -> &mut Values {
        if !self.text.is_empty() {
            self.text.push(';');
        }
        self.text.push_str(statement);
        &mut self.values
    }

    /// Runs what was added.
    pub(super) async fn run(&mut self) -> Result<(), sqlx::Error> {
        let (text, values) = (std::mem::take(&mut self.text), std::mem::take(&mut self.values));
        if let Some(wrong) = values.wrong {
            return Err(sqlx::Error::Encode(wrong));
        }
        if !text.is_empty() {
            // Only our own constants and question marks.
            sqlx::query_with(AssertSqlSafe(text), values.arguments).execute(&mut *self.conn).await?;
        }
        Ok(())
    }

    /// Runs what was added, and gives the connection for a statement that answers.
    pub(super) async fn conn(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        self.run().await?;
        Ok(self.conn)
    }

    /// Adds `{head} VALUES (?, …), … {tail}` for all rows; `bind` binds the `columns` values of one.
    pub(super) async fn rows<T>(
        &mut self,
        head: &str,
        columns: usize,
        tail: &str,
        rows: &[T],
        mut bind: impl FnMut(&mut Values, &T),
    ) -> Result<(), sqlx::Error> {
        let row = format!("({})", vec!["?"; columns].join(","));
        let mut rest = rows;
        while !rest.is_empty() {
            let size = SIZES.into_iter().find(|&size| size <= rest.len()).unwrap_or(rest.len().min(FEW));
            let (now, later) = rest.split_at(size);
            rest = later;
            if rows.len() > FEW {
                self.run().await?;
            }
            let values = self.add(&format!("{head} VALUES {} {tail}", vec![row.as_str(); size].join(",")));
            now.iter().for_each(|row| bind(values, row));
        }
        if rows.len() > FEW {
            self.run().await?;
        }
        Ok(())
    }
}
