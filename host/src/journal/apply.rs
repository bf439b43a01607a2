//! Makes commands true inside the writer's transaction: the record and its indexes. What is refused is
//! refused before the first statement that writes.

use std::sync::Arc;

use super::codec::Piece;
use super::index::{Index, sql};
use super::script::Script;
use super::{Control, JournalError, Record, RecordBody, checkpoints, letters};
use crate::event::Number;

/// What an applied command adds to what readers see.
#[derive(Default)]
pub(super) struct Visible {
    pub(super) records: Vec<Arc<Record>>,
    /// The memory tail begins anew after this number.
    pub(super) restart: Option<Number>,
}

pub(super) type Result<T> = std::result::Result<T, JournalError>;

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
    // Gaps are few, and whoever resumes across one is told of it, however long ago it was.
    let told = matches!(
        &piece.content,
        RecordBody::Control(Control::Gap { .. } | Control::PipelineGap { .. } | Control::PipelineRemoved { .. })
    );
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
