//! Looks at a journal from outside, also while a server has it open, and changes nothing. `relevo doctor`,
//! `relevo migrate status` and `relevo capture status` call this.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::index::unsql;
use super::open::{APPLICATION, FILE, check_header};
use super::outside::Outside;
use super::{JournalError, SourceState};
use crate::event::{Micros, Name};

/// What a journal says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inspected {
    pub(crate) format: i64,
    /// When its newest record was applied.
    pub(crate) newest: Option<Micros>,
}

/// None: there is no journal yet.
///
/// # Errors
/// As opening it, but for `Locked`.
pub(crate) async fn inspect(folder: &Path) -> Result<Option<Inspected>, JournalError> {
    let Some(mut journal) = Outside::open(folder).await? else { return Ok(None) };
    let wrap = journal.wrap();
    let newest: Option<i64> = sqlx::query_scalar("SELECT at FROM record ORDER BY first DESC LIMIT 1")
        .fetch_optional(&mut journal.conn)
        .await
        .map_err(wrap)?;
    let format = journal.format;
    journal.close().await?;
    Ok(Some(Inspected { format, newest: newest.map(|at| Micros(unsql(at))) }))
}

/// Where each source stands; nothing where there is no journal yet.
///
/// # Errors
/// As [`inspect`].
pub(crate) async fn sources(folder: &Path) -> Result<BTreeMap<Name, SourceState>, JournalError> {
    let Some(mut journal) = Outside::open(folder).await? else { return Ok(BTreeMap::new()) };
    let sources = journal.sources().await?;
    journal.close().await?;
    Ok(sources)
}

/// The format of the journal in a folder, read from the file's header; None where there is no journal yet.
pub(crate) fn format(folder: &Path) -> Result<Option<i64>, JournalError> {
    let path = folder.join(FILE);
    check_header(&path)?;
    let mut head = Vec::new();
    match File::open(&path) {
        Ok(file) => file.take(100).read_to_end(&mut head)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // The places of `user_version` and `application_id`: https://sqlite.org/fileformat.html, 1.3.
    let number = |at: usize| head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
    match (number(60), number(68)) {
        // Made, and its first page is in the WAL yet.
        (None | Some(0), None | Some(0)) => Ok(None),
        (Some(format), Some(application)) if i64::from(application) == APPLICATION => Ok(Some(format.into())),
        _ => Err(JournalError::Corrupt { path, why: "it is another program's database".into() }),
    }
}
