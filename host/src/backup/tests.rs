//! A backup that an earlier relevo made, whose journal is of an earlier format.

use std::path::Path;

use super::manifest::{self, Manifest};
use super::*;
use crate::config::JournalSettings;
use crate::journal::{self, Control, Journal};

async fn open(folder: &Path) -> Journal {
    Journal::open(folder, &JournalSettings::default(), &[]).await.unwrap()
}

/// Makes the journal in a folder one of format 3.
async fn of_format_3(folder: &Path) {
    let file = folder.join(JOURNAL);
    let pool = sqlx::SqlitePool::connect(file.to_str().unwrap()).await.unwrap();
    let older = "INSERT INTO channel_index SELECT channel, record, messages, bytes FROM channel_recent;
                 DROP TABLE channel_recent; PRAGMA user_version = 3";
    sqlx::raw_sql(older).execute(&pool).await.unwrap();
    pool.close().await;
}

fn write_manifest(folder: &Path) {
    let files = [(JOURNAL.to_owned(), manifest::entry(&folder.join(JOURNAL)).unwrap())].into();
    let (relevo, at, epoch, sha256) = (String::new(), "2026-11-26T03:00:00Z".into(), String::new(), String::new());
    Manifest { format: 1, relevo, at, epoch, offset: 1, files, sha256 }.write(folder).unwrap();
}

#[tokio::test]
async fn a_backup_whose_journal_is_of_an_earlier_format_is_put_back_and_left_as_it_is() {
    let (live, backup, data) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let journal = open(live.path()).await;
    let gap = Control::Gap { source: "gad".into(), reason: "test".into() };
    let number = journal.control(gap.clone()).await.unwrap();
    journal.close().await;
    journal::copy(live.path(), backup.path()).await.unwrap().unwrap();
    of_format_3(backup.path()).await;
    write_manifest(backup.path());

    // Who checks it reads how to.
    let error = journal::check(backup.path()).await.unwrap_err().to_string();
    assert!(error.contains("format 3") && error.contains("relevo restore BACKUP"), "{error}");
    restore(backup.path(), data.path()).await.unwrap();
    assert_eq!(journal::format(data.path()).unwrap(), Some(journal::FORMAT));
    assert_eq!(journal::format(backup.path()).unwrap(), Some(3));
    assert!(journal::check(data.path()).await.unwrap().unwrap().sound);
    let journal = open(data.path()).await;
    assert_eq!(journal.gaps().await.unwrap(), [(number, gap)]);
    journal.close().await;
}

#[tokio::test]
async fn a_journal_of_an_earlier_format_that_is_damaged_is_not_put_back() {
    let (live, backup, data) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    open(live.path()).await.close().await;
    journal::copy(live.path(), backup.path()).await.unwrap().unwrap();
    of_format_3(backup.path()).await;
    let pool = sqlx::SqlitePool::connect(backup.path().join(JOURNAL).to_str().unwrap()).await.unwrap();
    sqlx::query("DROP TABLE cursor").execute(&pool).await.unwrap();
    pool.close().await;
    write_manifest(backup.path());
    let error = restore(backup.path(), data.path()).await.unwrap_err();
    assert!(matches!(&error, BackupError::Damaged { path, .. } if *path == backup.path().join(JOURNAL)), "{error}");
    assert!(!data.path().join(JOURNAL).exists() && interrupted(data.path()).is_ok());
}
