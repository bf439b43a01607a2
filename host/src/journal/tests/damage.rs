//! Damaged, foreign and future files: refused by name, never a panic.

use super::*;

async fn refused(folder: &Path) -> JournalError {
    match Journal::open(folder, &JournalSettings::default(), &[]).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

async fn filled() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    for position in 1..=200 {
        journal.append(append(position..=position)).await.unwrap();
    }
    journal.close().await;
    folder
}

#[track_caller]
fn is_corrupt(error: JournalError) {
    assert!(matches!(error, JournalError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("restore a backup"), "{error}");
}

#[tokio::test]
async fn garbage_is_refused() {
    for garbage in [&b"hello"[..], &[0; 8192], &[0xff; 8192]] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("journal.db"), garbage).unwrap();
        is_corrupt(refused(folder.path()).await);
    }
}

#[tokio::test]
async fn an_empty_file_is_a_new_journal() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("journal.db"), b"").unwrap();
    open(folder.path()).await.append(append(1..=1)).await.unwrap();
}

#[tokio::test]
async fn a_truncated_file_is_refused() {
    for keep in [50, 4096, 20_000] {
        let folder = filled().await;
        let file = std::fs::File::options().write(true).open(folder.path().join("journal.db")).unwrap();
        assert!(file.metadata().unwrap().len() > keep);
        file.set_len(keep).unwrap();
        is_corrupt(refused(folder.path()).await);
    }
}

#[tokio::test]
async fn overwritten_pages_are_refused() {
    use std::os::unix::fs::FileExt as _;
    let folder = filled().await;
    let file = std::fs::File::options().write(true).open(folder.path().join("journal.db")).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    for page in 1..pages {
        file.write_at(&[0xa5; 4096], page * 4096).unwrap();
    }
    is_corrupt(refused(folder.path()).await);
}

pub(super) async fn change(folder: &Path, sql: &'static str) {
    let pool = sqlx::SqlitePool::connect(folder.join("journal.db").to_str().unwrap()).await.unwrap();
    sqlx::query(sql).execute(&pool).await.unwrap();
    pool.close().await;
}

#[tokio::test]
async fn damaged_records_are_refused() {
    let folder = filled().await;
    change(folder.path(), "UPDATE record SET body = x'01ffffffffff' WHERE first = 190").await;
    is_corrupt(refused(folder.path()).await);
    let folder = filled().await;
    change(folder.path(), "UPDATE record SET body = x'09' WHERE first = 190").await;
    is_corrupt(refused(folder.path()).await);
    let folder = filled().await;
    change(folder.path(), "DROP TABLE state").await;
    is_corrupt(refused(folder.path()).await);
}

#[tokio::test]
async fn a_record_of_which_one_bit_is_another_is_named() {
    for (memory, place) in [(64 << 20, 7), (1, 7), (1, 60)] {
        let folder = filled().await;
        let file = folder.path().join("journal.db");
        let pool = sqlx::SqlitePool::connect(file.to_str().unwrap()).await.unwrap();
        let body: Vec<u8> =
            sqlx::query_scalar("SELECT body FROM record WHERE first = 190").fetch_one(&pool).await.unwrap();
        let mut changed = body.clone();
        changed[place] ^= 4;
        sqlx::query("UPDATE record SET body = ? WHERE first = 190").bind(changed).execute(&pool).await.unwrap();
        pool.close().await;
        let error = match Journal::open(folder.path(), &settings(|s| s.memory = memory), &[]).await {
            Ok(journal) => journal.read(Number(189), 1).await.map(|_| ()).unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains("record 190: its checksum is wrong"), "{error}");
        is_corrupt(error);
    }
}

#[tokio::test]
async fn another_programs_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}?mode=rwc", folder.path().join("journal.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    sqlx::query("CREATE TABLE tareas (id INTEGER)").execute(&pool).await.unwrap();
    pool.close().await;
    is_corrupt(refused(folder.path()).await);
}

#[tokio::test]
async fn a_future_format_is_refused_by_number() {
    let folder = filled().await;
    change(folder.path(), "PRAGMA user_version = 7").await;
    let error = refused(folder.path()).await;
    assert!(matches!(error, JournalError::Format { found: 7, reads: 4, .. }), "{error:?}");
}
