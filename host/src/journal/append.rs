//! Applies appends: events, their source's position, chunks that wait for their last one, idempotency
//! keys.

use std::sync::Arc;

use sqlx::{Row, SqliteConnection};

use super::apply::{Result, Visible, insert};
use super::codec::{Piece, PreparedAppend};
use super::index::{Index, Kept, Staged, StagedKey, sql, unsql};
use super::script::Script;
use super::{Append, Appended, JournalError, Record, RecordBody, SourceState, codec};
use crate::event::{Name, Number};

/// Refuses an append of a source's stream that leads back within the same life of the source: it would make chunks
/// visible before their last one, and what is read again from there would come twice.
pub(super) fn fence(index: &Index, append: &PreparedAppend) -> Result<()> {
    let head = &append.head;
    match index.known.sources.get(&head.source) {
        Some(known)
            if head.snapshot.is_none() && known.incarnation == head.incarnation && head.position < known.position =>
        {
            Err(JournalError::Backwards { of: head.source.clone(), at: known.position, to: head.position })
        }
        _ => Ok(()),
    }
}

/// `memory`: how many bytes of staged chunks stay in memory; `limit`: a record's.
pub(super) async fn append(
    script: &mut Script<'_>,
    index: &mut Index,
    mut prepared: PreparedAppend,
    memory: usize,
    limit: usize,
) -> Result<(Appended, Visible)> {
    if let Some(already) = without_repeated(script, &mut prepared, limit).await? {
        return Ok((Appended::Already(already), Visible::default()));
    }
    let PreparedAppend { pieces, keys, head } = prepared;
    let life = life(script, index, &head.source, &head.incarnation).await?;
    let snapshot = head.snapshot.as_ref().map(|s| s.request);
    let pipeline: Name = head.snapshot.as_ref().map_or_else(|| "".into(), |s| s.pipeline.clone());
    let key = StagedKey { source: head.source.clone(), pipeline };
    if index.staged.get(&key).is_some_and(|s| s.life != life || s.snapshot != snapshot) {
        discard(script.conn().await?, index, &key).await?;
    }
    if snapshot.is_none() {
        let state =
            SourceState { incarnation: head.incarnation.clone(), position: head.position, token: head.token.clone() };
        move_source(script, &head.source, &state);
        index.known.sources.insert(head.source.clone(), state);
    }
    if !head.complete {
        let staged = index.staged.entry(key.clone()).or_insert(Staged { life, snapshot, ..Staged::default() });
        for piece in pieces {
            stage(script.conn().await?, &key, life, &piece).await?;
            let Piece { size, numbers, content: RecordBody::Append(append), .. } = piece else { continue };
            staged.keep(Kept { numbers, bytes: size, append }, memory);
        }
        return Ok((Appended::Staged, Visible::default()));
    }
    let at = index.now();
    let start = index.next;
    let mut visible = Visible::default();
    if let Some(staged) = index.staged.remove(&key) {
        number_staged(script.conn().await?, &key, start, at, snapshot.is_none()).await?;
        index.next += staged.numbers;
        let mut first = index.next - staged.kept.iter().map(|k| k.numbers).sum::<u64>();
        visible.restart = (first != start).then(|| Number(first - 1));
        for kept in staged.kept {
            visible.records.push(Arc::new(kept_record(kept, first)));
            first = visible.records.last().map_or(first, |r| r.last.0 + 1);
        }
    }
    let events = index.next;
    for piece in pieces {
        if index.next > events {
            // A script holds what it writes: one body at a time.
            script.run().await?;
        }
        insert(script, &piece, index.next, at, false, snapshot.is_none().then_some(life));
        let first = Number(index.next);
        index.next += piece.numbers;
        visible.records.push(Arc::new(piece.number(first)));
    }
    let keep = "INSERT INTO idempotency (key, number, at)";
    script
        .rows(keep, 3, "", &keys, |values, (place, key)| {
            values.bind(&**key).bind(sql(events + place)).bind(at);
        })
        .await?;
    Ok((Appended::Applied { first: Number(start), last: Number(index.next - 1) }, visible))
}

fn kept_record(kept: Kept, first: u64) -> Record {
    let last = Number(first + kept.numbers - 1);
    codec::number(RecordBody::Append(kept.append), Number(first), last, kept.bytes)
}

/// Takes events out whose idempotency key is known. If none is left: the number of the first one.
async fn without_repeated(
    script: &mut Script<'_>,
    prepared: &mut PreparedAppend,
    limit: usize,
) -> Result<Option<Number>> {
    let mut repeated = Vec::new();
    let mut already = None;
    let mut seen = std::collections::HashSet::new();
    for (place, key) in &prepared.keys {
        let known = sqlx::query("SELECT number FROM idempotency WHERE key = ?").bind(&**key);
        let known = known.fetch_optional(script.conn().await?).await?;
        if let Some(row) = &known {
            already = already.or(Some(Number(unsql(row.try_get(0)?))));
        }
        if known.is_some() || !seen.insert(key.clone()) {
            repeated.push(*place);
        }
    }
    if repeated.is_empty() {
        return Ok(None);
    }
    let mut events = Vec::new();
    for piece in prepared.pieces.drain(..) {
        if let RecordBody::Append(Append { events: more, .. }) = piece.content {
            events.extend(more);
        }
    }
    let mut place = 0..;
    events.retain(|_| place.next().is_none_or(|p| !repeated.contains(&p)));
    if events.is_empty()
        && let Some(already) = already
    {
        return Ok(Some(already));
    }
    let head = &prepared.head;
    let again = Append {
        source: head.source.clone(),
        incarnation: head.incarnation.clone(),
        position: head.position,
        token: head.token.clone(),
        events,
        complete: head.complete,
        snapshot: head.snapshot.clone(),
    };
    *prepared = codec::prepare_append(again, limit)?;
    Ok(None)
}

async fn life(script: &mut Script<'_>, index: &mut Index, source: &Name, incarnation: &Name) -> Result<i64> {
    let key = (source.clone(), incarnation.clone());
    if let Some(id) = index.lives.get(&key) {
        return Ok(*id);
    }
    let id = sqlx::query_scalar("INSERT INTO life (source, incarnation) VALUES (?, ?) RETURNING id")
        .bind(&**source)
        .bind(&**incarnation)
        .fetch_one(script.conn().await?)
        .await?;
    index.lives.insert(key, id);
    Ok(id)
}

fn move_source(script: &mut Script<'_>, source: &Name, state: &SourceState) {
    let to = "INSERT INTO source (name, incarnation, pos_commit, pos_index, token) VALUES (?, ?, ?, ?, ?) \
              ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation, pos_commit = excluded.pos_commit, \
              pos_index = excluded.pos_index, token = excluded.token";
    let values = script.add(to).bind(&**source).bind(&*state.incarnation).bind(sql(state.position.commit));
    values.bind(i64::from(state.position.index)).bind(&*state.token);
}

async fn stage(conn: &mut SqliteConnection, key: &StagedKey, life: i64, piece: &Piece) -> Result<()> {
    let RecordBody::Append(append) = &piece.content else { return Ok(()) };
    let chunk: i64 = sqlx::query_scalar("INSERT INTO chunk (body) VALUES (?) RETURNING id")
        .bind(piece.body.as_slice())
        .fetch_one(&mut *conn)
        .await?;
    sqlx::query(
        "INSERT INTO staged (chunk, source, pipeline, life, pos_commit, pos_index, numbers, size) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(chunk)
    .bind(&*key.source)
    .bind(&*key.pipeline)
    .bind(life)
    .bind(sql(append.position.commit))
    .bind(i64::from(append.position.index))
    .bind(sql(piece.numbers))
    .bind(sql(piece.size as u64))
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives staged chunks their numbers from `start` on; their bodies stay where they are.
async fn number_staged(
    conn: &mut SqliteConnection,
    key: &StagedKey,
    start: u64,
    at: i64,
    streamed: bool,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO record (first, last, kind, at, size, held, life, pos_commit, pos_index, chunk) \
         SELECT ?1 + through - numbers, ?1 + through - 1, 1, ?2, size, 0, iif(?3, life, NULL), \
           iif(?3, pos_commit, NULL), iif(?3, pos_index, NULL), chunk \
         FROM (SELECT *, sum(numbers) OVER (ORDER BY chunk) AS through FROM staged WHERE source = ?4 AND pipeline = ?5)",
    )
    .bind(sql(start))
    .bind(at)
    .bind(streamed)
    .bind(&*key.source)
    .bind(&*key.pipeline)
    .execute(&mut *conn)
    .await?;
    sqlx::query("DELETE FROM staged WHERE source = ? AND pipeline = ?")
        .bind(&*key.source)
        .bind(&*key.pipeline)
        .execute(conn)
        .await?;
    Ok(())
}

/// Drops staged chunks.
pub(super) async fn discard(conn: &mut SqliteConnection, index: &mut Index, key: &StagedKey) -> Result<()> {
    sqlx::query("DELETE FROM chunk WHERE id IN (SELECT chunk FROM staged WHERE source = ? AND pipeline = ?)")
        .bind(&*key.source)
        .bind(&*key.pipeline)
        .execute(&mut *conn)
        .await?;
    sqlx::query("DELETE FROM staged WHERE source = ? AND pipeline = ?")
        .bind(&*key.source)
        .bind(&*key.pipeline)
        .execute(conn)
        .await?;
    index.staged.remove(key);
    Ok(())
}
