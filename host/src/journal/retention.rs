//! Decides what is too old or too much, and has the writer delete it in small steps.
//!
//! Events go by age and size, but not before every pipeline has passed them, nor those after the newest
//! checkpoint of a pipeline, until the journal reaches its limit: then checkpoints give way, and if that
//! is not enough the slowest pipeline is marked and holds nothing back any more. Messages go by the rule
//! of their channel, dead letters by rules of their own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::Row;
use sqlx::sqlite::SqlitePool;
use tokio::sync::{mpsc, watch};

use super::index::{sql, unsql};
use super::prune::{Prune, STEP};
use super::shared::{Outcome, Shared};
use super::shares::ROWS;
use super::writer::{Command, Work};
use super::{Control, JournalError, checkpoints, codec, embedded};
use crate::config::ChannelSettings;
use crate::event::{Micros, Name, Number};
use crate::message::ChannelName;

type Result<T> = std::result::Result<T, JournalError>;

/// How often the size is looked at where nothing tells of growth.
const SIZE_EVERY: Duration = Duration::from_secs(5);

/// How often ages are looked at: a tenth of the shortest time, within these bounds.
const AGE_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How many pages hold something.
pub(super) const USED: &str =
    "SELECT (SELECT page_count FROM pragma_page_count) - (SELECT freelist_count FROM pragma_freelist_count)";

/// The channels that have history, with when the oldest record of each was applied. Both tables of the index are asked at
/// once, and each for itself: a table's own order is of use then.
const OLDEST: &str = "SELECT name, min(at) FROM \
    (SELECT id AS whose, (SELECT min(record) FROM channel_index WHERE channel = id) AS oldest FROM channel \
     UNION ALL SELECT channel, min(record) FROM channel_recent GROUP BY channel) \
    JOIN channel ON id = whose JOIN record ON first = oldest GROUP BY id";

/// The channels that have history, with how many bytes of messages each keeps.
const BYTES: &str = "SELECT name, sum(kept) FROM \
    (SELECT channel AS whose, sum(bytes) AS kept FROM channel_index GROUP BY channel \
     UNION ALL SELECT channel, sum(bytes) FROM channel_recent GROUP BY channel) \
    JOIN channel ON id = whose GROUP BY id";

/// Runs until `stop`.
pub(super) async fn run(
    shared: Arc<Shared>,
    pool: SqlitePool,
    commands: mpsc::WeakSender<Command>,
    mut stop: watch::Receiver<bool>,
) {
    let shortest = shared.rules.iter().filter_map(|r| r.keep_for).chain([shared.settings.keep_for]).min();
    let age_every = (shortest.unwrap_or_default() / 10).clamp(AGE_EVERY.0, AGE_EVERY.1);
    let mut aged = tokio::time::Instant::now();
    let mut warned = false;
    loop {
        tokio::select! {
            () = shared.wake_retention.notified() => {}
            () = tokio::time::sleep(SIZE_EVERY.min(age_every)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        shared.grown.store(0, Ordering::Relaxed);
        let Some(commands) = commands.upgrade() else { return };
        let pass = Pass { shared: &shared, pool: &pool, commands: &commands };
        let done = async {
            // With a clock that was put back, what is newest has no age at all.
            pass.by_size(shared.now(), &mut warned).await?;
            pass.letters(shared.now()).await?;
            if aged.elapsed() >= age_every {
                aged = tokio::time::Instant::now();
                pass.by_age(shared.now()).await?;
            }
            Ok::<_, JournalError>(())
        };
        let done = tokio::select! {
            done = done => done,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        if let Err(error) = done {
            tracing::warn!(%error, "retention failed; trying again later");
        }
    }
}

/// The pipeline that holds the most back, and where it stands on disk.
fn slowest(shared: &Shared) -> Option<(Name, Number)> {
    let known = shared.known();
    let holding = known.cursors.iter().filter(|(_, cursor)| cursor.gap.is_none());
    holding.map(|(name, cursor)| (name.clone(), cursor.on_disk())).min_by_key(|(_, number)| *number)
}

/// Whether appends must wait: the limit is passed by far, faster than retention could delete.
pub(super) fn full(shared: &Shared) -> Option<JournalError> {
    let (used, limit) = (shared.used.load(Ordering::Relaxed), shared.settings.limit_bytes);
    if used < limit.saturating_add(limit / 4) {
        return None;
    }
    shared.wake_retention.notify_one();
    slowest(shared).map(|(slowest, _)| JournalError::Full { used, limit, slowest })
}

pub(super) struct Pass<'a> {
    pub(super) shared: &'a Shared,
    pub(super) pool: &'a SqlitePool,
    pub(super) commands: &'a mpsc::Sender<Command>,
}

fn before(now: Micros, keep: Duration) -> Micros {
    Micros(now.0.saturating_sub(u64::try_from(keep.as_micros()).unwrap_or(u64::MAX)))
}

impl Pass<'_> {
    async fn ask(&self, prune: Prune) -> Result<bool> {
        match embedded::ask(self.commands, Work::Prune(prune)).await? {
            Outcome::Pruned(more) => Ok(more),
            _ => Ok(false),
        }
    }

    /// What the file's pages in use take, in bytes.
    async fn used(&self) -> Result<u64> {
        let pages: i64 = sqlx::query_scalar(USED).fetch_one(self.pool).await.map_err(|e| self.shared.storage(e))?;
        let used = unsql(pages) * super::wal::PAGE;
        self.shared.used.store(used, Ordering::Relaxed);
        Ok(used)
    }

    /// Deletes the oldest until the journal is as small as it should be, or a pipeline holds it back.
    pub(super) async fn by_size(&self, now: Micros, warned: &mut bool) -> Result<()> {
        let limit = self.shared.settings.limit_bytes;
        let keep = self.shared.settings.keep_bytes.min(limit);
        self.channels_by_size().await?;
        loop {
            self.dropped().await?;
            let used = self.used().await?;
            let slowest = slowest(self.shared);
            self.warn(used, slowest.as_ref(), warned);
            if used <= keep {
                return Ok(());
            }
            if let Some(through) = self.oldest(self.hold(now).await?).await? {
                self.ask(Prune::All { through }).await?;
                continue;
            }
            if used < limit {
                return Ok(());
            }
            if self.checkpoint_gives_way(used).await? {
                continue;
            }
            let Some((pipeline, cursor)) = slowest else { return Ok(()) };
            tracing::error!(%pipeline, %cursor, used, limit, "the journal is full: the pipeline loses events and must be rebuilt");
            let control = codec::prepare_control(Control::PipelineGap { pipeline: pipeline.clone() })?;
            embedded::ask(self.commands, Work::Gap(pipeline, control)).await?;
        }
    }

    /// Up to where records may go: all pipelines have passed them, and the newest checkpoint of each is
    /// not behind. One that is older than events are kept holds nothing back: else a pipeline that takes
    /// none for long would.
    async fn hold(&self, now: Micros) -> Result<Number> {
        let passed = slowest(self.shared).map_or(self.shared.head(), |(_, number)| number);
        let newest = "SELECT min(cursor) FROM \
                      (SELECT cursor, at, max(number) FROM checkpoint WHERE dropped = 0 GROUP BY pipeline) WHERE at >= ?";
        let checkpoint: Option<i64> = sqlx::query_scalar(newest)
            .bind(sql(before(now, self.shared.settings.keep_for).0))
            .fetch_one(self.pool)
            .await
            .map_err(|e| self.shared.storage(e))?;
        Ok(checkpoint.map_or(passed, |cursor| passed.min(Number(unsql(cursor)))))
    }

    /// Deletes what checkpoints that were dropped kept.
    async fn dropped(&self) -> Result<()> {
        let any = sqlx::query(checkpoints::UNNEEDED).fetch_optional(self.pool);
        if any.await.map_err(|e| self.shared.storage(e))?.is_some() {
            while self.ask(Prune::Dropped).await? {}
        }
        Ok(())
    }

    /// At the limit: the oldest checkpoint goes. Returns whether there was one.
    async fn checkpoint_gives_way(&self, used: u64) -> Result<bool> {
        let wrap = |e| self.shared.storage(e);
        let oldest = "SELECT number, pipeline FROM checkpoint WHERE dropped = 0 ORDER BY number LIMIT 1";
        let Some(row) = sqlx::query(oldest).fetch_optional(self.pool).await.map_err(wrap)? else { return Ok(false) };
        let (number, pipeline): (i64, String) = (row.try_get(0).map_err(wrap)?, row.try_get(1).map_err(wrap)?);
        let limit = self.shared.settings.limit_bytes;
        tracing::warn!(%pipeline, checkpoint = number, used, limit, "the journal is full: a checkpoint gives way");
        self.ask(Prune::Checkpoint { number: Number(unsql(number)) }).await
    }

    fn warn(&self, used: u64, slowest: Option<&(Name, Number)>, warned: &mut bool) {
        let limit = self.shared.settings.limit_bytes;
        let high = used >= limit / 5 * 4;
        if high && !*warned {
            let pipeline = slowest.map_or("", |(name, _)| name);
            tracing::warn!(
                used,
                limit,
                pipeline,
                "the journal is at 80 % of its limit; the slowest pipeline holds it back"
            );
        }
        *warned = high;
    }

    /// The last number of one step's worth of the oldest records that end at or before `hold`.
    async fn oldest(&self, hold: Number) -> Result<Option<Number>> {
        let last = "SELECT max(last) FROM \
                    (SELECT last FROM record WHERE kind <> 3 OR held = 0 ORDER BY first LIMIT ?2) WHERE last <= ?1";
        let last: Option<i64> = sqlx::query_scalar(last)
            .bind(sql(hold.0))
            .bind(STEP)
            .fetch_one(self.pool)
            .await
            .map_err(|e| self.shared.storage(e))?;
        Ok(last.map(|last| Number(unsql(last))))
    }

    /// Deletes what is older than it may be at `now`.
    pub(super) async fn by_age(&self, now: Micros) -> Result<()> {
        let cutoff = before(now, self.shared.settings.keep_for);
        loop {
            let hold = self.hold(now).await?;
            let loose = "SELECT max(last) FROM (SELECT last, at FROM record WHERE held = 0 ORDER BY first LIMIT ?3) \
                         WHERE last <= ?1 AND at < ?2";
            let through: Option<i64> = sqlx::query_scalar(loose)
                .bind(sql(hold.0))
                .bind(sql(cutoff.0))
                .bind(STEP)
                .fetch_one(self.pool)
                .await
                .map_err(|e| self.shared.storage(e))?;
            let Some(through) = through else { break };
            if !self.ask(Prune::Loose { through: Number(unsql(through)) }).await? {
                break;
            }
        }
        for (channel, at) in self.channels(OLDEST).await? {
            let keep = self.rule(&channel).and_then(|r| r.keep_for).unwrap_or(self.shared.settings.keep_for);
            let cutoff = before(now, keep);
            if at < cutoff.0 {
                self.channel_by_age(&channel, cutoff).await?;
            }
        }
        let any = sqlx::query("SELECT 1 FROM idempotency WHERE at < ? LIMIT 1").bind(sql(cutoff.0));
        if any.fetch_optional(self.pool).await.map_err(|e| self.shared.storage(e))?.is_some() {
            while self.ask(Prune::Keys { before: cutoff.0 }).await? {}
        }
        Ok(())
    }

    /// Deletes the dead letters that are too old at `now` or too many.
    pub(super) async fn letters(&self, now: Micros) -> Result<()> {
        let settings = &self.shared.settings;
        // Letters alone must not bring the journal to its limit.
        let bytes = settings.letters_bytes.min(settings.limit_bytes / 4);
        let cutoff = before(now, settings.keep_letters_for);
        let wrap = |e| self.shared.storage(e);
        let all = "SELECT coalesce(sum(bytes), 0) FROM dead_letter";
        let all: i64 = sqlx::query_scalar(all).fetch_one(self.pool).await.map_err(wrap)?;
        let (mut kept, mut gone) = (unsql(all), 0_u64);
        loop {
            let oldest = "SELECT number, at, bytes FROM dead_letter ORDER BY number LIMIT ?";
            let rows = sqlx::query(oldest).bind(STEP).fetch_all(self.pool).await.map_err(wrap)?;
            let mut through = None;
            for row in &rows {
                let column = |at: usize| row.try_get(at).map(unsql).map_err(wrap);
                if column(1)? >= cutoff.0 && kept <= bytes {
                    break;
                }
                through = Some(Number(column(0)?));
                kept = kept.saturating_sub(column(2)?);
                gone += 1;
            }
            let Some(through) = through else { break };
            if !self.ask(Prune::Letters { through }).await? {
                break;
            }
        }
        if gone > 0 {
            tracing::warn!(letters = gone, kept_bytes = kept, "dead letters went that were too old or too many");
        }
        Ok(())
    }

    fn rule(&self, channel: &ChannelName) -> Option<&ChannelSettings> {
        self.shared.rules.iter().find(|rule| rule.matches(channel))
    }

    /// All channels that have history, each with a number of `which`.
    async fn channels(&self, which: &'static str) -> Result<Vec<(ChannelName, u64)>> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as(which).fetch_all(self.pool).await.map_err(|e| self.shared.storage(e))?;
        let named = |(name, number): (String, i64)| Some((ChannelName::new(&name).ok()?, unsql(number)));
        Ok(rows.into_iter().filter_map(named).collect())
    }

    async fn channel_by_age(&self, channel: &ChannelName, cutoff: Micros) -> Result<()> {
        let oldest = format!(
            "SELECT max(record) FROM (SELECT record FROM {ROWS} \
             WHERE channel = (SELECT id FROM channel WHERE name = ?1) ORDER BY record LIMIT ?3) \
             JOIN record ON first = record WHERE at < ?2"
        );
        loop {
            let through: Option<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(oldest.clone()))
                .bind(channel.as_str())
                .bind(sql(cutoff.0))
                .bind(STEP)
                .fetch_one(self.pool)
                .await
                .map_err(|e| self.shared.storage(e))?;
            let Some(through) = through else { return Ok(()) };
            if !self.ask(Prune::Channel { channel: channel.clone(), through: Number(unsql(through)) }).await? {
                return Ok(());
            }
        }
    }

    async fn channels_by_size(&self) -> Result<()> {
        if self.shared.rules.iter().all(|rule| rule.keep_bytes.is_none()) {
            return Ok(());
        }
        // The newest record up to which the channel's messages are more than it may keep.
        let over = format!(
            "SELECT record FROM (SELECT record, sum(bytes) OVER (ORDER BY record DESC) AS newer \
             FROM {ROWS} WHERE channel = (SELECT id FROM channel WHERE name = ?1)) \
             WHERE newer > ?2 ORDER BY record DESC LIMIT 1"
        );
        for (channel, bytes) in self.channels(BYTES).await? {
            let Some(keep) = self.rule(&channel).and_then(|rule| rule.keep_bytes) else { continue };
            if bytes <= keep {
                continue;
            }
            let through: Option<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(over.clone()))
                .bind(channel.as_str())
                .bind(sql(keep))
                .fetch_optional(self.pool)
                .await
                .map_err(|e| self.shared.storage(e))?;
            let Some(through) = through else { continue };
            while self.ask(Prune::Channel { channel: channel.clone(), through: Number(unsql(through)) }).await? {}
        }
        Ok(())
    }
}
