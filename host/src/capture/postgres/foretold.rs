//! What the next start will have to tell, where the journal has read from a source and what it read by is not there any
//! more: said while the server is stopped, by `relevo doctor` and `relevo capture status`.

use sqlx::PgConnection;

use crate::config::SourceSettings;
use crate::journal::SourceState;

use super::super::error::CaptureError;
use super::super::forget::forgotten;
use super::finding::{Finding, Mend, Weight};
use super::server::Server;
use super::{place, publication};

const TOLD: &str = "tells clients of a gap, and rebuilds the source's pipelines";

/// `known`: where the journal stands in the source; None: nothing was read of it, or the server runs.
pub(super) async fn look(
    db: &mut PgConnection,
    settings: &SourceSettings,
    server: &Server,
    known: Option<&SourceState>,
) -> Result<Vec<Finding>, CaptureError> {
    // Of one that was forgotten everything is told already.
    let Some(known) = known.filter(|known| forgotten(known).is_none()) else { return Ok(Vec::new()) };
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
    let mend = "start relevo, if this is the database that is meant; if not, mend the url";
    let finding = |what| Finding { weight: Weight::Advice, what, mend: Some(Mend::words(mend)) };
    Ok(all.into_iter().map(finding).collect())
}
