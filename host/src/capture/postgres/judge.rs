//! Which tables can be watched: none whose changes couldn't all be told, or whose UPDATEs and DELETEs PostgreSQL
//! would refuse once it is published.

use crate::config::SourceSettings;

use super::catalog::{Part, Table, quote};
use super::finding::{Finding, Mend, SUPERUSER, TABLE_OWNER, Weight};

/// What a table is judged by.
pub(super) struct Judge<'a> {
    pub settings: &'a SourceSettings,
    /// Ours.
    pub role: &'a str,
}

impl Judge<'_> {
    /// Whether a table can be watched; says what is to be said of it.
    pub(super) fn may_be_watched(&self, table: &Table, findings: &mut Vec<Finding>) -> bool {
        let shown = table.shown();
        let mut find = |what: String, mend: Option<Mend>| {
            findings.push(Finding { weight: Weight::Table, what: format!("table {shown}: {what}"), mend });
        };
        // Each has its say.
        let excludes = self.excludes(table, &mut find);
        let reads = self.reads(table, &mut find);
        let watched = identifies(table, &mut find) && excludes && reads;
        if watched && table.primary.is_empty() {
            let what =
                "it has no primary key: whole rows are its keys, and each update is a delete and an insert".to_owned();
            let finding = Finding { weight: Weight::Advice, what: format!("table {shown}: {what}"), mend: None };
            findings.push(finding);
        }
        watched
    }

    /// Whether it does no harm to publish a table: its own UPDATEs and DELETEs go on.
    pub(super) fn may_be_published(&self, table: &Table) -> bool {
        let mut nothing = |_: String, _: Option<Mend>| {};
        !table.unlogged && identifies(table, &mut nothing) && self.excludes(table, &mut nothing)
    }

    /// What must not enter can be left out.
    fn excludes(&self, table: &Table, find: &mut impl FnMut(String, Option<Mend>)) -> bool {
        let mut fits = true;
        for column in table.excluded(self.settings) {
            if !table.columns.iter().any(|c| *c.name == **column) {
                let what = format!("`exclude` names column {column}, which isn't there; the table is not watched");
                find(what, Some(Mend::words("mend the source's `exclude`")));
                fits = false;
            } else if table.primary.iter().chain(&table.identity).any(|key| **key == **column) {
                find(
                    format!(
                        "`exclude` names column {column}, which is a part of its key: each event and each snapshot has the key of its row; the table is not watched"
                    ),
                    Some(Mend::words("take it out of the source's `exclude`")),
                );
                fits = false;
            }
        }
        fits
    }

    /// The role may read it, and it is replicated.
    fn reads(&self, table: &Table, find: &mut impl FnMut(String, Option<Mend>)) -> bool {
        let mut fits = true;
        if table.unlogged {
            find(
                "it is unlogged, so nothing of it is replicated".into(),
                Some(Mend::by(TABLE_OWNER, [format!("ALTER TABLE {} SET LOGGED;", table.quoted())])),
            );
            fits = false;
        }
        if !table.readable {
            find(
                format!("role {} may not read it", self.role),
                Some(Mend::by(TABLE_OWNER, [format!("GRANT SELECT ON {} TO {};", table.quoted(), quote(self.role))])),
            );
            fits = false;
        }
        if !table.reachable {
            let schema = quote(&table.schema);
            find(
                format!("role {} may not use schema {schema}", self.role),
                Some(Mend::by(
                    "the schema's owner or a superuser",
                    [format!("GRANT USAGE ON SCHEMA {schema} TO {};", quote(self.role))],
                )),
            );
            fits = false;
        }
        if table.hidden {
            find(
                format!("row-level security hides rows of it from role {}", self.role),
                Some(Mend::by(SUPERUSER, [format!("ALTER ROLE {} BYPASSRLS;", quote(self.role))])),
            );
            fits = false;
        }
        fits
    }
}

/// What can be done about a table with virtual generated columns.
const OF_VIRTUALS: &str = "with virtual generated columns it can't be FULL: make them stored (drop them, and add them as STORED), then set REPLICA IDENTITY FULL; or give it a primary key and REPLICA IDENTITY DEFAULT, and live without old values";

/// Its rows can be told apart, and published tables with its replica identity take UPDATEs and DELETEs.
fn identifies(table: &Table, find: &mut impl FnMut(String, Option<Mend>)) -> bool {
    let virtuals: Vec<&str> = table.columns.iter().filter(|c| c.is_virtual).map(|c| c.name.as_str()).collect();
    if !virtuals.is_empty() && table.parts.iter().any(Part::is_full) {
        let mend = table.parts.iter().filter(|part| part.is_full()).map(|part| identity(part, "DEFAULT"));
        let mend = if table.primary.is_empty() { Mend::words(OF_VIRTUALS) } else { Mend::by(TABLE_OWNER, mend) };
        find(
            format!(
                "it has virtual generated columns ({}) and a full replica identity: if it were published, PostgreSQL would refuse its UPDATEs and DELETEs; it is not watched. Without FULL, on a primary key, its events lack the old values; stored columns and FULL have everything",
                virtuals.join(", ")
            ),
            Some(mend),
        );
        return false;
    }
    let not_full: Vec<&Part> = table.parts.iter().filter(|part| !part.is_full()).collect();
    let mend: Vec<String> = not_full.iter().map(|part| identity(part, "FULL")).collect();
    let mend = match &*mend {
        [] => None,
        // With FULL the server would refuse the table's UPDATEs and DELETEs.
        _ if !virtuals.is_empty() => Some(Mend::words(OF_VIRTUALS)),
        _ => Some(Mend::by(TABLE_OWNER, mend)),
    };
    let names = |parts: &[&Part]| parts.iter().map(|part| part.quoted()).collect::<Vec<_>>().join(", ");
    let unusable: Vec<&Part> = not_full.iter().filter(|part| !part.usable).copied().collect();
    if not_full.is_empty() {
        // As it should be.
    } else if !unusable.is_empty() {
        find(
            format!(
                "{} has no replica identity that can be used (FULL, or a primary key or index that is valid and not deferrable): if it were published, PostgreSQL would refuse its UPDATEs and DELETEs; it is not watched",
                names(&unusable)
            ),
            mend,
        );
        return false;
    } else if not_full.len() < table.parts.len()
        && (table.primary.is_empty() || not_full.iter().any(|part| part.identity != 'd'))
    {
        find(
            format!(
                "{} and its other parts have different replica identities, so that keys can't be trusted; it is not watched",
                names(&not_full)
            ),
            mend,
        );
        return false;
    } else if not_full.len() < table.parts.len() {
        find(
            format!(
                "{} has not the replica identity FULL that its other parts have, so that old values of rows are missing",
                names(&not_full)
            ),
            mend,
        );
    } else {
        find("its replica identity is not FULL, so that its events lack the old values".into(), mend);
    }
    true
}

/// The statement that gives a table another replica identity.
fn identity(part: &Part, to: &str) -> String {
    format!("ALTER TABLE {} REPLICA IDENTITY {to};", part.quoted())
}
