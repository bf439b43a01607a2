//! The parts of the check that need no walk through the records: SQLite's own, staged chunks, dead letters,
//! checkpoints.

use sqlx::Row as _;

use super::{Part, Result, SMALL};
use crate::event::{Name, Number};
use crate::journal::codec::{APPEND, CONTROL, decode};
use crate::journal::index::{sql, unsql};
use crate::journal::outside::Outside;
use crate::journal::shares::ROWS;
use crate::journal::{Append, Control, RecordBody, SourceState};

/// What SQLite says of its pages and indexes.
pub(super) async fn file(journal: &mut Outside) -> Result<Part> {
    let mut part = Part::new("file");
    let bytes = std::fs::metadata(&journal.path)?.len();
    if journal.running && bytes > SMALL {
        part.found = format!(
            "{bytes} bytes; SQLite's integrity check is left out, as it would hold up the running server: stop it, or \
             check a backup"
        );
        return Ok(part);
    }
    let wrap = journal.wrap();
    let said: Vec<String> =
        sqlx::query_scalar("PRAGMA integrity_check(100)").fetch_all(&mut journal.conn).await.map_err(wrap)?;
    part.found = format!("{bytes} bytes; SQLite's integrity check finds nothing");
    said.into_iter().filter(|line| line != "ok").for_each(|line| part.wrong(line));
    Ok(part)
}

/// Chunks whose last one has not come. Returns where they say that their sources stand.
pub(super) async fn staged(journal: &mut Outside, part: &mut Part) -> Result<Vec<(Name, SourceState)>> {
    let wrap = journal.wrap();
    let mut states = Vec::new();
    let mut after = 0_i64;
    loop {
        let next = "SELECT s.chunk, s.source, s.pipeline, c.body FROM staged s LEFT JOIN chunk c ON c.id = s.chunk \
                    WHERE s.chunk > ? ORDER BY s.chunk LIMIT 1";
        let row = sqlx::query(next).bind(after).fetch_optional(&mut journal.conn).await.map_err(&wrap)?;
        let Some(row) = row else { return Ok(states) };
        after = row.try_get(0).map_err(&wrap)?;
        let (source, pipeline): (String, String) = (row.try_get(1).map_err(&wrap)?, row.try_get(2).map_err(&wrap)?);
        let body: Option<Vec<u8>> = row.try_get(3).map_err(&wrap)?;
        let decoded = match &body {
            Some(body) => decode(APPEND, Number::ZERO, Number::ZERO, body).map(|record| record.body),
            None => Err("it is gone".to_owned()),
        };
        match decoded {
            Ok(RecordBody::Append(Append { incarnation, position, token, .. })) if pipeline.is_empty() => {
                states.retain(|(name, _)| **name != *source);
                states.push((source.into(), SourceState { incarnation, position, token }));
            }
            Ok(_) => {}
            Err(why) => part.wrong(format!("source {source}, chunk {after} of an unfinished transaction: {why}")),
        }
    }
}

/// Dead letters, which are kept longer than their records.
pub(super) async fn letters(journal: &mut Outside) -> Result<Part> {
    let wrap = journal.wrap();
    let mut part = Part::new("dead letters");
    let (mut after, mut letters) = (0_i64, 0_u64);
    loop {
        let next = "SELECT number, pipeline, event, body FROM dead_letter WHERE number > ? ORDER BY number LIMIT 1";
        let row = sqlx::query(next).bind(after).fetch_optional(&mut journal.conn).await.map_err(&wrap)?;
        let Some(row) = row else { break };
        after = row.try_get(0).map_err(&wrap)?;
        letters += 1;
        let (pipeline, event): (String, i64) = (row.try_get(1).map_err(&wrap)?, row.try_get(2).map_err(&wrap)?);
        let body: Vec<u8> = row.try_get(3).map_err(&wrap)?;
        let number = Number(unsql(after));
        match decode(CONTROL, number, number, &body).map(|record| record.body) {
            Ok(RecordBody::Control(Control::DeadLetter(letter)))
                if *letter.pipeline == *pipeline && letter.number == Number(unsql(event)) => {}
            Ok(_) => part.wrong(format!("letter {number} of pipeline {pipeline} is another one than its record says")),
            Err(why) => part.wrong(format!("letter {number} of pipeline {pipeline}: {why}")),
        }
    }
    part.found = format!("{letters} that are not closed");
    Ok(part)
}

/// Checkpoints, whose events must be there.
pub(super) async fn checkpoints(journal: &mut Outside, head: Number) -> Result<Part> {
    let wrap = journal.wrap();
    let mut part = Part::new("checkpoints");
    let kept_after = journal.kept_after().await?;
    let rows = sqlx::query("SELECT number, pipeline, cursor FROM checkpoint WHERE dropped = 0 ORDER BY number")
        .fetch_all(&mut journal.conn)
        .await
        .map_err(&wrap)?;
    for row in &rows {
        let (number, cursor): (i64, i64) = (row.try_get(0).map_err(&wrap)?, row.try_get(2).map_err(&wrap)?);
        let pipeline: String = row.try_get(1).map_err(&wrap)?;
        let (number, cursor) = (Number(unsql(number)), Number(unsql(cursor)));
        if cursor < kept_after {
            part.wrong(format!("checkpoint {number} of pipeline {pipeline}: its events after {cursor} are gone"));
        }
        if cursor > number || number > head {
            part.wrong(format!("checkpoint {number} of pipeline {pipeline} is ahead of the journal ({head})"));
        }
    }
    let lost =
        "SELECT count(*) FROM replaced r WHERE NOT EXISTS (SELECT 1 FROM checkpoint WHERE number = r.checkpoint)";
    let lost: i64 = sqlx::query_scalar(lost).fetch_one(&mut journal.conn).await.map_err(&wrap)?;
    if lost > 0 {
        part.wrong(format!("{lost} kept entries belong to no checkpoint"));
    }
    part.found = format!("{}, and the events after each", rows.len());
    Ok(part)
}

/// Where sources stand, against what the newest append of each says. Returns how many sources of events there are, and
/// how many tables whose form capture keeps, as `SOURCE:SCHEMA.TABLE`: no source's name has a colon.
pub(super) async fn sources(
    journal: &mut Outside,
    part: &mut Part,
    appended: &std::collections::HashMap<Name, SourceState>,
) -> Result<(u64, u64)> {
    let mut expected = appended.clone();
    expected.extend(staged(journal, part).await?);
    let sources = journal.sources().await?;
    for (name, found) in &sources {
        if expected.remove(name).is_some_and(|expected| expected != *found) {
            part.wrong(format!("source {name} stands elsewhere than its newest append says"));
        }
    }
    for name in expected.keys() {
        part.wrong(format!("where source {name} stands is gone"));
    }
    let forms = sources.keys().filter(|name| name.contains(':')).count() as u64;
    Ok((sources.len() as u64 - forms, forms))
}

/// Where pipelines stand, against the newest commit of each.
pub(super) async fn cursors(
    journal: &mut Outside,
    part: &mut Part,
    committed: &std::collections::HashMap<Name, Number>,
    head: Number,
) -> Result<u64> {
    let wrap = journal.wrap();
    let rows = sqlx::query("SELECT pipeline, number FROM cursor").fetch_all(&mut journal.conn).await.map_err(&wrap)?;
    for row in &rows {
        let (name, number): (String, i64) = (row.try_get(0).map_err(&wrap)?, row.try_get(1).map_err(&wrap)?);
        let cursor = Number(unsql(number));
        // Where nothing but the cursor moved there is no record.
        if let Some(least) = committed.get(&*name).filter(|least| cursor < **least) {
            part.wrong(format!("pipeline {name} stands at {cursor}, before its newest commit's end, {least}"));
        }
        if cursor > head {
            part.wrong(format!("pipeline {name} stands at {cursor}, beyond the newest record, {head}"));
        }
    }
    Ok(rows.len() as u64)
}

/// Index rows whose record is gone, or that are there twice.
pub(super) async fn without_record(journal: &mut Outside, part: &mut Part, from: u64, to: u64) -> Result<()> {
    let wrap = journal.wrap();
    let lost = format!(
        "SELECT record FROM {ROWS} i WHERE record BETWEEN ?1 AND ?2 \
         AND NOT EXISTS (SELECT 1 FROM record WHERE first = i.record) ORDER BY record LIMIT 100"
    );
    let lost = sqlx::query_scalar(sqlx::AssertSqlSafe(lost)).bind(sql(from)).bind(sql(to));
    let lost: Vec<i64> = lost.fetch_all(&mut journal.conn).await.map_err(&wrap)?;
    lost.iter().for_each(|record| part.wrong(format!("record {record}, which the channels' index names, is gone")));
    let twice = "SELECT r.record FROM channel_recent r JOIN channel_index i ON i.channel = r.channel AND i.record = r.record \
                 WHERE r.record BETWEEN ?1 AND ?2 ORDER BY r.record LIMIT 100";
    let twice = sqlx::query_scalar(twice).bind(sql(from)).bind(sql(to));
    let twice: Vec<i64> = twice.fetch_all(&mut journal.conn).await.map_err(wrap)?;
    twice.iter().for_each(|record| part.wrong(format!("record {record} is in both tables of the channels' index")));
    Ok(())
}
