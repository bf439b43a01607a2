//! What the server means when it refuses to stream. Its texts are in its own language: the code says what to look at.

use pgwire_replication::PgWireError;

use super::super::error::CaptureError;
use super::super::source::Source;
use super::connect::Address;
use super::silence::within;
use super::slot::{self, Slot};

/// Publication or slot isn't there, at the moment of the WAL that is read (`undefined_object`).
const UNDEFINED: &str = "42704";

/// Somebody else uses the slot (`object_in_use`).
const IN_USE: &str = "55006";

/// The slot can't be read from any more (`object_not_in_prerequisite_state`).
const NOT_READY: &str = "55000";

/// The error that ended the stream, or a better one where the database shows what is behind it.
pub(crate) async fn explained(source: &Source, error: PgWireError) -> CaptureError {
    let Some(code @ (UNDEFINED | IN_USE | NOT_READY)) = code(&error) else { return error.into() };
    match look(source, code).await {
        Ok(Some(better)) => better,
        // The next session finds the same, or why it can't look.
        Ok(None) | Err(_) => error.into(),
    }
}

async fn look(source: &Source, code: &str) -> Result<Option<CaptureError>, CaptureError> {
    let (settings, patience) = (&source.settings, source.settings.silence);
    let (name, publication) = (settings.slot(), settings.publication());
    let mut db = Address::parse(&settings.url)?.connect().await?;
    let slot = within(patience, "the look at the slot", slot::find(&mut db, &name)).await?;
    Ok(match (code, &slot) {
        (IN_USE, _) => {
            within(patience, "the look at the slot", slot::in_use(&mut db, &name, slot.as_ref())).await.err()
        }
        // What is told of it, the next session tells: it looks at the slot first of all.
        (_, None) => Some(CaptureError::Mismatch(format!("replication slot {name} is gone").into())),
        (_, Some(Slot { lost: Some(why), .. })) => {
            let (why, _) = slot::why_lost(Some(why));
            Some(CaptureError::Mismatch(format!("replication slot {name} was lost: {why}").into()))
        }
        // The slot is there, so it is the publication. That may be back by now; but the server asks for the one
        // that was there when what it reads was written.
        (UNDEFINED, Some(_)) => {
            let error = CaptureError::Unpublished(publication);
            source.lose_stream(&error.to_string()).await?;
            Some(error)
        }
        (_, Some(_)) => None,
    })
}

/// The SQLSTATE of what the server said; the client puts it behind the text.
fn code(error: &PgWireError) -> Option<&str> {
    let PgWireError::Server(text) = error else { return None };
    let (_, behind) = text.rsplit_once("(SQLSTATE ")?;
    behind.strip_suffix(')').filter(|code| code.len() == 5)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use relevo_tests::postgres::{DATABASE, Postgres};
    use tokio::sync::watch;

    use super::super::super::SourceHealth;
    use super::super::transport::Wire;
    use super::*;
    use crate::config::{JournalSettings, SourceSettings};
    use crate::journal::Journal;

    /// A source `s` that nobody runs.
    async fn source(database: &Postgres, folder: &tempfile::TempDir) -> Source {
        let settings: SourceSettings =
            toml::from_str(&format!("name = \"s\"\nurl = \"{}\"", database.url(DATABASE))).unwrap();
        Source {
            health: watch::Sender::new(SourceHealth::starting(&settings.name)),
            settings,
            data: folder.path().to_owned(),
            journal: Journal::open(folder.path(), &JournalSettings::default(), &[]).await.unwrap(),
            record_bytes: 512 << 10,
            bell: Arc::default(),
            requests: super::super::super::requests::Requests::default(),
            silent: std::sync::atomic::AtomicU32::new(0),
            advised: std::sync::Mutex::default(),
        }
    }

    async fn stream(source: &Source) -> Result<Wire, CaptureError> {
        let address = Address::parse(&source.settings.url)?;
        match Wire::start(address.replication("relevo_s", "relevo_s", 0)).await {
            Err(CaptureError::Wire(error)) => {
                assert!(code(&error).is_some(), "{error}");
                Err(explained(source, error).await)
            }
            other => other,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_slot_that_cant_be_streamed_from_is_told_by_what_it_is() {
        let database = Postgres::start();
        let folder = tempfile::tempdir().unwrap();
        let source = source(&database, &folder).await;
        let refused = stream(&source).await.err().unwrap();
        assert!(matches!(&refused, CaptureError::Mismatch(why) if why.contains("relevo_s is gone")), "{refused}");
        database.sql("select pg_create_logical_replication_slot('relevo_s', 'pgoutput')");
        let first = stream(&source).await.unwrap();
        let refused = stream(&source).await.err().unwrap();
        assert!(matches!(&refused, CaptureError::SlotInUse { by, .. } if by.contains("process")), "{refused}");
        drop(first);
        while database.sql("select count(*) from pg_replication_slots where active") != "0" {
            tokio::task::yield_now().await;
        }
        database.sql("alter system set max_slot_wal_keep_size = '16MB'");
        database.sql("select pg_reload_conf()");
        let write = "do $$ begin for i in 1..60 loop perform pg_logical_emit_message(false, 'x', repeat('x', 1000000)); end loop; end $$";
        database.sql(&format!("{write}; checkpoint"));
        database.sql("checkpoint");
        assert_eq!(database.sql("select wal_status from pg_replication_slots"), "lost");
        let refused = stream(&source).await.err().unwrap();
        assert!(matches!(&refused, CaptureError::Mismatch(why) if why.contains("was lost")), "{refused}");
        assert_eq!(source.journal.gaps().await.unwrap(), [], "the next session tells of it");
    }

    #[test]
    fn the_code_stands_behind_the_servers_text() {
        let said = |text: &str| PgWireError::Server(text.into());
        assert_eq!(code(&said("la publicación «p» no existe (SQLSTATE 42704)")), Some(UNDEFINED));
        assert_eq!(code(&said("of (SQLSTATE 42704) it speaks (SQLSTATE 55000)")), Some(NOT_READY));
        assert_eq!(code(&said("without a code")), None);
        assert_eq!(code(&PgWireError::Protocol("x (SQLSTATE 42704)".into())), None);
    }
}
