//! Goes on with a snapshot that was cut. The rows that are there are of an older moment than those to come: all
//! whose keys the stream has told of since are read again, and so are whole tables that have no order, so that
//! in the end all rows are of the newest moment. Whoever folds them takes the last that was said of a key.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use sqlx::PgConnection;

use crate::event::{Body, Number, Operation};
use crate::journal::{Append, Control, JournalError, RecordBody};

use super::super::error::CaptureError;
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

/// Where a snapshot goes on; or why it can't.
pub(super) type Resumed = Result<Reached, &'static str>;

impl Snapshot {
    /// How far an unfinished snapshot is, if another one can go on with it. `forms`: those of its tables.
    pub(super) fn there(&self, last: &Append, forms: &[Box<str>]) -> Resumed {
        if last.incarnation != self.incarnation {
            return Err("the source began anew");
        }
        let reached = Reached::read(&last.token).ok_or("it doesn't say how far it is")?;
        if *reached.server != *self.server {
            return Err("the server is another one, or was promoted");
        }
        let read = |forms: &[Box<str>]| forms.get(..=reached.at).unwrap_or(forms).to_vec();
        if reached.at > forms.len() || read(&reached.forms) != read(forms) {
            return Err("tables have another form, were emptied or written anew, or other ones are asked for");
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
    ) -> Result<Result<(), &'static str>, CaptureError> {
        let Some(reached) = out.reached.clone() else { return Ok(Ok(())) };
        let until = self.journal.head();
        let mut after = reached.head;
        let (mut known, mut whole) = (HashSet::new(), BTreeSet::new());
        while after < until {
            let (records, through) = match self.journal.read_events(after, READ).await {
                Err(JournalError::Pruned { .. }) => return Ok(Err("retention took what changed since")),
                read => read?,
            };
            after = through.max(Number(after.0 + 1));
            let mut changed: BTreeMap<usize, Vec<Box<str>>> = BTreeMap::new();
            for record in &records {
                let append = match &record.body {
                    RecordBody::Control(Control::Gap { source, .. }) if *source == self.settings.name => {
                        return Ok(Err("the source has lost changes since"));
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
                        return Ok(Err("a table was emptied"));
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
                    let Some(sql) = reading.rows_of(keys, until) else { return Ok(Err("a key can't be read")) };
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
