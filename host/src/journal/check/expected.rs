//! What applying the records gives: states and state channels, gathered in temporary tables (they may be larger than
//! memory) and compared with the journal's own.

use sqlx::Row as _;

use super::{Part, Result};
use crate::event::Name;
use crate::journal::Committed;
use crate::journal::codec::encode;
use crate::journal::index::sql;
use crate::journal::outside::Outside;
use crate::journal::script::Script;
use crate::message::ChannelKind;

const TABLES: &str = "
    CREATE TEMP TABLE known (pipeline TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TEMP TABLE entry (pipeline TEXT, owner TEXT, key TEXT, value BLOB, PRIMARY KEY (pipeline, owner, key)) WITHOUT ROWID;
    CREATE TEMP TABLE newest (channel TEXT, key TEXT, pipeline TEXT, number INTEGER, body BLOB, PRIMARY KEY (channel, key)) WITHOUT ROWID;";

pub(super) async fn begin(journal: &mut Outside) -> Result<()> {
    let wrap = journal.wrap();
    sqlx::raw_sql(TABLES).execute(&mut journal.conn).await.map_err(wrap)?;
    Ok(())
}

/// A record is missing: what came before it may have been changed by it.
pub(super) async fn forget(journal: &mut Outside) -> Result<()> {
    let wrap = journal.wrap();
    let all = "DELETE FROM temp.known; DELETE FROM temp.entry; DELETE FROM temp.newest;";
    sqlx::raw_sql(all).execute(&mut journal.conn).await.map_err(wrap)?;
    Ok(())
}

/// A pipeline was removed, with its state and its keys.
pub(super) async fn removed(journal: &mut Outside, pipeline: &str) -> Result<()> {
    let texts =
        ["temp.known", "temp.entry", "temp.newest"].map(|table| format!("DELETE FROM {table} WHERE pipeline = ?"));
    each(journal, &texts, pipeline).await
}

/// A pipeline's state begins with this commit: nothing of it is left.
async fn begins(journal: &mut Outside, commit: &Committed) -> Result<()> {
    let mut texts = vec![
        "INSERT OR IGNORE INTO temp.known VALUES (?)".to_owned(),
        "DELETE FROM temp.entry WHERE pipeline = ?".to_owned(),
    ];
    // Retention may have taken what told that it was removed; one that is rebuilt writes tombstones.
    if commit.after.is_none() {
        texts.push("DELETE FROM temp.newest WHERE pipeline = ?".to_owned());
    }
    each(journal, &texts, &commit.pipeline).await
}

async fn each(journal: &mut Outside, texts: &[String], pipeline: &str) -> Result<()> {
    let wrap = journal.wrap();
    for text in texts {
        let text = sqlx::AssertSqlSafe(text.as_str());
        sqlx::query(text).bind(pipeline).execute(&mut journal.conn).await.map_err(&wrap)?;
    }
    Ok(())
}

/// Applies a commit. `again`: another piece of the one before.
pub(super) async fn apply(journal: &mut Outside, commit: &Committed, again: bool) -> Result<()> {
    if (commit.reset || commit.after.is_none()) && !again {
        begins(journal, commit).await?;
    }
    let wrap = journal.wrap();
    let pipeline: &Name = &commit.pipeline;
    let head = "INSERT INTO temp.entry (pipeline, owner, key, value)";
    let tail = "ON CONFLICT (pipeline, owner, key) DO UPDATE SET value = excluded.value";
    // The last change of an entry wins; one statement may not meet a row twice.
    let last: std::collections::BTreeMap<_, _> = commit.state.iter().map(|c| ((&c.owner, &c.key), &c.value)).collect();
    let rows: Vec<_> = last.into_iter().collect();
    let mut script = Script::new(&mut journal.conn);
    script
        .rows(head, 4, tail, &rows, |values, ((owner, key), value)| {
            values.bind(&**pipeline).bind(&***owner).bind(&***key).bind(value.as_deref());
        })
        .await
        .map_err(&wrap)?;
    let newest = commit.messages.iter().filter(|m| m.channel_kind == ChannelKind::State);
    let last: std::collections::BTreeMap<_, _> =
        newest.map(|m| ((m.channel.as_str(), m.key.as_deref().unwrap_or_default()), m)).collect();
    let mut rows = Vec::with_capacity(last.len());
    for ((channel, key), message) in last {
        let body = if message.deleted { None } else { Some(encode(&**message)?) };
        rows.push((channel, key, message.number, body));
    }
    let head = "INSERT INTO temp.newest (channel, key, pipeline, number, body)";
    let tail = "ON CONFLICT (channel, key) DO UPDATE SET pipeline = excluded.pipeline, number = excluded.number, \
                body = excluded.body";
    script
        .rows(head, 5, tail, &rows, |values, (channel, key, number, body)| {
            values.bind(*channel).bind(*key).bind(&**pipeline).bind(sql(number.0)).bind(body.as_deref());
        })
        .await
        .map_err(&wrap)?;
    script.run().await.map_err(wrap)
}

/// Compares with what the journal has, in its own words: a row for each difference.
const DIFFERENCES: [(&str, &str); 5] = [
    (
        "is not what the newest commit that changed it says",
        "SELECT 'pipeline ' || e.pipeline || ', entry ' || e.owner || '/' || e.key FROM temp.entry e \
         JOIN cursor c ON c.pipeline = e.pipeline \
         LEFT JOIN state s ON s.pipeline = e.pipeline AND s.owner = e.owner AND s.key = e.key WHERE s.value IS NOT e.value",
    ),
    (
        "comes from no commit",
        "SELECT 'pipeline ' || s.pipeline || ', entry ' || s.owner || '/' || s.key FROM temp.known k \
         JOIN state s ON s.pipeline = k.pipeline \
         LEFT JOIN temp.entry e ON e.pipeline = s.pipeline AND e.owner = s.owner AND e.key = s.key WHERE e.key IS NULL",
    ),
    (
        "belongs to no pipeline",
        "SELECT DISTINCT 'the state of ' || s.pipeline FROM state s \
         WHERE NOT EXISTS (SELECT 1 FROM cursor WHERE pipeline = s.pipeline)",
    ),
    (
        "is not the newest message",
        "SELECT 'channel ' || n.channel || ', key ' || n.key FROM temp.newest n \
         JOIN cursor c ON c.pipeline = n.pipeline LEFT JOIN channel ch ON ch.name = n.channel \
         LEFT JOIN state_message m ON m.channel = ch.id AND m.key = n.key \
         WHERE m.body IS NOT n.body OR (n.body IS NOT NULL AND (m.number <> n.number OR m.pipeline <> n.pipeline))",
    ),
    (
        "is of a channel or a pipeline that is gone",
        "SELECT 'a state channel''s message ' || m.number FROM state_message m \
         WHERE NOT EXISTS (SELECT 1 FROM channel WHERE id = m.channel) \
         OR NOT EXISTS (SELECT 1 FROM cursor WHERE pipeline = m.pipeline)",
    ),
];

/// Compares. Returns how many entries and keys it knew.
pub(super) async fn compare(journal: &mut Outside, part: &mut Part) -> Result<(u64, u64)> {
    let wrap = journal.wrap();
    for (what, differences) in DIFFERENCES {
        let some = sqlx::AssertSqlSafe(format!("{differences} LIMIT 1000"));
        let found: Vec<String> = sqlx::query_scalar(some).fetch_all(&mut journal.conn).await.map_err(&wrap)?;
        found.into_iter().for_each(|which| part.wrong(format!("{which} {what}")));
    }
    let known = "SELECT (SELECT count(*) FROM temp.entry), (SELECT count(*) FROM temp.newest)";
    let row = sqlx::query(known).fetch_one(&mut journal.conn).await.map_err(&wrap)?;
    let count = |at: usize| row.try_get(at).map(crate::journal::index::unsql).map_err(&wrap);
    Ok((count(0)?, count(1)?))
}
