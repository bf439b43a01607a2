//! Makes commands true inside the writer's transaction: the record and its indexes. What is refused is
//! refused before the first statement that writes.

use std::sync::Arc;

use super::codec::Piece;
use super::index::{Index, sql};
use super::script::Script;
use super::shared::{Outcome, Shared};
use super::writer::Work;
use super::{Control, JournalError, Record, RecordBody, append, checkpoints, commit, letters, prune, unfinished};
use crate::event::Number;

/// What an applied command adds to what readers see.
#[derive(Default)]
pub(super) struct Visible {
    pub(super) records: Vec<Arc<Record>>,
    /// The memory tail begins anew after this number.
    pub(super) restart: Option<Number>,
}

pub(super) type Result<T> = std::result::Result<T, JournalError>;

/// Makes a command true. What is added to the script has not run yet.
pub(super) async fn work(
    script: &mut Script<'_>,
    index: &mut Index,
    shared: &Shared,
    work: Work,
) -> Result<(Outcome, Visible)> {
    let settings = &shared.settings;
    match work {
        Work::Append(prepared) => {
            let memory = usize::try_from(settings.memory / 2).unwrap_or(usize::MAX);
            let limit = usize::try_from(settings.record_bytes).unwrap_or(usize::MAX);
            append::append(script, index, prepared, memory, limit).await.map(|(a, v)| (Outcome::Appended(a), v))
        }
        Work::Commit(prepared) => commit::commit(script, index, prepared).await.map(|(n, v)| (Outcome::Number(n), v)),
        Work::Control(piece) => {
            let applied = control(script, index, piece, settings.keep_checkpoints).await;
            applied.map(|(n, v)| (Outcome::Number(n), v))
        }
        // Whoever asked may have looked before the mark was set: it is set, and told of, once.
        Work::Gap(pipeline, _) if index.known.cursors.get(&pipeline).is_some_and(|c| c.gap.is_some()) => {
            Ok((Outcome::Done, Visible::default()))
        }
        // One was taken since: it gives way first.
        Work::Gap(..) if !index.keeping.is_empty() => Ok((Outcome::Done, Visible::default())),
        Work::Gap(pipeline, piece) => {
            let told = Number(index.next);
            prune::mark_gap(script.conn().await?, index, &pipeline, told).await?;
            let applied = control(script, index, piece, settings.keep_checkpoints).await;
            applied.map(|(n, v)| (Outcome::Number(n), v))
        }
        Work::Discard(like) => {
            unfinished::discard(script.conn().await?, index, &*like).await?;
            Ok((Outcome::Done, Visible::default()))
        }
        Work::TakeOver(key, request) => {
            let last = unfinished::take_over(script.conn().await?, index, &key, request).await?;
            Ok((Outcome::Unfinished(last.map(Box::new)), Visible::default()))
        }
        Work::KeepPipelines(names) => {
            let keep = settings.keep_checkpoints;
            let visible = prune::keep_pipelines(script.conn().await?, index, &names, keep).await?;
            Ok((Outcome::Done, visible))
        }
        Work::Prune(prune) => {
            let more = prune::step(script.conn().await?, index, shared, prune).await?;
            Ok((Outcome::Pruned(more), Visible::default()))
        }
        Work::Turn | Work::Probe(_) | Work::Close => Ok((Outcome::Done, Visible::default())),
    }
}

const INSERT: &str = "INSERT INTO record (first, last, kind, at, size, held, life, pos_commit, pos_index, body) \
                      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Writes a record; its position only if it moves its source.
pub(super) fn insert(script: &mut Script<'_>, piece: &Piece, first: u64, at: i64, held: bool, life: Option<i64>) {
    let position = match &piece.content {
        RecordBody::Append(append) => append.position,
        _ => crate::event::Position::default(),
    };
    script
        .add(INSERT)
        .bind(sql(first))
        .bind(sql(first + piece.numbers - 1))
        .bind(piece.kind())
        .bind(at)
        .bind(sql(piece.size as u64))
        .bind(i64::from(held))
        .bind(life)
        .bind(life.map(|_| sql(position.commit)))
        .bind(life.map(|_| i64::from(position.index)))
        .bind(piece.body.as_slice());
}

/// `keep`: how many checkpoints of a pipeline.
pub(super) async fn control(
    script: &mut Script<'_>,
    index: &mut Index,
    piece: Piece,
    keep: u32,
) -> Result<(Number, Visible)> {
    let first = index.next;
    let at = index.now();
    let told = matches!(&piece.content, RecordBody::Control(control) if control.is_loss());
    insert(script, &piece, first, at, told, None);
    index.next += 1;
    match &piece.content {
        RecordBody::Control(Control::Checkpoint { pipeline, reason }) => {
            checkpoints::take(script, index, Number(first), at, pipeline, reason, keep).await?;
        }
        RecordBody::Control(control) => {
            letters::apply(script.conn().await?, Number(first), at, control, &piece.body).await?
        }
        _ => {}
    }
    let record = piece.number(Number(first));
    Ok((Number(first), Visible { records: vec![Arc::new(record)], restart: None }))
}
