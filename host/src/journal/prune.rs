//! What retention takes, a small step in one transaction each, so that the writer is never busy with it
//! for long. Freed pages are used again; the file doesn't shrink.

use sqlx::SqliteConnection;

use super::apply::{self, Visible};
use super::index::{Cursor, Index, sql, unsql};
use super::script::Script;
use super::shared::Shared;
use super::shares;
use super::{Control, JournalError, checkpoints, codec, letters, unfinished};
use crate::event::{Name, Number};
use crate::message::ChannelName;

/// One step.
#[derive(Clone, Debug)]
pub(super) enum Prune {
    /// Everything up to a record's last number: the oldest must go for the size.
    All { through: Number },
    /// Events, controls and commits without history, up to a record's last number: they are too old.
    Loose { through: Number },
    /// A stream channel's messages in records up to the one that begins at `through`.
    Channel { channel: ChannelName, through: Number },
    /// Moves so many rows of the channels' index, which the writer then leaves as it is.
    #[cfg(test)]
    Index(u64),
    /// A checkpoint gives way, for the size.
    Checkpoint { number: Number },
    /// What checkpoints that were dropped kept.
    Dropped,
    /// Dead letters up to a number.
    Letters { through: Number },
    /// Idempotency keys from before a moment, in microseconds.
    Keys { before: u64 },
}

/// How many rows one step deletes at most.
pub(super) const STEP: i64 = 64;

/// Returns whether it deleted anything.
pub(super) async fn step(
    conn: &mut SqliteConnection,
    index: &mut Index,
    shared: &Shared,
    prune: Prune,
) -> Result<bool, JournalError> {
    // Numbers are never given twice, even when the newest record goes.
    set(conn, "next", index.next).await?;
    match prune {
        // The pipeline may have gone back since retention looked.
        Prune::All { through } | Prune::Loose { through } if through > holds(index) => Ok(false),
        Prune::All { through } => {
            raise_events(conn, index, shared, through).await?;
            for id in shares::delete_through(conn, index, through).await? {
                if let Some((name, _)) = index.channels.iter().find(|(_, known)| **known == id) {
                    raise_channel(conn, shared, name, id, through).await?;
                }
            }
            delete_records(conn, "(kind <> 3 OR held = 0) AND last <= ?1", through).await
        }
        Prune::Loose { through } => {
            raise_events(conn, index, shared, through).await?;
            delete_records(conn, "held = 0 AND last <= ?1", through).await
        }
        Prune::Channel { channel, through } => {
            let Some(id) = index.channels.get(&channel).copied() else { return Ok(false) };
            prune_channel(conn, index, shared, (&channel, id), through).await
        }
        #[cfg(test)]
        Prune::Index(rows) => Ok(shares::move_only(conn, index, rows).await?),
        Prune::Checkpoint { number } => checkpoints::drop_one(conn, index, number).await,
        Prune::Dropped => checkpoints::delete_some(conn).await,
        Prune::Letters { through } => letters::delete_some(conn, through).await.map(|deleted| deleted > 0),
        Prune::Keys { before } => {
            let deleted = sqlx::query(
                "DELETE FROM idempotency WHERE key IN (SELECT key FROM idempotency WHERE at < ? ORDER BY at LIMIT ?)",
            )
            .bind(sql(before))
            .bind(STEP)
            .execute(conn)
            .await?;
            Ok(deleted.rows_affected() > 0)
        }
    }
}

/// The number up to which every pipeline that is waited for has passed the records, as the disk has it.
fn holds(index: &Index) -> Number {
    let cursors = index.known.cursors.values().filter(|cursor| cursor.gap.is_none());
    cursors.map(Cursor::on_disk).min().unwrap_or(Number(u64::MAX))
}

/// Deletes records and the chunks that hold their bodies.
async fn delete_records(
    conn: &mut SqliteConnection,
    which: &'static str,
    through: Number,
) -> Result<bool, JournalError> {
    let text = format!(
        "DELETE FROM chunk WHERE id IN (SELECT chunk FROM record WHERE {which} AND first <= ?1 AND chunk IS NOT NULL)"
    );
    sqlx::query(sqlx::AssertSqlSafe(text)).bind(sql(through.0)).execute(&mut *conn).await?;
    let text = format!("DELETE FROM record WHERE {which} AND first <= ?1");
    let deleted = sqlx::query(sqlx::AssertSqlSafe(text)).bind(sql(through.0)).execute(conn).await?;
    Ok(deleted.rows_affected() > 0)
}

async fn prune_channel(
    conn: &mut SqliteConnection,
    index: &mut Index,
    shared: &Shared,
    (name, id): (&ChannelName, i64),
    through: Number,
) -> Result<bool, JournalError> {
    let records = shares::delete_oldest(conn, index, id, through, STEP).await?;
    let mut floor = 0;
    for first in records.iter().copied() {
        let last: Option<i64> = sqlx::query_scalar("SELECT last FROM record WHERE first = ?")
            .bind(first)
            .fetch_optional(&mut *conn)
            .await?;
        floor = floor.max(unsql(last.unwrap_or(first)));
        sqlx::query(
            "DELETE FROM record WHERE first = ?1 AND kind = ?2 AND NOT EXISTS (SELECT 1 FROM channel_index WHERE record = ?1) \
             AND NOT EXISTS (SELECT 1 FROM channel_recent WHERE record = ?1)",
        )
        .bind(first)
        .bind(codec::COMMIT)
        .execute(&mut *conn)
        .await?;
    }
    if floor > 0 {
        raise_channel(conn, shared, name, id, Number(floor)).await?;
    }
    Ok(!records.is_empty())
}

/// A floor is raised in memory before the rows are gone for readers: whoever misses rows sees it.
async fn raise_events(
    conn: &mut SqliteConnection,
    index: &mut Index,
    shared: &Shared,
    through: Number,
) -> Result<(), JournalError> {
    let floor = {
        let mut floors = shared.floors();
        floors.events = floors.events.max(through);
        floors.events
    };
    checkpoints::drop_before(conn, index, floor).await?;
    letters::forget_events(conn, floor).await?;
    set(conn, "events_floor", floor.0).await
}

async fn raise_channel(
    conn: &mut SqliteConnection,
    shared: &Shared,
    name: &ChannelName,
    id: i64,
    through: Number,
) -> Result<(), JournalError> {
    {
        let mut floors = shared.floors();
        let floor = floors.channels.entry(name.clone()).or_default();
        *floor = (*floor).max(through);
    }
    sqlx::query("UPDATE channel SET floor = max(floor, ?) WHERE id = ?")
        .bind(sql(through.0))
        .bind(id)
        .execute(conn)
        .await?;
    Ok(())
}

async fn set(conn: &mut SqliteConnection, name: &'static str, value: u64) -> Result<(), JournalError> {
    sqlx::query("INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
        .bind(name)
        .bind(value.to_string())
        .execute(conn)
        .await?;
    Ok(())
}

/// Marks a pipeline that retention passes: it holds nothing back until it is rebuilt, or has read the
/// record that says so, `told`.
pub(super) async fn mark_gap(
    conn: &mut SqliteConnection,
    index: &mut Index,
    pipeline: &Name,
    told: Number,
) -> Result<(), JournalError> {
    sqlx::query("UPDATE cursor SET gap = ? WHERE pipeline = ?")
        .bind(sql(told.0))
        .bind(&**pipeline)
        .execute(conn)
        .await?;
    if let Some(cursor) = index.known.cursors.get_mut(pipeline) {
        cursor.gap = Some(told);
    }
    Ok(())
}

/// Forgets pipelines: cursor, state, checkpoints, and what they last said in state channels.
pub(super) async fn keep_pipelines(
    conn: &mut SqliteConnection,
    index: &mut Index,
    names: &[Name],
    keep: u32,
) -> Result<Visible, JournalError> {
    let mut visible = Visible::default();
    let gone: Vec<Name> = index.known.cursors.keys().filter(|n| !names.contains(n)).cloned().collect();
    for name in gone {
        for text in [
            "DELETE FROM cursor WHERE pipeline = ?",
            "DELETE FROM state WHERE pipeline = ?",
            "DELETE FROM state_message WHERE pipeline = ?",
        ] {
            sqlx::query(text).bind(&*name).execute(&mut *conn).await?;
        }
        checkpoints::drop_all(conn, index, &name).await?;
        index.known.cursors.remove(&name);
        let piece = codec::prepare_control(Control::PipelineRemoved { pipeline: name.clone() })?;
        let mut script = Script::new(conn);
        let (_, told) = apply::control(&mut script, index, piece, keep).await?;
        script.run().await?;
        visible.records.extend(told.records);
        tracing::warn!(
            pipeline = %name,
            "the pipeline is no longer configured: its cursor and state are gone, and clients are told of a gap"
        );
    }
    let names = names.to_vec();
    unfinished::discard(conn, index, &move |key| !names.contains(&key.pipeline)).await?;
    Ok(visible)
}
