//! Reads every record in order: can it be read, is it where it should be, do the channels' index and the positions
//! fit it. What it does to the indexes is gathered on the way and compared at the end.

use std::collections::{BTreeMap, HashMap};

use sqlx::Row as _;

use super::{Counts, Part, Result, expected, parts};
use crate::event::{Micros, Name, Number, Position};
use crate::journal::codec::{APPEND, COMMIT, CONTROL, encode};
use crate::journal::index::{sql, unsql};
use crate::journal::outside::{Outside, Stored};
use crate::journal::shares::ROWS;
use crate::journal::{Append, Committed, Control, Record, RecordBody, SourceState};
use crate::message::ChannelKind;

/// What was found on the way.
pub(super) struct Walk {
    pub(super) counts: Counts,
    /// The number that the next record should begin with.
    next: u64,
    at: u64,
    /// By life: where its newest append and its newest event are, and that event's time.
    lives: HashMap<i64, Life>,
    /// Where the newest append of each source leaves it.
    sources: HashMap<Name, SourceState>,
    /// Where the newest commit of each pipeline leaves it.
    cursors: HashMap<Name, Number>,
    /// Of the record before, if it was a commit: its pipeline, where it began and ended, and when. A large commit is
    /// several records that are alike in this.
    commit: Option<(Name, Option<Number>, Number, u64)>,
    records: Part,
    channels: Part,
    positions: Part,
    states: Part,
    rest: Vec<Part>,
}

#[derive(Default)]
struct Life {
    append: Position,
    event: Option<Position>,
    committed_at: Micros,
}

/// Goes through all records; what was found stands even if SQLite stops it.
pub(super) async fn walk(journal: &mut Outside) -> (Walk, Result<()>) {
    let mut walk = Walk {
        counts: Counts::default(),
        next: 1,
        at: 0,
        lives: HashMap::new(),
        sources: HashMap::new(),
        cursors: HashMap::new(),
        commit: None,
        records: Part::new("records"),
        channels: Part::new("channel index"),
        positions: Part::new("positions"),
        states: Part::new("states"),
        rest: Vec::new(),
    };
    let done = walk.all(journal).await;
    (walk, done)
}

impl Walk {
    pub(super) fn into_parts(self) -> Vec<Part> {
        let mut parts = vec![self.records, self.channels, self.positions, self.states];
        parts.extend(self.rest);
        parts
    }

    async fn all(&mut self, journal: &mut Outside) -> Result<()> {
        expected::begin(journal).await?;
        // Page by page, so that a server's checkpoints find moments without a reader.
        while {
            let head = journal.head().await?;
            self.near(head)
        } {
            begin(journal).await?;
            self.page(journal).await?;
            end(journal).await?;
        }
        // The rest, and the indexes, are of one moment.
        begin(journal).await?;
        while self.page(journal).await? {}
        self.compare(journal).await?;
        end(journal).await
    }

    /// Whether there is much left to read.
    fn near(&self, head: Number) -> bool {
        self.next.saturating_add(10_000) < head.0
    }

    /// Looks at the next records. False: there are none.
    async fn page(&mut self, journal: &mut Outside) -> Result<bool> {
        let from = self.next;
        let page = journal.page(from).await?;
        let Some(to) = page.last().map(|record| record.first) else {
            let end = journal.head().await?.0.saturating_add(1);
            self.hole(journal, end).await?;
            return Ok(false);
        };
        let mut index = index_of(journal, from, to).await?;
        for stored in &page {
            if stored.first > self.next {
                self.hole(journal, stored.first).await?;
            }
            let shares = index.remove(&stored.first).unwrap_or_default();
            self.record(journal, stored, shares).await?;
            self.next = self.next.max(stored.last.saturating_add(1));
        }
        parts::without_record(journal, &mut self.channels, from, to).await?;
        Ok(true)
    }

    /// No record holds the numbers before `to`: retention took them, or they are lost.
    async fn hole(&mut self, journal: &mut Outside, to: u64) -> Result<()> {
        if to <= self.next {
            return Ok(());
        }
        let wrap = journal.wrap();
        let floor: i64 = sqlx::query_scalar("SELECT coalesce(max(floor), 0) FROM channel")
            .fetch_one(&mut journal.conn)
            .await
            .map_err(wrap)?;
        let kept_after = journal.kept_after().await?.0.max(unsql(floor));
        if to - 1 > kept_after {
            let from = self.next.max(kept_after + 1);
            self.records.wrong(format!("the records of the numbers {from} to {} are gone", to - 1));
        }
        self.forget(journal).await?;
        self.next = to;
        Ok(())
    }

    /// What is missing may have changed everything that commits change. (Appends go oldest first: where the newest
    /// of a source is left, nothing after it is missing.)
    async fn forget(&mut self, journal: &mut Outside) -> Result<()> {
        self.commit = None;
        self.cursors.clear();
        expected::forget(journal).await
    }

    async fn record(&mut self, journal: &mut Outside, stored: &Stored, shares: Shares) -> Result<()> {
        let first = stored.first;
        if first < self.next {
            self.records.wrong(format!("record {first} begins before the one before it ended"));
        }
        if stored.at < self.at {
            self.records.wrong(format!("record {first} was applied before the one before it"));
        }
        self.at = self.at.max(stored.at);
        self.counts.newest = Some(Micros(self.at));
        let bytes = stored.body.as_ref().map_or(0, |body| body.len() as u64);
        self.counts.bytes += bytes;
        let record = match stored.decode() {
            Ok(record) => record,
            Err(why) => {
                let kind = match stored.kind {
                    APPEND => "an append",
                    COMMIT => "a commit",
                    CONTROL => "a control",
                    _ => "of no known kind",
                };
                self.records.wrong(format!("{why} ({kind} of {})", Micros(stored.at).rfc3339()));
                return self.forget(journal).await;
            }
        };
        if record.bytes as u64 != stored.size {
            self.records.wrong(format!("record {first} has {} bytes instead of {}", record.bytes, stored.size));
        }
        let held = match &record.body {
            RecordBody::Append(append) => {
                self.append(journal, stored, append).await?;
                false
            }
            RecordBody::Commit(commit) => {
                let derived = shares_of(commit)?;
                self.shares(journal, &record, &derived, shares).await?;
                self.commit(journal, &record, commit).await?;
                !derived.is_empty()
            }
            RecordBody::Control(control) => {
                self.counts.controls += 1;
                if let Control::PipelineRemoved { pipeline } = control {
                    self.cursors.remove(pipeline);
                    expected::removed(journal, pipeline).await?;
                }
                control.is_loss()
            }
        };
        if !matches!(record.body, RecordBody::Commit(_)) {
            self.commit = None;
        }
        if stored.held != held {
            self.channels.wrong(format!("record {first} is kept by other rules than its kind's"));
        }
        Ok(())
    }

    async fn append(&mut self, journal: &mut Outside, stored: &Stored, append: &Append) -> Result<()> {
        let first = stored.first;
        let Append { source, incarnation, position, token, events, snapshot, .. } = append;
        self.counts.appends += 1;
        self.counts.events += events.len() as u64;
        if stored.last.saturating_sub(first).saturating_add(1) != (events.len() as u64).max(1) {
            self.records.wrong(format!(
                "record {first} has {} events for its numbers to {}",
                events.len(),
                stored.last
            ));
        }
        if snapshot.is_some() {
            return Ok(());
        }
        let Some((id, place)) = stored.place.filter(|(_, place)| place == position) else {
            self.positions.wrong(format!("record {first} of source {source} is not indexed at its position"));
            return Ok(());
        };
        let life = match self.lives.entry(id) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                let wrap = journal.wrap();
                let row = sqlx::query("SELECT source, incarnation FROM life WHERE id = ?")
                    .bind(id)
                    .fetch_optional(&mut journal.conn)
                    .await
                    .map_err(&wrap)?;
                let text = |row: &sqlx::sqlite::SqliteRow, at| row.try_get::<String, _>(at).map_err(&wrap);
                let fits = match &row {
                    Some(row) => *text(row, 0)? == **source && *text(row, 1)? == **incarnation,
                    None => false,
                };
                if !fits {
                    self.positions.wrong(format!("record {first}: its life of source {source} is not known"));
                }
                new.insert(Life::default())
            }
        };
        if place < life.append {
            self.positions.wrong(format!("record {first}: source {source} goes back"));
        }
        life.append = place;
        for event in events {
            if life.event.is_some_and(|before| event.position <= before) {
                self.positions.wrong(format!("event {} of source {source} is there twice, or goes back", event.number));
            }
            if event.committed_at < life.committed_at {
                self.positions.wrong(format!("event {} of source {source}: its time goes back", event.number));
            }
            (life.event, life.committed_at) = (Some(event.position), event.committed_at);
        }
        let state = SourceState { incarnation: incarnation.clone(), position: *position, token: token.clone() };
        self.sources.insert(source.clone(), state);
        Ok(())
    }

    async fn commit(&mut self, journal: &mut Outside, record: &Record, commit: &Committed) -> Result<()> {
        self.counts.commits += 1;
        self.counts.messages += commit.messages.len() as u64;
        let first = record.first;
        let Committed { pipeline, after, cursor, .. } = commit;
        if commit.messages.iter().any(|message| message.number > record.last) {
            self.records.wrong(format!("record {first} has messages beyond its last number, {}", record.last));
        }
        let this = (pipeline.clone(), *after, *cursor, self.at);
        let again = self.commit.as_ref() == Some(&this);
        if !again {
            let before = self.cursors.get(pipeline);
            if before.is_some_and(|before| after.is_some_and(|after| after < *before)) {
                self.positions.wrong(format!("record {first}: pipeline {pipeline} did not stand where it begins"));
            }
            if *cursor >= first {
                self.positions.wrong(format!("record {first}: pipeline {pipeline} read what came after it"));
            }
        }
        self.cursors.insert(pipeline.clone(), *cursor);
        expected::apply(journal, commit, again).await?;
        self.commit = Some(this);
        Ok(())
    }

    /// Compares a commit's share of each channel with the channels' index.
    async fn shares(
        &mut self,
        journal: &mut Outside,
        record: &Record,
        derived: &BTreeMap<String, (u64, u64)>,
        indexed: Shares,
    ) -> Result<()> {
        let first = record.first;
        for (channel, share) in &indexed {
            if derived.get(channel) != Some(share) {
                self.channels
                    .wrong(format!("record {first}: channel {channel} has other messages than its index says"));
            }
        }
        for channel in derived.keys().filter(|channel| !indexed.contains_key(*channel)) {
            let wrap = journal.wrap();
            let floor: Option<i64> = sqlx::query_scalar("SELECT floor FROM channel WHERE name = ?")
                .bind(channel)
                .fetch_optional(&mut journal.conn)
                .await
                .map_err(wrap)?;
            if floor.map_or(0, unsql) < record.last.0 {
                self.channels.wrong(format!("record {first}: its messages are not in the index of channel {channel}"));
            }
        }
        Ok(())
    }

    async fn compare(&mut self, journal: &mut Outside) -> Result<()> {
        let head = journal.head().await?;
        let (sources, forms) = parts::sources(journal, &mut self.positions, &self.sources).await?;
        let pipelines = parts::cursors(journal, &mut self.positions, &self.cursors, head).await?;
        let (entries, keys) = expected::compare(journal, &mut self.states).await?;
        let Counts { appends, events, commits, messages, controls, .. } = self.counts;
        self.records.found = format!(
            "{appends} appends with {events} events, {commits} commits with {messages} messages, {controls} controls"
        );
        self.channels.found = "it names what the commits hold".into();
        let forms = if forms == 0 { String::new() } else { format!(", forms of tables: {forms}") };
        self.positions.found = format!(
            "sources of events: {sources}, pipelines: {pipelines}{forms}; each where its newest record left it"
        );
        self.states.found =
            format!("{entries} entries and {keys} keys of state channels, as the commits that are left say");
        self.rest.push(parts::checkpoints(journal, head).await?);
        self.rest.push(parts::letters(journal).await?);
        Ok(())
    }
}

/// Messages and bytes of each channel.
type Shares = BTreeMap<String, (u64, u64)>;

fn shares_of(commit: &Committed) -> Result<Shares> {
    let mut shares = Shares::new();
    for message in commit.messages.iter().filter(|m| m.channel_kind == ChannelKind::Stream) {
        let share = shares.entry(message.channel.to_string()).or_default();
        *share = (share.0 + 1, share.1 + encode(&**message)?.len() as u64);
    }
    Ok(shares)
}

async fn index_of(journal: &mut Outside, from: u64, to: u64) -> Result<HashMap<u64, Shares>> {
    let wrap = journal.wrap();
    let rows = format!(
        "SELECT i.record, c.name, i.messages, i.bytes FROM {ROWS} i JOIN channel c ON c.id = i.channel \
         WHERE i.record BETWEEN ? AND ?"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(rows))
        .bind(sql(from))
        .bind(sql(to))
        .fetch_all(&mut journal.conn)
        .await
        .map_err(&wrap)?;
    let mut index = HashMap::<u64, Shares>::new();
    for row in &rows {
        let number = |at: usize| row.try_get(at).map(unsql).map_err(&wrap);
        let name: String = row.try_get(1).map_err(&wrap)?;
        index.entry(number(0)?).or_default().insert(name, (number(2)?, number(3)?));
    }
    Ok(index)
}

async fn begin(journal: &mut Outside) -> Result<()> {
    let wrap = journal.wrap();
    sqlx::raw_sql("BEGIN").execute(&mut journal.conn).await.map_err(wrap)?;
    Ok(())
}

async fn end(journal: &mut Outside) -> Result<()> {
    let wrap = journal.wrap();
    sqlx::raw_sql("COMMIT").execute(&mut journal.conn).await.map_err(wrap)?;
    Ok(())
}
