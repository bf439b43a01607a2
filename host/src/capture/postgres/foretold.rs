//! What the next start will have to tell, where the journal has read from a source and what it read by is not there any
//! more, and who would stand in its way: said while the server is stopped, by `relevo doctor` and `relevo capture status`.

use sqlx::PgConnection;

use crate::config::SourceSettings;
use crate::journal::SourceState;

use super::super::error::CaptureError;
use super::super::forget::{Forgotten, forgotten};
use super::finding::{Finding, Mend, Weight};
use super::server::Server;
use super::slot::Named;
use super::{place, publication, slot};

const TOLD: &str = "tells clients of a gap, and rebuilds the source's pipelines";

/// What a look from outside knows of a source.
#[derive(Debug, Clone, Copy)]
pub enum Stand<'a> {
    /// The server runs: it says itself how it is.
    Runs,
    /// It is stopped; where its journal stands in the source, if it has read from it.
    Stopped(Option<&'a SourceState>),
}

pub(super) async fn look(
    db: &mut PgConnection,
    settings: &SourceSettings,
    server: &Server,
    known: Stand<'_>,
) -> Result<Vec<Finding>, CaptureError> {
    let Stand::Stopped(known) = known else { return Ok(Vec::new()) };
    let finding = |what, mend: &str| Finding { weight: Weight::Advice, what, mend: Some(Mend::words(mend)) };
    let mut findings = Vec::new();
    let name = settings.slot();
    if let Some(Named::Ours(slot)) = slot::look(db, &name).await?
        && let Some(by) = slot::used_by(db, Some(&slot)).await?
    {
        let what = format!("slot {name} is in use by another session ({by}): the next start will wait until it isn't");
        findings.push(finding(what, "if that is another relevo, give this one a slot of its own (`slot`); if it is of no use, end it (SELECT pg_terminate_backend of its process)"));
    }
    let Some(known) = known else { return Ok(findings) };
    match forgotten(known) {
        Some(Forgotten::Reset) => {
            let what =
                "it was reset: the next start begins with the rows that are there, and rebuilds the source's pipelines";
            findings.push(finding(what.into(), "start relevo"));
        }
        // Of one that had a gap everything is told already.
        Some(_) => {}
        None => {
            let mend = "start relevo, if this is the database that is meant; if not, mend the url";
            let all = missing(db, settings, server, known).await?;
            findings.extend(all.into_iter().map(|what| finding(what, mend)));
        }
    }
    Ok(findings)
}

async fn missing(
    db: &mut PgConnection,
    settings: &SourceSettings,
    server: &Server,
    known: &SourceState,
) -> Result<Vec<String>, CaptureError> {
    let mut all = Vec::new();
    if let Some(reason) = place::foretell(db, &settings.slot(), server, known).await? {
        all.push(format!("{reason}: the next start makes what it needs, {TOLD}"));
    }
    let publication = settings.publication();
    if publication::published(db, &publication).await?.is_none() {
        all.push(format!(
            "publication {publication} is gone, and the server can't tell what was written without it: the next start makes it again, if its role may, {TOLD}"
        ));
    }
    Ok(all)
}
