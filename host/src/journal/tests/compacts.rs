//! What retention freed is given back.

use super::retention::{fill, pass, with};
use super::*;
use crate::journal::check::check;
use crate::journal::compact::{CompactError, compact};

#[tokio::test]
async fn a_compacted_journal_is_smaller_and_the_same() {
    let folder = tempfile::tempdir().unwrap();
    assert!(compact(folder.path()).await.unwrap().is_none(), "there is none");
    let journal = open(folder.path()).await;
    fill(&journal, 1..=250).await;
    journal.commit(commit(None, 250, vec![message("tasks", "1")])).await.unwrap();
    journal.close().await;
    let journal = with(folder.path(), &[], |s| s.keep_bytes = 1 << 20).await;
    pass(&journal, 0).await;
    assert!(journal.kept_after() > Number::ZERO);
    let refused = compact(folder.path()).await;
    assert!(matches!(refused, Err(CompactError::Journal(JournalError::Locked(_)))), "{refused:?}");
    let (epoch, head, kept) = (journal.epoch(), journal.head(), shape(&rest(&journal).await));
    journal.close().await;

    let done = compact(folder.path()).await.unwrap().unwrap();
    let file = std::fs::metadata(folder.path().join("journal.db")).unwrap().len();
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(folder.path().join("journal.db")).unwrap());
    assert_eq!(mode & 0o777, 0o600, "rows are nobody else's, whatever the folder is");
    assert!(done.before > 3 << 20 && done.after < 2 << 20 && done.after == file, "{done:?}");
    assert!(check(folder.path()).await.unwrap().unwrap().sound);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "the journal and its lock");
    let journal = with(folder.path(), &[], |s| s.keep_bytes = 1 << 20).await;
    assert_eq!((journal.epoch(), journal.head()), (epoch, head), "it is no other journal");
    assert_eq!(shape(&rest(&journal).await), kept);
    journal.append(append(300..=300)).await.unwrap();
}

/// All records that retention left.
async fn rest(journal: &Journal) -> Vec<Arc<Record>> {
    journal.read(journal.kept_after(), 64 << 20).await.unwrap()
}
