//! Finds where the journal stands in a watched database, and says so when it is another one.

use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::event::{Micros, Name, Position};
use crate::journal::Append;

use super::Source;
use super::error::CaptureError;
use super::forgotten;
use super::install::{self, Installed};
use super::reader::Reader;

pub(crate) const MOVED_BACK: &str = "the database was restored or replaced, or the journal is an older copy: the last change that was read is no longer in it";

/// Where a source stands, as the journal keeps it beside the position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Of the events before: the next ones' is no less.
    pub committed_at: Micros,
    /// The end of the transaction that the position is in: beyond the position while its last chunk
    /// isn't appended.
    pub transaction: u64,
    /// Of the change row at the position.
    pub token: Box<str>,
}

impl Mark {
    pub(crate) fn write(&self) -> Box<str> {
        format!("{}/{}/{}", self.committed_at.0, self.transaction, self.token).into()
    }

    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        let mut next = || parts.next();
        let (committed_at, transaction) = (next()?.parse().ok()?, next()?.parse().ok()?);
        Some(Self { committed_at: Micros(committed_at), transaction, token: next()?.into() })
    }
}

/// Where a session begins.
pub(crate) struct Place {
    pub incarnation: Name,
    pub position: u64,
    pub mark: Mark,
}

/// Finds where the journal stands in this database. If it is not the database that it was, the
/// journal is told, and a new incarnation begins at the newest change.
pub(crate) async fn place(
    source: &Source,
    writer: &mut SqliteConnection,
    reader: &mut Reader,
    installed: &Installed,
) -> Result<Place, CaptureError> {
    let least = source.least_time().await?.max(Micros::now());
    let Some(known) = source.journal.source(&source.settings.name).await? else {
        // Whatever was changed before is contained in the snapshots to come.
        install::settle_gap(writer).await?;
        return begin(source, reader, Name::clone(&installed.incarnation), least).await;
    };
    if forgotten(&known).is_some() {
        install::settle_gap(writer).await?;
        return renewed(source, writer, reader, least).await;
    }
    let position = known.position.commit;
    let end = reader.end(position).await?;
    let mark = Mark::read(&known.token).filter(|mark| {
        end.as_ref().is_some_and(|end| end.token_at.as_ref() == Some(&mark.token) && end.seq >= mark.transaction)
    });
    match mark {
        Some(mut mark) if known.incarnation == installed.incarnation => {
            if let Some(reason) = &installed.gap {
                source.tell_gap(reason).await?;
                install::settle_gap(writer).await?;
            }
            if mark.transaction <= position {
                mark.committed_at = mark.committed_at.max(least);
            }
            Ok(Place { incarnation: known.incarnation, position, mark })
        }
        _ => {
            let reason = if known.incarnation == installed.incarnation {
                MOVED_BACK
            } else {
                "the database is another one than before, or was detached (`relevo capture detach`) meanwhile"
            };
            source.lose_place(reason).await?;
            renewed(source, writer, reader, least).await
        }
    }
}

async fn renewed(
    source: &Source,
    writer: &mut SqliteConnection,
    reader: &mut Reader,
    least: Micros,
) -> Result<Place, CaptureError> {
    let incarnation = Name::from(Uuid::new_v4().simple().to_string());
    install::renew(writer, &incarnation).await?;
    begin(source, reader, incarnation, least).await
}

/// Begins an incarnation at the newest change. The journal is told at once: otherwise, if we were
/// killed now, the next start would begin anew and pass over what came between.
async fn begin(
    source: &Source,
    reader: &mut Reader,
    incarnation: Name,
    committed_at: Micros,
) -> Result<Place, CaptureError> {
    let Some(end) = reader.end(0).await? else {
        return Err(CaptureError::Mismatch(MOVED_BACK.into()));
    };
    let mark = Mark { committed_at, transaction: end.seq, token: end.token };
    let append = Append {
        source: Name::clone(&source.settings.name),
        incarnation: Name::clone(&incarnation),
        position: Position { commit: end.seq, index: 0 },
        token: mark.write(),
        events: Vec::new(),
        complete: true,
        snapshot: None,
    };
    source.journal.append(append).await?;
    Ok(Place { incarnation, position: end.seq, mark })
}
