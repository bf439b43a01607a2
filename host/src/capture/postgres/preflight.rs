//! Looks at a PostgreSQL server and its tables before capture begins: what stands in the way, what will
//! hurt later, and the exact statement that mends it. Changes nothing.

use sqlx::PgConnection;

use crate::config::SourceSettings;
use crate::event::Name;

use super::super::error::CaptureError;
use super::catalog::{self, Table};
use super::connect::Address;
use super::finding::{Finding, Weight};
use super::foretold::Stand;
use super::judge::Judge;
use super::server::{self, Server};
use super::slot::{self, Named};
use super::{foretold, guard, unpublished};

/// What was looked at.
#[derive(Debug)]
pub(crate) struct Preflight {
    pub server: Server,
    /// The tables that are to be watched and can be.
    pub tables: Vec<Table>,
    pub findings: Vec<Finding>,
}

/// All findings about a source, in the order of their weight. Where the server is stopped, what its next start would have
/// to tell is found, too.
///
/// # Errors
/// If the database can't be reached or asked.
pub async fn preflight(settings: &SourceSettings, known: Stand<'_>) -> Result<Vec<Finding>, CaptureError> {
    let mut db = Address::parse(&settings.url)?.connect().await?;
    let Preflight { server, mut findings, .. } = look(&mut db, settings).await?;
    findings.extend(foretold::look(&mut db, settings, &server, known).await?);
    let slot = guard::look(&mut db, &settings.slot()).await?;
    let risk = slot.and_then(|slot| slot.risk(false));
    findings.extend(risk.map(|what| Finding { weight: Weight::Advice, what, mend: None }));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.weight));
    Ok(findings)
}

pub(crate) async fn look(db: &mut PgConnection, settings: &SourceSettings) -> Result<Preflight, CaptureError> {
    let mut findings = Vec::new();
    let (server, ours) = server::look(db, settings, &mut findings).await?;
    if let Some(Named::SomebodyElses(finding)) = slot::look(db, &settings.slot()).await? {
        findings.push(finding);
    }
    let mut tables = Vec::new();
    let all = catalog::tables(db).await?;
    let missing: Vec<&Name> = settings.tables.iter().filter(|entry| !all.iter().any(|table| table.is(entry))).collect();
    let wanted = |table: &Table| {
        let ours = table.name.starts_with("_relevo_");
        if settings.tables.is_empty() { !ours } else { settings.tables.iter().any(|entry| table.is(entry)) }
    };
    let published = super::publication::published(db, &settings.publication()).await?;
    if published.as_ref().is_some_and(|published| !published.complete()) {
        findings.push(unpublished::narrowed(db, &settings.publication()).await?);
    }
    let generates = |table: &&Table| wanted(table) && table.columns.iter().any(|c| c.generated && !c.is_virtual);
    let left_out = published.as_ref().is_some_and(|published| !published.generated);
    if server.major >= 18 && left_out && all.iter().any(|table| generates(&table)) {
        findings.push(unpublished::without_generated(&settings.publication()));
    }
    let judge = Judge { settings, role: &ours.role };
    let wanted: Vec<Table> = all.into_iter().filter(wanted).collect();
    let publishable: Vec<&Table> = wanted.iter().filter(|table| judge.may_be_published(table)).collect();
    findings.extend(unpublished::judge(settings, published.as_ref(), &server, &ours, &publishable));
    let is_published = |table: &Table| unpublished::is_or_can_be(published.as_ref(), table);
    // Each has its say, also one that isn't published.
    tables.extend(wanted.into_iter().filter(|table| judge.may_be_watched(table, &mut findings) && is_published(table)));
    if server.major < 18 {
        findings.extend(tables.iter().filter_map(|table| unpublished::not_replicated(settings, table)));
    }
    let blocked = findings.iter().any(|finding| finding.weight == Weight::Blocks);
    let nothing_here = tables.is_empty() && published.is_none() && !blocked;
    let all_missing = missing.len() == settings.tables.len();
    if !missing.is_empty() && (!nothing_here || !all_missing) {
        findings.push(unpublished::missing(settings, &missing));
    }
    if nothing_here {
        findings.push(unpublished::nothing_here(settings, &ours, &missing));
    }
    Ok(Preflight { server, tables, findings })
}
