//! Journals of earlier formats.

use super::checkpoints::wanted;
use super::letters::{letter, write};
use super::*;

/// A letter as it was written then.
fn of_then(pipeline: &str, event: u64, text: &str) -> DeadLetter {
    DeadLetter { lacking: [].into(), delivered: false, ..letter(pipeline, event, text) }
}

/// Makes a file of format 1 of the one in `folder`: the tables of then, and bodies without checksums.
async fn of_format_1(folder: &Path) -> tempfile::TempDir {
    let old = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}?mode=rwc", old.path().join("journal.db").display());
    let pool = sqlx::pool::PoolOptions::<sqlx::Sqlite>::new().max_connections(1).connect(&url).await.unwrap();
    let run = async |sql: String| sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
    run(include_str!("format_1.sql").into()).await;
    run(format!("ATTACH '{}' AS new", folder.join("journal.db").display())).await;
    let tables = "SELECT name FROM main.sqlite_master WHERE type = 'table'";
    for table in sqlx::query_scalar::<_, String>(tables).fetch_all(&pool).await.unwrap() {
        run(format!("INSERT INTO main.{table} SELECT * FROM new.{table}")).await;
    }
    run("INSERT INTO main.channel_index SELECT channel, record, messages, bytes FROM new.channel_recent".into()).await;
    for table in ["record", "chunk"] {
        let unchecked = "SET body = CAST(x'01' || substr(body, 6) AS BLOB) WHERE substr(body, 1, 1) = x'02'";
        run(format!("UPDATE main.{table} {unchecked}")).await;
    }
    // Its letters end with the event.
    let letters = "kind = 3 AND substr(body, 2, 1) = x'04'";
    run(format!("UPDATE main.record SET size = size - 2, body = substr(body, 1, length(body) - 2) WHERE {letters}"))
        .await;
    run("UPDATE main.record SET size = size - 4".into()).await;
    pool.close().await;
    std::fs::copy(folder.join("journal.lock"), old.path().join("journal.lock")).unwrap();
    old
}

#[tokio::test]
async fn a_journal_of_format_1_is_opened_keeps_everything_and_knows_its_letters() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    journal.append(append(1..=5)).await.unwrap();
    journal.append(chunk(6..=7)).await.unwrap();
    journal.append(append(8..=8)).await.unwrap();
    let letters = [of_then("p", 1, "one"), of_then("q", 2, "two")];
    let mut numbers = Vec::new();
    for letter in &letters {
        numbers.push(write(&journal, letter).await);
    }
    for _ in 0..100 {
        journal.control(Control::RebuildWanted { pipeline: "p".into() }).await.unwrap();
    }
    let messages = vec![message("tasks", "m"), state_message("board", "k", "v")];
    journal.commit(Commit { state: vec![set("k", b"v")], ..commit(None, 8, messages) }).await.unwrap();
    let (shape_then, epoch) = (shape(&all(&journal).await), journal.epoch());
    let state = journal.pipeline("p").await.unwrap();
    journal.close().await;
    let old = of_format_1(folder.path()).await;

    for _ in 0..2 {
        let journal = Journal::open(old.path(), &from_disk(), &[]).await.unwrap();
        assert_eq!(shape(&all(&journal).await), shape_then);
        assert_eq!((journal.epoch(), journal.pipeline("p").await.unwrap()), (epoch.clone(), state.clone()));
        assert_eq!(history(&journal, &["tasks"], 0, 9).await.0.len(), 1);
        assert_eq!(journal.state_channel(&channels(&["board"])[0]).await.unwrap().messages.len(), 1);
        let known = journal.dead_letters(None, Number::ZERO, 10).await.unwrap();
        assert_eq!(
            known.iter().map(|l| (l.number, &l.letter)).collect::<Vec<_>>(),
            [(numbers[0], &letters[0]), (numbers[1], &letters[1])]
        );
        assert_eq!(journal.events_with_letters("q").await.unwrap(), [Number(2)]);
        assert_eq!(journal.checkpoints("p").await.unwrap(), []);
        journal.close().await;
    }
    let journal = open(old.path()).await;
    journal.append(append(9..=9)).await.unwrap();
    let number = journal.control(wanted("p")).await.unwrap();
    assert_eq!(journal.checkpoint(number).await.unwrap(), state);
    let records = journal.embedded.reader().read(Number::ZERO, 1 << 20).await.unwrap();
    assert_eq!(shape(&records)[..shape_then.len()], shape_then, "old and new records side by side");
}

#[tokio::test]
async fn an_upgrade_that_fails_leaves_the_journal_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    let number = write(&journal, &letter("p", 1, "one")).await;
    journal.close().await;
    let old = of_format_1(folder.path()).await;
    let file = old.path().join("journal.db");
    let run = async |sql: String| {
        let pool = sqlx::SqlitePool::connect(file.to_str().unwrap()).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
        pool.close().await;
    };
    run(format!("CREATE TABLE aside AS SELECT body FROM record WHERE first = {number}")).await;
    run(format!("UPDATE record SET body = x'01ff' WHERE first = {number}")).await;
    let refused = Journal::open(old.path(), &JournalSettings::default(), &[]).await.map(|_| ());
    assert!(matches!(&refused, Err(JournalError::Corrupt { why, .. }) if why.contains("record 1")), "{refused:?}");
    run(format!("UPDATE record SET body = (SELECT body FROM aside) WHERE first = {number}")).await;
    assert!(open(old.path()).await.dead_letter(number).await.unwrap().is_some());
}

#[tokio::test]
async fn a_journal_of_format_2_goes_on_and_earlier_versions_of_relevo_are_kept_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    journal.append(append(1..=5)).await.unwrap();
    let epoch = journal.epoch();
    journal.close().await;
    super::damage::change(folder.path(), "DROP TABLE channel_recent").await;
    super::damage::change(folder.path(), "PRAGMA user_version = 2").await;
    let journal = open(folder.path()).await;
    assert_eq!((shape(&all(&journal).await), journal.epoch()), (vec![(1, 5, vec![1, 2, 3, 4, 5])], epoch));
    journal.append(append(6..=500)).await.unwrap();
    journal.close().await;
    assert_eq!(format(folder.path()).unwrap(), Some(4));
}

#[tokio::test]
async fn a_journal_of_format_3_has_its_channels_index_and_goes_on_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    journal.append(append(1..=9)).await.unwrap();
    for n in 0..5_u64 {
        journal.commit(commit(n.checked_sub(1), n, vec![message("tasks", &n.to_string())])).await.unwrap();
    }
    let epoch = journal.epoch();
    journal.close().await;
    for old in [
        "INSERT INTO channel_index SELECT channel, record, messages, bytes FROM channel_recent",
        "DROP TABLE channel_recent",
        "PRAGMA user_version = 3",
    ] {
        super::damage::change(folder.path(), old).await;
    }
    assert_eq!(format(folder.path()).unwrap(), Some(3));
    let journal = Journal::open(folder.path(), &from_disk(), &[]).await.unwrap();
    assert_eq!(journal.epoch(), epoch);
    let wanted = |to: u64| (0..to).map(|n| (10 + n, n.to_string())).collect::<Vec<_>>();
    assert_eq!(history(&journal, &["tasks"], 0, 99).await.0, wanted(5));
    journal.commit(commit(Some(4), 5, vec![message("tasks", "5")])).await.unwrap();
    journal.commit(commit(Some(5), 6, vec![message("other", "6")])).await.unwrap();
    assert_eq!(history(&journal, &["tasks"], 0, 99).await.0, wanted(6), "old and new rows are one index");
    journal.close().await;
    assert_eq!(format(folder.path()).unwrap(), Some(4));
    assert!(crate::journal::check::check(folder.path()).await.unwrap().unwrap().sound);
}
