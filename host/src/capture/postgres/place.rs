//! Finds where the journal stands in the stream, and says so when the source is no longer what it was.
//!
//! The journal's own durable position is the truth. The slot must not be ahead of it: what lies between
//! was acknowledged, and is gone. Whether the stream is still the one that the position is of, its first
//! transaction tells: it is asked for again from the last one that the journal has, which must come with
//! the same number and time. (That is not possible where the server made us acknowledge beyond it, as it
//! does when it stops; the slot's place is compared all the same.)

use sqlx::PgConnection;

use crate::event::{Micros, Name, Position};
use crate::journal::{Append, SourceState};

use super::super::error::CaptureError;
use super::super::forget::{Forgotten, forgotten};
use super::super::source::Source;
use super::server::Server;
use super::silence::within;
use super::slot::{self, Named, Slot};

/// Where a source stands, as the journal keeps it beside the position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Of the events before: the next ones' is no less.
    pub committed_at: Micros,
    /// Everything before this LSN is in the journal: the position's transaction, or further.
    pub reached: u64,
    /// The position's transaction is appended as a whole.
    pub whole: bool,
    /// Its number and time, if there is one.
    pub transaction: Option<(u32, i64)>,
    /// Of the database and the slot.
    pub identity: Name,
    /// The server's then, if it told.
    pub timeline: Option<u32>,
}

impl Mark {
    pub(crate) fn write(&self) -> Box<str> {
        let (xid, at) = self.transaction.unwrap_or_default();
        let whole = u8::from(self.whole);
        let timeline = self.timeline.map_or_else(String::new, |timeline| format!("/{timeline}"));
        format!("{}/{}/{whole}/{xid}/{at}/{}{timeline}", self.committed_at.0, self.reached, self.identity).into()
    }

    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let mut next = || parts.next();
        let (committed_at, reached) = (next()?.parse().ok()?, next()?.parse().ok()?);
        let whole = next()? == "1";
        let (xid, at) = (next()?.parse().ok()?, next()?.parse().ok()?);
        let transaction = (xid != 0).then_some((xid, at));
        let identity = next()?.into();
        // Earlier versions wrote none.
        let timeline = next().and_then(|timeline| timeline.parse().ok());
        Some(Self { committed_at: Micros(committed_at), reached, whole, transaction, identity, timeline })
    }
}

/// Where a session begins.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub incarnation: Name,
    pub position: Position,
    pub mark: Mark,
    /// The LSN that the stream is asked from.
    pub start: u64,
    /// Up to where it was acknowledged: what is beyond may be in the journal, and not on its disk.
    pub confirmed: u64,
    /// The stream's first transaction must be the position's.
    pub verify: bool,
    /// It goes on where it was: nobody was told of the whole source.
    pub resumed: bool,
}

/// Why what the journal knows is of no use, or where to go on.
fn resume(known: &SourceState, server: &Server, slot: Option<&Slot>, flushed: u64) -> Result<Place, String> {
    let Some(mark) = Mark::read(&known.token) else {
        return Err("the journal's place is of another kind of source".into());
    };
    if *mark.identity != *server.identity {
        return Err("the database is another one than before (or the slot has another name)".into());
    }
    let Some(slot) = slot else {
        return Err("the replication slot is gone".into());
    };
    if let Some(lost) = &slot.lost {
        return Err(format!("the replication slot was lost: {}", slot::why_lost(Some(lost)).0));
    }
    if slot.confirmed > mark.reached {
        return Err(
            "the replication slot was made anew, moved by somebody else, or the journal is an older copy".into()
        );
    }
    if flushed < known.position.commit {
        return Err("the database was restored: it has not come as far as what was read of it".into());
    }
    let verify = mark.transaction.is_some() && slot.confirmed <= known.position.commit;
    if let (Some(was), Some(is), false) = (mark.timeline, server.timeline, verify)
        && was != is
    {
        return Err(format!(
            "the database is on timeline {is} instead of {was}: a standby was promoted, or it was restored, and nothing shows that all is there that was read"
        ));
    }
    let start = if verify || !mark.whole { known.position.commit } else { mark.reached };
    Ok(Place {
        incarnation: Name::clone(&known.incarnation),
        position: known.position,
        mark,
        start,
        confirmed: slot.confirmed,
        verify,
        resumed: true,
    })
}

/// Why the next session would begin anew, if it would. Only looks. A slot that is lost or somebody else's is told of
/// where slots are.
pub(super) async fn foretell(
    db: &mut PgConnection,
    name: &str,
    server: &Server,
    known: &SourceState,
) -> Result<Option<String>, CaptureError> {
    let slot = match slot::look(db, name).await? {
        None => None,
        Some(Named::Ours(slot)) if slot.lost.is_none() => Some(slot),
        Some(Named::Ours(_) | Named::SomebodyElses(_)) => return Ok(None),
    };
    let flushed =
        "SELECT CASE WHEN NOT pg_is_in_recovery() THEN (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::int8 END";
    let flushed: Option<i64> = sqlx::query_scalar(flushed).fetch_one(db).await?;
    Ok(flushed.and_then(|flushed| resume(known, server, slot.as_ref(), flushed.cast_unsigned()).err()))
}

/// Finds the place to go on from; makes the slot, and tells of a gap, where that must be.
pub(crate) async fn place(
    source: &Source,
    db: &mut PgConnection,
    watcher: &mut PgConnection,
    server: &Server,
) -> Result<Place, CaptureError> {
    let name = source.settings.slot();
    let least = source.least_time().await?;
    // First of all: nothing is told of a slot that can't be had, and whoever had it has written all that it will.
    let patience = source.settings.silence;
    let slot = within(patience, "the look at the slot", slot::find(db, &name)).await?;
    within(patience, "the look at the slot", slot::in_use(db, &name, slot.as_ref())).await?;
    let known = source.journal.source(&source.settings.name).await?;
    let lost_before = known.as_ref().and_then(forgotten);
    if let (Some(known), None) = (&known, lost_before) {
        let flushed = sqlx::query_scalar("SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::int8");
        let flushed: i64 = within(patience, "the server's position", flushed.fetch_one(&mut *db)).await?;
        match resume(known, server, slot.as_ref(), flushed.cast_unsigned()) {
            Ok(mut place) => {
                if place.mark.whole {
                    place.mark.committed_at = place.mark.committed_at.max(least);
                }
                return Ok(place);
            }
            Err(reason) => source.lose_place(&reason).await?,
        }
    }
    let start = match slot {
        Some(Slot { confirmed, lost: None, .. }) if matches!(lost_before, None | Some(Forgotten::Gap)) => confirmed,
        lost => {
            if lost.is_some() {
                within(patience, "the drop of the slot", slot::drop(db, &name)).await?;
            }
            let mut told = false;
            let starting = |reason: String| {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(source = %source.settings.name, "{reason}");
                }
                source.say(super::super::SourceState::Failed { reason: reason.into() });
            };
            slot::create(db, watcher, &name, patience, starting).await?
        }
    };
    begin(source, server, start, least).await
}

/// Begins an incarnation where the slot stands. The journal is told at once: otherwise, if we were killed
/// now, the next start would begin anew and pass over what came between.
pub(crate) async fn begin(source: &Source, server: &Server, start: u64, least: Micros) -> Result<Place, CaptureError> {
    // Positions of one slot rise for ever; those of the next one may be the same.
    let incarnation = Name::from(uuid::Uuid::new_v4().simple().to_string());
    let mark = Mark {
        committed_at: least,
        reached: start,
        whole: true,
        transaction: None,
        identity: server.identity.as_str().into(),
        timeline: server.timeline,
    };
    let position = Position { commit: start, index: 0 };
    let append = Append {
        source: Name::clone(&source.settings.name),
        incarnation: Name::clone(&incarnation),
        position,
        token: mark.write(),
        events: Vec::new(),
        complete: true,
        snapshot: None,
    };
    source.journal.append(append).await?;
    Ok(Place { incarnation, position, mark, start, confirmed: start, verify: false, resumed: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(index: u32, mark: &Mark) -> SourceState {
        SourceState { incarnation: "i".into(), position: Position { commit: 100, index }, token: mark.write() }
    }

    fn mark() -> Mark {
        let identity = "1.5.relevo".into();
        Mark {
            committed_at: Micros(9),
            reached: 100,
            whole: true,
            transaction: Some((7, -3)),
            identity,
            timeline: Some(1),
        }
    }

    fn server() -> Server {
        Server { major: 15, identity: "1.5.relevo".into(), timeline: Some(1) }
    }

    fn slot(confirmed: u64) -> Slot {
        Slot { confirmed, active: None, lost: None }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        for mark in [mark(), Mark { transaction: None, whole: false, ..mark() }] {
            assert_eq!(Mark::read(&mark.write()), Some(mark));
        }
        assert_eq!(Mark::read("1/2/abcd"), None);
        let earlier = Mark::read("9/100/1/7/-3/1.5.relevo").unwrap();
        assert_eq!(earlier, Mark { timeline: None, ..mark() }, "before the timeline was written");
        assert_eq!(Mark::read(&earlier.write()), Some(earlier));
    }

    #[test]
    fn after_a_failover_only_the_last_transaction_proves_that_nothing_is_missing() {
        let promoted = |timeline| Server { timeline, ..server() };
        let beyond = known(3, &Mark { reached: 140, ..mark() });
        let known = known(3, &mark());
        let place = resume(&known, &promoted(Some(2)), Some(&slot(90)), 500).unwrap();
        assert!(place.verify, "it is asked for again");
        let gap = resume(&beyond, &promoted(Some(2)), Some(&slot(140)), 500).unwrap_err();
        assert!(gap.contains("timeline 2 instead of 1"), "{gap}");
        assert!(resume(&beyond, &promoted(Some(1)), Some(&slot(140)), 500).is_ok());
        assert!(resume(&beyond, &promoted(None), Some(&slot(140)), 500).is_ok(), "it doesn't tell");
        let earlier = SourceState { token: Mark { reached: 140, timeline: None, ..mark() }.write(), ..beyond };
        assert!(resume(&earlier, &promoted(Some(2)), Some(&slot(140)), 500).is_ok(), "it wasn't written then");
    }

    #[test]
    fn the_last_transaction_is_asked_for_again_to_be_compared() {
        let place = resume(&known(3, &mark()), &server(), Some(&slot(90)), 500).unwrap();
        assert_eq!((place.start, place.verify), (100, true));
        let beyond = Mark { reached: 140, ..mark() };
        let place = resume(&known(3, &beyond), &server(), Some(&slot(140)), 500).unwrap();
        assert_eq!((place.start, place.verify), (140, false), "it was acknowledged beyond");
        let fresh = Mark { transaction: None, ..mark() };
        let place = resume(&known(0, &fresh), &server(), Some(&slot(100)), 500).unwrap();
        assert_eq!((place.start, place.verify), (100, false), "there was none");
    }

    #[test]
    fn what_is_no_longer_what_it_was_is_a_gap() {
        let known = known(3, &mark());
        let gap = |known: &SourceState, identity: &str, slot: Option<&Slot>, flushed| {
            resume(known, &Server { major: 15, identity: identity.into(), timeline: Some(1) }, slot, flushed)
                .unwrap_err()
        };
        assert!(gap(&known, "2.5.relevo", Some(&slot(90)), 500).contains("another one"));
        assert!(gap(&known, "1.5.relevo", None, 500).contains("is gone"));
        assert!(gap(&known, "1.5.relevo", Some(&slot(101)), 500).contains("made anew"));
        assert!(gap(&known, "1.5.relevo", Some(&slot(90)), 99).contains("restored"));
        let lost = Slot { lost: Some("lost".into()), ..slot(90) };
        assert!(gap(&known, "1.5.relevo", Some(&lost), 500).contains("lost"));
        let other = SourceState { token: "1/2/abcd".into(), ..known };
        assert!(gap(&other, "1.5.relevo", Some(&slot(90)), 500).contains("another kind"));
    }
}
