//! The channels' index is in two tables, and nobody sees it.

use sqlx::Connection as _;

use super::*;
use crate::journal::check::check;
use crate::journal::prune::Prune;
use crate::journal::shares::{ROWS, Recent};
use crate::journal::writer::Work;

/// How many rows are in each table: in its place, and recent.
async fn rows(journal: &Journal) -> (i64, i64) {
    let count = "SELECT (SELECT count(*) FROM channel_index), (SELECT count(*) FROM channel_recent)";
    sqlx::query_as(count).fetch_one(&journal.embedded.pool).await.unwrap()
}

async fn ask(journal: &Journal, prune: Prune) {
    journal.embedded.ask(Work::Prune(prune)).await.unwrap();
}

/// What a plain list makes of it.
#[derive(Default)]
struct Model {
    /// Number, channel, what is said, where its record begins.
    messages: Vec<(u64, String, String, u64)>,
    /// By channel: up to where its messages are gone.
    floors: BTreeMap<String, u64>,
}

impl Model {
    fn kept(&self, channels: &[&str], after: u64) -> Vec<(u64, String)> {
        let is_kept = |(number, channel, ..): &&(u64, String, String, u64)| {
            let floor = self.floors.get(channel).copied().unwrap_or_default();
            channels.contains(&channel.as_str()) && *number > after.max(floor)
        };
        self.messages.iter().filter(is_kept).map(|(number, _, said, _)| (*number, said.clone())).collect()
    }
}

/// Reads a history to its end, `limit` messages at a time.
async fn read(journal: &Journal, names: &[&str], mut after: u64, limit: usize) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    while after < journal.head().0 {
        let piece = journal.history(&channels(names), Number(after), limit).await.unwrap();
        found.extend(said(&piece.messages));
        assert!(piece.through.0 > after, "it goes on");
        after = piece.through.0;
    }
    found
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

async fn a_random_life(seed: u64) {
    let mut dice = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path(), &from_disk(), &[]).await.unwrap();
    journal.append(append(1..=500)).await.unwrap();
    let (mut model, mut cursor, mut both) = (Model::default(), None, 0);
    for step in 0..120_u64 {
        match dice.u8(..20) {
            0..12 => {
                let first = journal.head().0 + 1;
                let said: Vec<_> =
                    (0..dice.u64(1..6)).map(|n| (dice.choice(NAMES).unwrap(), format!("{step}.{n}"))).collect();
                let messages = said.iter().map(|(channel, text)| message(channel, text)).collect();
                journal.commit(commit(cursor, step, messages)).await.unwrap();
                cursor = Some(step);
                let numbered = said.into_iter().zip(first..);
                model
                    .messages
                    .extend(numbered.map(|((channel, text), number)| (number, channel.to_owned(), text, first)));
            }
            // Some rows, or a few, or all of them.
            12..15 => ask(&journal, Prune::Index(dice.u64(1..20))).await,
            15 => ask(&journal, Prune::Index(1000)).await,
            16..18 => {
                let Some((_, channel, _, through)) = dice.choice(&model.messages).cloned() else { continue };
                let name = channels(&[&channel]).remove(0);
                ask(&journal, Prune::Channel { channel: name, through: Number(through) }).await;
                let left = format!(
                    "SELECT count(*) FROM {ROWS} WHERE record <= ? AND channel = (SELECT id FROM channel WHERE name = ?)"
                );
                let left = sqlx::query_scalar(sqlx::AssertSqlSafe(left)).bind(i64::try_from(through).unwrap());
                let left: i64 = left.bind(&channel).fetch_one(&journal.embedded.pool).await.unwrap();
                assert!(left == 0, "seed {seed}, step {step}: {left} rows of {channel} are left");
                let gone = model.messages.iter().filter(|m| m.1 == channel && m.3 <= through).map(|m| m.3).max();
                // The whole record of the newest is gone for the channel.
                let last = model.messages.iter().filter(|m| Some(m.3) == gone).map(|m| m.0).max().unwrap_or_default();
                let floor = model.floors.entry(channel).or_default();
                *floor = (*floor).max(last);
            }
            18 => {
                journal.close().await;
                journal = Journal::open(folder.path(), &from_disk(), &[]).await.unwrap();
            }
            _ => {
                let killed = killed_copy(folder.path());
                let there = Journal::open(killed.path(), &from_disk(), &[]).await.unwrap();
                assert_eq!(read(&there, &NAMES, 0, 1000).await, model.kept(&NAMES, 0), "seed {seed}, killed at {step}");
            }
        }
        both += u64::from({
            let (placed, recent) = rows(&journal).await;
            placed > 0 && recent > 0
        });
        let names = &NAMES[dice.usize(..3)..dice.usize(3..=5)];
        let after = dice.u64(..=journal.head().0);
        let found = read(&journal, names, after, dice.usize(1..9)).await;
        assert_eq!(found, model.kept(names, after), "seed {seed}, step {step}: {names:?} after {after}");
    }
    assert!(both > 20, "rows are in both tables: {both}");
    let report = check(folder.path()).await.unwrap().unwrap();
    assert!(report.sound, "seed {seed}: {report:?}");
    // The oldest go with their records, whichever table names them.
    journal.commit(commit(cursor, journal.head().0, vec![message("a", "last")])).await.unwrap();
    let through = model.messages[model.messages.len() / 2].0;
    ask(&journal, Prune::All { through: Number(through) }).await;
    let report = check(folder.path()).await.unwrap().unwrap();
    assert!(report.sound, "seed {seed}: {report:?}");
    journal.close().await;
}

#[tokio::test]
async fn histories_over_both_tables_are_what_a_plain_list_says() {
    for seed in 0..6 {
        a_random_life(seed).await;
    }
}

#[tokio::test]
async fn records_go_by_size_with_their_rows_in_both_tables() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), &from_disk(), &[]).await.unwrap();
    journal.append(append(1..=3)).await.unwrap();
    let mut after = None;
    for _ in 0..6 {
        let cursor = journal.head().0;
        journal.commit(commit(after, cursor, vec![message("a", "x"), message("b", "x")])).await.unwrap();
        after = Some(cursor);
    }
    ask(&journal, Prune::Index(3)).await;
    assert_eq!(rows(&journal).await, (3, 9));
    ask(&journal, Prune::All { through: Number(11) }).await;
    assert_eq!(rows(&journal).await.0 + rows(&journal).await.1, 4, "two commits are left");
    let found = journal.history(&channels(&["a", "b"]), Number(0), 100).await.unwrap();
    assert_eq!(found.messages.iter().map(|m| m.number.0).collect::<Vec<_>>(), [12, 13, 14, 15]);
    assert!(check(folder.path()).await.unwrap().unwrap().sound);
}

/// Commits until so many rows came, a hundred at a time; the most that were recent, and how many are.
async fn come(journal: &Journal, rows_to_come: u64, after: &mut Option<u64>) -> (i64, i64) {
    let mut most = 0;
    for _ in 0..rows_to_come / 100 {
        let n = after.map_or(0, |after| after + 1);
        let messages = (0..100).map(|c| message(&format!("user:{}", (n * 37 + c * 11) % 500), "x")).collect();
        journal.commit(commit(*after, n, messages)).await.unwrap();
        *after = Some(n);
        most = most.max(rows(journal).await.1);
    }
    (most, rows(journal).await.1)
}

#[tokio::test]
async fn a_move_that_fails_takes_nothing_with_it_and_later_ones_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), &from_disk(), &[]).await.unwrap();
    journal.append(append(1..=1)).await.unwrap();
    let mut outside =
        sqlx::SqliteConnection::connect(folder.path().join("journal.db").to_str().unwrap()).await.unwrap();
    let mut after = None;
    // The move's COMMIT is refused; then its statement, and SQLite rolls back by itself, as where there is no room.
    for refused in ["INSERT INTO child VALUES (1)", "SELECT RAISE(ROLLBACK, 'no room')"] {
        let refuse = format!(
            "CREATE TABLE parent (id INTEGER PRIMARY KEY);
             CREATE TABLE child (id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED);
             CREATE TRIGGER refused AFTER INSERT ON channel_index BEGIN {refused}; END"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(refuse)).execute(&mut outside).await.unwrap();
        let placed = rows(&journal).await.0;
        let (_, recent) = come(&journal, Recent::LIMIT + 200, &mut after).await;
        assert!(recent >= i64::try_from(Recent::LIMIT).unwrap(), "{refused}: {recent} rows wait");
        assert_eq!(rows(&journal).await.0, placed, "{refused}");
        let allow = "DROP TRIGGER refused; DROP TABLE child; DROP TABLE parent";
        sqlx::raw_sql(allow).execute(&mut outside).await.unwrap();
        let (_, recent) = come(&journal, 2 * Recent::LIMIT, &mut after).await;
        assert!(recent <= i64::try_from(Recent::LIMIT).unwrap() + 300, "{refused}: {recent} rows wait");
    }
    outside.close().await.unwrap();
    // In one look: the writer may be moving some.
    let (placed, recent) = rows(&journal).await;
    assert_eq!(placed + recent, i64::try_from(after.unwrap() + 1).unwrap() * 100);
    journal.close().await;
    assert!(check(folder.path()).await.unwrap().unwrap().sound);
}

#[tokio::test]
async fn the_writer_moves_rows_by_itself_and_never_has_many_more_than_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), &from_disk(), &[]).await.unwrap();
    journal.append(append(1..=1)).await.unwrap();
    let (most, _) = come(&journal, 12_000, &mut None).await;
    let (placed, recent) = rows(&journal).await;
    assert_eq!(placed + recent, 12_000);
    let limit = i64::try_from(Recent::LIMIT).unwrap();
    assert!(placed > 0 && most > limit / 2 && most <= limit + 300, "at most {most} rows waited, {placed} moved");
    assert!(check(folder.path()).await.unwrap().unwrap().sound);
}
