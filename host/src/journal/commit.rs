//! Applies commits: a pipeline's cursor, its state, its messages and their indexes.

use std::sync::Arc;

use sqlx::SqliteConnection;

use super::apply::{Result, Visible, insert};
use super::codec::{Newest, PreparedCommit, Share};
use super::index::{Cursor, Index, sql};
use super::rows::write_rows;
use super::{JournalError, RecordBody, StateChange, checkpoints, shares};
use crate::event::{Name, Number};
use crate::message::ChannelName;

/// Refuses a commit that doesn't begin where the pipeline stands.
pub(super) fn fence(index: &Index, commit: &PreparedCommit) -> Result<()> {
    let found = index.known.cursors.get(&commit.pipeline).map(|c| c.number);
    if found == commit.after {
        return Ok(());
    }
    Err(JournalError::Conflict { pipeline: commit.pipeline.clone(), expected: commit.after, found })
}

pub(super) async fn commit(
    conn: &mut SqliteConnection,
    index: &mut Index,
    commit: PreparedCommit,
) -> Result<(Number, Visible)> {
    let PreparedCommit { pipeline, cursor, reset, pieces, shares, newest, .. } = commit;
    let at = index.now();
    let gap = index.known.cursors.get(&pipeline).and_then(|c| c.gap_after(cursor)).filter(|_| !reset);
    let keeping = index.keeping.get(&pipeline).copied();
    if reset {
        if let Some(checkpoint) = keeping {
            checkpoints::keep_all(conn, checkpoint, &pipeline).await?;
        }
        sqlx::query("DELETE FROM state WHERE pipeline = ?").bind(&*pipeline).execute(&mut *conn).await?;
    }
    save_cursor(conn, &pipeline, cursor, gap).await?;
    let mut firsts = Vec::with_capacity(pieces.len());
    let mut next = index.next;
    for (place, piece) in pieces.iter().enumerate() {
        let held = shares.iter().any(|s| s.piece == place);
        insert(conn, piece, next, at, held, None).await?;
        if let RecordBody::Commit(committed) = &piece.content {
            change_state(conn, &pipeline, keeping, &committed.state).await?;
        }
        firsts.push(next);
        next += piece.numbers;
    }
    index_shares(conn, index, &shares, &firsts).await?;
    keep_newest(conn, index, &pipeline, newest, &firsts).await?;
    index.next = next;
    index.known.cursors.insert(pipeline, Cursor { number: cursor, saved: Some(cursor), gap });
    let records = pieces.into_iter().zip(firsts).map(|(piece, first)| Arc::new(piece.number(Number(first))));
    Ok((Number(next - 1), Visible { records: records.collect(), restart: None }))
}

pub(super) async fn save_cursor(
    conn: &mut SqliteConnection,
    pipeline: &str,
    cursor: Number,
    gap: Option<Number>,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO cursor (pipeline, number, gap) VALUES (?, ?, ?) \
         ON CONFLICT (pipeline) DO UPDATE SET number = excluded.number, gap = excluded.gap",
    )
    .bind(pipeline)
    .bind(sql(cursor.0))
    .bind(gap.map_or(0, |told| sql(told.0)))
    .execute(conn)
    .await?;
    Ok(())
}

/// `keeping`: for which checkpoint what is replaced is kept.
async fn change_state(
    conn: &mut SqliteConnection,
    pipeline: &Name,
    keeping: Option<Number>,
    changes: &[StateChange],
) -> Result<()> {
    // The last change of an entry wins.
    let mut last = std::collections::BTreeMap::new();
    for change in changes {
        last.insert((&change.owner, &change.key), change.value.as_ref());
    }
    if let Some(checkpoint) = keeping {
        let entries: Vec<_> = last.keys().map(|(owner, key)| (*owner, &***key)).collect();
        checkpoints::keep(conn, checkpoint, pipeline, &entries).await?;
    }
    let (mut set, mut deleted) = (Vec::new(), Vec::new());
    for ((owner, key), value) in last {
        match value {
            Some(value) => set.push((owner, key, value)),
            None => deleted.push((owner, key)),
        }
    }
    let head = "INSERT INTO state (pipeline, owner, key, value)";
    let tail = "ON CONFLICT (pipeline, owner, key) DO UPDATE SET value = excluded.value";
    write_rows(conn, head, 4, tail, &set, |query, (owner, key, value)| {
        query.bind(pipeline.clone()).bind((*owner).clone()).bind(key.to_string()).bind((*value).clone())
    })
    .await?;
    for (owner, key) in deleted {
        sqlx::query("DELETE FROM state WHERE pipeline = ? AND owner = ? AND key = ?")
            .bind(&**pipeline)
            .bind(&**owner)
            .bind(&**key)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

async fn channel(conn: &mut SqliteConnection, index: &mut Index, name: &ChannelName) -> Result<i64> {
    if let Some(id) = index.channels.get(name) {
        return Ok(*id);
    }
    let id = sqlx::query_scalar("INSERT INTO channel (name) VALUES (?) RETURNING id")
        .bind(name.as_str())
        .fetch_one(conn)
        .await?;
    index.channels.insert(name.clone(), id);
    Ok(id)
}

async fn index_shares(conn: &mut SqliteConnection, index: &mut Index, shares: &[Share], firsts: &[u64]) -> Result<()> {
    let mut rows = Vec::with_capacity(shares.len());
    for share in shares {
        let id = channel(conn, index, &share.channel).await?;
        rows.push((id, sql(firsts[share.piece]), i64::from(share.messages), sql(share.bytes as u64)));
    }
    shares::add(conn, index, &rows).await?;
    Ok(())
}

async fn keep_newest(
    conn: &mut SqliteConnection,
    index: &mut Index,
    pipeline: &Name,
    newest: Vec<Newest>,
    firsts: &[u64],
) -> Result<()> {
    let mut last = std::collections::BTreeMap::new();
    for Newest { channel: name, key, place, body } in newest {
        let id = channel(conn, index, &name).await?;
        last.insert((id, key), (firsts[place.0] + place.1, body));
    }
    let (mut set, mut deleted) = (Vec::new(), Vec::new());
    for ((id, key), (number, body)) in last {
        match body {
            Some(body) => set.push((id, key, number, body)),
            None => deleted.push((id, key)),
        }
    }
    let head = "INSERT INTO state_message (channel, key, pipeline, number, body)";
    let tail = "ON CONFLICT (channel, key) DO UPDATE SET pipeline = excluded.pipeline, number = excluded.number, \
                body = excluded.body";
    write_rows(conn, head, 5, tail, &set, |query, (id, key, number, body)| {
        query.bind(*id).bind(key.to_string()).bind(pipeline.clone()).bind(sql(*number)).bind(body.clone())
    })
    .await?;
    for (id, key) in deleted {
        sqlx::query("DELETE FROM state_message WHERE channel = ? AND key = ?")
            .bind(id)
            .bind(&*key)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}
