//! Copies of a journal that is open.

use super::*;
use crate::journal::check::check;
use crate::journal::copy::copy;

#[tokio::test]
async fn a_copy_of_an_open_journal_is_sound_and_begins_a_new_epoch_once() {
    let (folder, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert!(copy(folder.path(), into.path()).await.unwrap().is_none(), "there is none");
    let journal = open(folder.path()).await;
    journal.append(append(1..=3)).await.unwrap();
    let copied = copy(folder.path(), into.path()).await.unwrap().unwrap();
    assert_eq!((&*copied.epoch, copied.head), (&*journal.epoch(), journal.head()));
    journal.append(append(4..=4)).await.unwrap();
    assert!(check(into.path()).await.unwrap().unwrap().sound);
    assert_eq!(std::fs::read_dir(into.path()).unwrap().count(), 1, "the file alone");
    // As somebody would put it in place by hand, with the lock file of the run that it was copied in.
    std::fs::copy(folder.path().join("journal.lock"), into.path().join("journal.lock")).unwrap();

    let restored = open(into.path()).await;
    assert_ne!(restored.epoch(), journal.epoch());
    assert_eq!(restored.head(), copied.head);
    let epoch = restored.epoch();
    restored.append(append(4..=4)).await.unwrap();
    restored.close().await;
    assert_eq!(open(into.path()).await.epoch(), epoch, "one new epoch, not one at each start");
    journal.close().await;
    assert_eq!(open(folder.path()).await.epoch(), journal.epoch(), "the journal itself goes on");
}
