//! Where the pipelines of a journal stand that no server has open, and what is wished for ahead of them. Backups ask
//! this of their copy.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::Row as _;

use super::index::{sql, unsql};
use super::outside::{Outside, stored};
use super::{Control, JournalError, PipelineState, RecordBody, Swap};
use crate::event::{Name, Number};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// Of each pipeline its cursor and the entries of the one owner that was asked for.
    pub(crate) pipelines: BTreeMap<Name, PipelineState>,
    /// The wishes for versions that their pipeline has not come to.
    pub(crate) swaps: Vec<Swap>,
}

/// Reads it; nothing where there is no journal. `owner`: whose entries of the states.
///
/// # Errors
/// As opening it, but for `Locked`.
pub(crate) async fn standing(folder: &Path, owner: &str) -> Result<Standing, JournalError> {
    let Some(mut journal) = Outside::open(folder).await? else { return Ok(Standing::default()) };
    let wrap = journal.wrap();
    let mut found = Standing::default();
    let cursors = sqlx::query("SELECT pipeline, number FROM cursor ORDER BY pipeline");
    for row in cursors.fetch_all(&mut journal.conn).await.map_err(&wrap)? {
        let pipeline: String = row.try_get(0).map_err(&wrap)?;
        let cursor = Number(unsql(row.try_get(1).map_err(&wrap)?));
        let mut state = PipelineState { cursor, ..PipelineState::default() };
        let entries = sqlx::query("SELECT key, value FROM state WHERE pipeline = ? AND owner = ?");
        for row in entries.bind(&pipeline).bind(owner).fetch_all(&mut journal.conn).await.map_err(&wrap)? {
            state.put(owner, row.try_get(0).map_err(&wrap)?, row.try_get(1).map_err(&wrap)?);
        }
        found.pipelines.insert(pipeline.into(), state);
    }
    let from = found.pipelines.values().map(|state| state.cursor).min().unwrap_or_default();
    let controls = "SELECT first, last, kind, at, size, held, life, pos_commit, pos_index, \
                    coalesce(body, (SELECT c.body FROM chunk c WHERE c.id = record.chunk)) \
                    FROM record WHERE kind = 3 AND first > ? ORDER BY first";
    for row in sqlx::query(controls).bind(sql(from.0)).fetch_all(&mut journal.conn).await.map_err(&wrap)? {
        let damaged = |why| JournalError::Corrupt { path: journal.path.clone(), why };
        let record = stored(&row).map_err(&wrap)?.decode().map_err(damaged)?;
        let ahead = |swap: &Swap| found.pipelines.get(&swap.pipeline).is_some_and(|state| state.cursor < record.first);
        if let RecordBody::Control(Control::SwapWanted(swap)) = record.body
            && ahead(&swap)
        {
            found.swaps.push(*swap);
        }
    }
    journal.close().await?;
    Ok(found)
}
