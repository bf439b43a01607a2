//! Applies commits: a pipeline's cursor, its state, its messages and their indexes.

use std::sync::Arc;

use super::apply::{Result, Visible, insert};
use super::codec::{Newest, PreparedCommit, Share};
use super::index::{Cursor, Index, sql};
use super::script::Script;
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
    script: &mut Script<'_>,
    index: &mut Index,
    commit: PreparedCommit,
) -> Result<(Number, Visible)> {
    let PreparedCommit { pipeline, cursor, reset, pieces, shares, newest, .. } = commit;
    let at = index.now();
    let gap = index.known.cursors.get(&pipeline).and_then(|c| c.gap_after(cursor)).filter(|_| !reset);
    let keeping = index.keeping.get(&pipeline).copied();
    if reset {
        if let Some(checkpoint) = keeping {
            checkpoints::keep_all(script.conn().await?, checkpoint, &pipeline).await?;
        }
        script.add("DELETE FROM state WHERE pipeline = ?").bind(&*pipeline);
    }
    save_cursor(script, &pipeline, cursor, gap);
    let mut firsts = Vec::with_capacity(pieces.len());
    let mut next = index.next;
    for (place, piece) in pieces.iter().enumerate() {
        if place > 0 {
            // A script holds what it writes: one body at a time.
            script.run().await?;
        }
        let held = shares.iter().any(|s| s.piece == place);
        insert(script, piece, next, at, held, None);
        if let RecordBody::Commit(committed) = &piece.content {
            change_state(script, &pipeline, keeping, &committed.state).await?;
        }
        firsts.push(next);
        next += piece.numbers;
    }
    index_shares(script, index, &shares, &firsts).await?;
    keep_newest(script, index, &pipeline, newest, &firsts).await?;
    index.next = next;
    index.known.cursors.insert(pipeline, Cursor { number: cursor, saved: Some(cursor), gap });
    let records = pieces.into_iter().zip(firsts).map(|(piece, first)| Arc::new(piece.number(Number(first))));
    Ok((Number(next - 1), Visible { records: records.collect(), restart: None }))
}

pub(super) fn save_cursor(script: &mut Script<'_>, pipeline: &str, cursor: Number, gap: Option<Number>) {
    let save = "INSERT INTO cursor (pipeline, number, gap) VALUES (?, ?, ?) \
                ON CONFLICT (pipeline) DO UPDATE SET number = excluded.number, gap = excluded.gap";
    script.add(save).bind(pipeline).bind(sql(cursor.0)).bind(gap.map_or(0, |told| sql(told.0)));
}

/// `keeping`: for which checkpoint what is replaced is kept.
async fn change_state(
    script: &mut Script<'_>,
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
        checkpoints::keep(script, checkpoint, pipeline, &entries).await?;
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
    script
        .rows(head, 4, tail, &set, |values, (owner, key, value)| {
            values.bind(&**pipeline).bind(&***owner).bind(&***key).bind(&***value);
        })
        .await?;
    let head = "DELETE FROM state WHERE (pipeline, owner, key) IN (";
    script
        .rows(head, 3, ")", &deleted, |values, (owner, key)| {
            values.bind(&**pipeline).bind(&***owner).bind(&***key);
        })
        .await?;
    Ok(())
}

async fn channel(script: &mut Script<'_>, index: &mut Index, name: &ChannelName) -> Result<i64> {
    if let Some(id) = index.channels.get(name) {
        return Ok(*id);
    }
    let id = sqlx::query_scalar("INSERT INTO channel (name) VALUES (?) RETURNING id")
        .bind(name.as_str())
        .fetch_one(script.conn().await?)
        .await?;
    index.channels.insert(name.clone(), id);
    Ok(id)
}

async fn index_shares(script: &mut Script<'_>, index: &mut Index, shares: &[Share], firsts: &[u64]) -> Result<()> {
    let mut rows = Vec::with_capacity(shares.len());
    for share in shares {
        let id = channel(script, index, &share.channel).await?;
        rows.push((id, sql(firsts[share.piece]), i64::from(share.messages), sql(share.bytes as u64)));
    }
    shares::add(script, index, &rows).await?;
    Ok(())
}

async fn keep_newest(
    script: &mut Script<'_>,
    index: &mut Index,
    pipeline: &Name,
    newest: Vec<Newest>,
    firsts: &[u64],
) -> Result<()> {
    let mut last = std::collections::BTreeMap::new();
    for Newest { channel: name, key, place, body } in newest {
        let id = channel(script, index, &name).await?;
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
    script
        .rows(head, 5, tail, &set, |values, (id, key, number, body)| {
            values.bind(*id).bind(&**key).bind(&**pipeline).bind(sql(*number)).bind(body.as_slice());
        })
        .await?;
    let head = "DELETE FROM state_message WHERE (channel, key) IN (";
    script
        .rows(head, 2, ")", &deleted, |values, (id, key)| {
            values.bind(*id).bind(&**key);
        })
        .await?;
    Ok(())
}
