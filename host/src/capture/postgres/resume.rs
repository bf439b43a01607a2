//! Goes on with a snapshot that was cut. The rows that are there are of an older moment than those to come: all
//! whose keys the stream has told of since are read again, and so are whole tables that have no order, so that
//! in the end all rows are of the newest moment. Whoever folds them takes the last that was said of a key.
//!
//! Where that can't be done, the snapshot begins anew: also where a key can't be read again, since digests stand in it, and
//! where the server refuses to read by the keys that the stream told of, as it would at each try.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use sqlx::{AssertSqlSafe, PgConnection};

use crate::event::{Body, Number, Operation};
use crate::journal::{Append, Control, JournalError, RecordBody};

use super::super::error::{CaptureError, said};
use super::super::reached::{Reached, Void, form};
use super::super::rows::Rows;
use super::reading::Reading;
use super::snapshot::Snapshot;

/// Bytes of records at a time.
const READ: usize = 1 << 20;

/// Keys in one statement.
const KEYS: usize = 500;

/// Of so many of the rows that are there, one may be read again by its key: beyond, it is no more work to read all of them
/// in their order. On PostgreSQL 15 (300,000 rows of 200 bytes, in memory, a busy machine) a row took 54 µs by its key and
/// 6.5 µs in order, and what is read by its key is told of twice, as void and as a row.
const SHARE: u64 = 4;

/// So many keys are read again however few rows are there: that takes a few seconds.
const FEW: u64 = 50_000;

/// The most bytes of keys that are read again, over all cuts: we remember them while we read, and whoever folds the rows
/// remembers them all.
const MOST_BYTES: u64 = 64 << 20;

/// What a key takes in a table of keys beside its text, about: its place, its length, its number, and the table's room to
/// grow.
const BESIDE_KEY: u64 = 64;

/// Why a snapshot can't go on.
pub(super) type Reason = Cow<'static, str>;

/// Where a snapshot goes on; or why it can't.
pub(super) type Resumed = Result<Reached, Reason>;

impl Snapshot {
    /// How far an unfinished snapshot is, if another one can go on with it. `forms`: those of its tables.
    pub(super) fn there(&self, last: &Append, forms: &[Box<str>], tables: &[Reading]) -> Resumed {
        if last.incarnation != self.incarnation {
            return Err("the source began anew".into());
        }
        let reached = Reached::read(&last.token).ok_or("it doesn't say how far it is")?;
        if *reached.server != *self.server {
            return Err("the server is another one, or was promoted".into());
        }
        if reached.at > forms.len() || *reached.form != *form(forms, reached.at) {
            return Err("tables have another form, were emptied or written anew, or other ones are asked for".into());
        }
        if reached.at == 0 && reached.after.is_empty() {
            let first = tables.first().map_or_else(String::new, |reading| reading.table.shown());
            return Err(format!("the first table, {first}, has no order to go on in, and was not done").into());
        }
        Ok(reached)
    }

    /// Brings the rows that are there up to the moment that the transaction sees; everything up to it must be in the
    /// journal. Gives what doesn't count of them by now. Err: why they are of no use; what was said of them then doesn't
    /// count.
    pub(super) async fn catch_up(
        &self,
        db: &mut PgConnection,
        tables: &[Reading],
        out: &mut Rows,
    ) -> Result<Result<Void, Reason>, CaptureError> {
        // A statement that fails would end the transaction, and the moment that it sees.
        sqlx::raw_sql("SAVEPOINT before_keys").execute(&mut *db).await?;
        match self.read_again(db, tables, out).await {
            Err(CaptureError::Database(error)) if is_refused(&error) => {
                sqlx::raw_sql("ROLLBACK TO SAVEPOINT before_keys").execute(&mut *db).await?;
                Ok(Err(format!("rows can't be read by keys that were theirs: {}", said(&error)).into()))
            }
            done => done,
        }
    }

    async fn read_again(
        &self,
        db: &mut PgConnection,
        tables: &[Reading],
        out: &mut Rows,
    ) -> Result<Result<Void, Reason>, CaptureError> {
        let Some(reached) = out.reached.clone() else { return Ok(Ok(Void::default())) };
        let until = self.journal.head();
        if let Some(reading) = tables.get(reached.at).filter(|_| !reached.after.is_empty()) {
            // Whether the key that it goes on behind is one still: no row is read.
            let sql = format!("{} LIMIT 0", reading.rows_after(&reached.after));
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *db).await?;
        }
        let (mut after, mut void) = (reached.head, reached.void);
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
                    RecordBody::Control(Control::TableGap { source, tables: lost, .. })
                        if *source == self.settings.name
                            && tables.iter().any(|reading| lost.contains(&reading.relation.table)) =>
                    {
                        return Ok(Err("a table has lost changes since".into()));
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
                    } else if known.insert((place, change.key.clone())) {
                        void.keys += 1;
                        void.bytes += change.key.len() as u64 + BESIDE_KEY;
                        if !is_worth_it(void, reached.rows) {
                            return Ok(Err("so much has changed since that it is no more work to read all".into()));
                        }
                        changed.entry(place).or_default().push(change.key.clone());
                    }
                }
            }
            for (place, mut keys) in changed {
                keys.sort_unstable();
                for keys in keys.chunks(KEYS) {
                    let reading = &tables[place];
                    for key in keys {
                        out.push(Body::Change(reading.relation.void(key.clone()))).await?;
                    }
                    let until = if place == reached.at { reached.after.as_slice() } else { &[] };
                    let Some(sql) = reading.rows_of(keys, until) else {
                        return Ok(
                            Err("a key is so long that digests stand in it: its row can't be read by it".into()),
                        );
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
        Ok(Ok(void))
    }
}

/// Whether rows of a table are there, and are not read again in any case.
fn is_there(reached: &Reached, place: usize) -> bool {
    place < reached.at || (place == reached.at && !reached.after.is_empty())
}

/// Whether it is less work to read these rows again by their keys than to read anew the `rows` that are there.
fn is_worth_it(again: Void, rows: u64) -> bool {
    again.keys <= FEW.max(rows / SHARE) && again.bytes <= MOST_BYTES
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_keys_are_read_again_where_many_rows_are_there_and_fit_in_memory() {
        let worth = |keys, bytes, rows| is_worth_it(Void { keys, bytes }, rows);
        assert!(worth(50_000, 4_000_000, 60_000) && !worth(50_001, 4_000_000, 60_000));
        assert!(worth(250_000, 20_000_000, 1_000_000) && !worth(250_001, 20_000_000, 1_000_000));
        assert!(!worth(3_000, 65 << 20, 1_000_000), "keys of 22 KiB");
    }
}
