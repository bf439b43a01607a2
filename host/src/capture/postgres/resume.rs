//! Goes on with a snapshot that was cut. The rows that are there are of an older moment than those to come: all
//! whose keys the stream has told of since are read again, and so are whole tables that have no order, so that
//! in the end all rows are of the newest moment. Whoever folds them takes the last that was said of a key.
//!
//! Where that can't be done, the snapshot begins anew: also where a key can't be read again, since digests stand in it, and
//! where the server refuses to read by the keys that the stream told of, as it would at each try.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use sqlx::PgConnection;

use crate::event::{Body, Number, Operation};
use crate::journal::{Append, Control, JournalError, RecordBody};

use super::super::error::{CaptureError, said};
use super::super::reached::Reached;
use super::super::rows::Rows;
use super::reading::Reading;
use super::snapshot::Snapshot;

/// Bytes of records at a time.
const READ: usize = 1 << 20;

/// Keys in one statement.
const KEYS: usize = 500;

/// Keys that are remembered, so that they are read once: those beyond are read as often as they changed.
const REMEMBERED: usize = 100_000;

/// Why a snapshot can't go on.
pub(super) type Reason = Cow<'static, str>;

/// Where a snapshot goes on; or why it can't.
pub(super) type Resumed = Result<Reached, Reason>;

impl Snapshot {
    /// How far an unfinished snapshot is, if another one can go on with it. `forms`: those of its tables.
    pub(super) fn there(&self, last: &Append, forms: &[Box<str>]) -> Resumed {
        if last.incarnation != self.incarnation {
            return Err("the source began anew".into());
        }
        let reached = Reached::read(&last.token).ok_or("it doesn't say how far it is")?;
        if *reached.server != *self.server {
            return Err("the server is another one, or was promoted".into());
        }
        let read = |forms: &[Box<str>]| forms.get(..=reached.at).unwrap_or(forms).to_vec();
        if reached.at > forms.len() || read(&reached.forms) != read(forms) {
            return Err("tables have another form, were emptied or written anew, or other ones are asked for".into());
        }
        Ok(reached)
    }

    /// Brings the rows that are there up to the moment that the transaction sees; everything up to it must be in the
    /// journal. Err: why they are of no use. What was said of them then doesn't count.
    pub(super) async fn catch_up(
        &self,
        db: &mut PgConnection,
        tables: &[Reading],
        out: &mut Rows,
    ) -> Result<Result<(), Reason>, CaptureError> {
        // A statement that fails would end the transaction, and the moment that it sees.
        sqlx::raw_sql("SAVEPOINT before_keys").execute(&mut *db).await?;
        match self.read_again(db, tables, out).await {
            Err(CaptureError::Database(error)) if is_refused(&error) => {
                sqlx::raw_sql("ROLLBACK TO SAVEPOINT before_keys").execute(&mut *db).await?;
                Ok(Err(format!("what changed since can't be read by its keys: {}", said(&error)).into()))
            }
            done => done,
        }
    }

    async fn read_again(
        &self,
        db: &mut PgConnection,
        tables: &[Reading],
        out: &mut Rows,
    ) -> Result<Result<(), Reason>, CaptureError> {
        let Some(reached) = out.reached.clone() else { return Ok(Ok(())) };
        let until = self.journal.head();
        let mut after = reached.head;
        let (mut known, mut whole) = (HashSet::new(), BTreeSet::new());
        while after < until {
            let (records, through) = match self.journal.read_events(after, READ).await {
                Err(JournalError::Pruned { .. }) => return Ok(Err("retention took what changed since".into())),
                read => read?,
            };
            after = through.max(Number(after.0 + 1));
            let mut changed: BTreeMap<usize, Vec<Box<str>>> = BTreeMap::new();
            for record in &records {
                let append = match &record.body {
                    RecordBody::Control(Control::Gap { source, .. }) if *source == self.settings.name => {
                        return Ok(Err("the source has lost changes since".into()));
                    }
                    RecordBody::Append(append) if append.source == self.settings.name && append.snapshot.is_none() => {
                        append
                    }
                    _ => continue,
                };
                for event in append.events.iter().filter(|event| event.position.commit >= reached.since) {
                    let Body::Change(change) = &event.body else { continue };
                    let place = tables.iter().position(|reading| reading.relation.table == change.table);
                    let Some(place) = place.filter(|place| is_there(&reached, *place)) else { continue };
                    if change.operation == Operation::Truncate {
                        return Ok(Err("a table was emptied".into()));
                    } else if !tables[place].is_ordered() {
                        whole.insert(place);
                    } else if known.len() >= REMEMBERED || known.insert((place, change.key.clone())) {
                        changed.entry(place).or_default().push(change.key.clone());
                    }
                }
            }
            for (place, mut keys) in changed {
                keys.sort_unstable();
                keys.dedup();
                for keys in keys.chunks(KEYS) {
                    let reading = &tables[place];
                    for key in keys {
                        out.push(Body::Change(reading.relation.void(key.clone()))).await?;
                    }
                    let until = if place == reached.at { reached.after.as_slice() } else { &[] };
                    let Some(sql) = reading.rows_of(keys, until) else {
                        return Ok(Err("a key is so long that digests stand in it: its row can't be read by it".into()));
                    };
                    self.read(db, sql, reading, out, false).await?;
                }
            }
        }
        for place in whole {
            let reading = &tables[place];
            out.push(Body::Change(reading.relation.truncate())).await?;
            self.read(db, reading.rows_after(&[]), reading, out, false).await?;
        }
        // Some of its rows may be there.
        if let Some(reading) = tables.get(reached.at).filter(|reading| !reading.is_ordered()) {
            out.push(Body::Change(reading.relation.truncate())).await?;
        }
        Ok(Ok(()))
    }
}

/// Whether rows of a table are there, and are not read again in any case.
fn is_there(reached: &Reached, place: usize) -> bool {
    place < reached.at || (place == reached.at && !reached.after.is_empty())
}

/// Whether the server answered that a statement can't be done, as it would each time. Not: that it has no room now, was
/// told to stop, or waited in vain for others.
fn is_refused(error: &sqlx::Error) -> bool {
    const PASSING: [&str; 7] = [
        "08", // the connection
        "25", // the transaction: it took too long
        "40", // a conflict with others
        "53", // no memory, disk or connection left
        "55", // locks
        "57", // an operator's intervention
        "58", // the system's errors
    ];
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| PASSING.iter().all(|class| !code.starts_with(class)))
}
