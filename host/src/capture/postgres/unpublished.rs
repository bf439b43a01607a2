//! What the preflight says of the publication: it isn't there, tables are not in it and we can't add them, or it
//! leaves something out.

use sqlx::PgConnection;

use crate::config::SourceSettings;
use crate::event::Name;

use super::super::error::CaptureError;
use super::catalog::{Table, quote};
use super::finding::{Finding, Mend, PUBLICATION_OWNER, Weight};
use super::publication::{Published, target};
use super::server::{Ours, Server};

/// Who may make one of tables that aren't ours, or add them.
const OWNER_OF_ALL: &str = "a superuser, or a role that owns these tables and may CREATE in the database";
const OWNER_OF_BOTH: &str = "a superuser, or a role that owns the publication and these tables";

/// Whether a table is published, or can be by us.
pub(super) fn is_or_can_be(published: Option<&Published>, table: &Table) -> bool {
    match published {
        Some(published) => published.has(table) || (published.owned && table.owned),
        None => table.owned,
    }
}

/// What is to be said of the publication itself. `tables`: those that are wanted and may be published.
pub(super) fn judge(
    settings: &SourceSettings,
    published: Option<&Published>,
    server: &Server,
    ours: &Ours,
    tables: &[&Table],
) -> Option<Finding> {
    let publication = settings.publication();
    let outside: Vec<&Table> = tables.iter().copied().filter(|table| !is_or_can_be(published, table)).collect();
    let list = |tables: &[&Table]| tables.iter().map(|table| target(table)).collect::<Vec<_>>().join(", ");
    let shown = outside.iter().map(|table| table.shown()).collect::<Vec<_>>().join(", ");
    let (role, quoted) = (&ours.role, quote(&publication));
    let (is, they) = if outside.len() == 1 { ("table", "is") } else { ("tables", "are") };
    match published {
        Some(_) if outside.is_empty() => None,
        Some(published) => {
            let why = if published.owned { "does not own what is to be added" } else { "does not own the publication" };
            let what = format!("{is} {shown} {they} not in publication {publication}, and role {role} {why}");
            let mend = Mend::by(OWNER_OF_BOTH, [format!("ALTER PUBLICATION {quoted} ADD TABLE {};", list(&outside))]);
            Some(Finding { weight: Weight::Table, what, mend: Some(mend) })
        }
        // Why none may be published is said of each.
        None if tables.is_empty() => None,
        None if ours.may_create && outside.is_empty() => None,
        None if outside.is_empty() => {
            let what = format!("publication {publication} is missing and role {role} may not make it");
            let sql = format!("GRANT CREATE ON DATABASE {} TO {};", quote(&ours.database), quote(role));
            let mend = Mend::by("the database's owner or a superuser", [sql]);
            Some(Finding { weight: Weight::Blocks, what, mend: Some(mend) })
        }
        None => {
            let weight = if ours.may_create { Weight::Table } else { Weight::Blocks };
            let what = format!(
                "{is} {shown} {they} in no publication: {publication} is missing, and role {role} does not own the {is}"
            );
            // All at once: there is one publication.
            let generated = if server.major >= 18 { ", publish_generated_columns = stored" } else { "" };
            let sql = format!(
                "CREATE PUBLICATION {quoted} FOR TABLE {} WITH (publish_via_partition_root = true{generated});",
                list(tables)
            );
            Some(Finding { weight, what, mend: Some(Mend::by(OWNER_OF_ALL, [sql])) })
        }
    }
}

/// It leaves changes out.
pub(super) async fn narrowed(db: &mut PgConnection, publication: &str) -> Result<Finding, CaptureError> {
    let quoted = quote(publication);
    let what =
        format!("publication {publication} leaves changes out (an operation, rows, columns, or the partitions' root)");
    let mut statements = vec![format!(
        "ALTER PUBLICATION {quoted} SET (publish = 'insert, update, delete, truncate', publish_via_partition_root = true);"
    )];
    // Without WHERE and without columns. One that has them is named as it was: all that is in it is named again.
    let tables = "SELECT CASE WHEN c.relkind = 'p' THEN '' ELSE 'ONLY ' END || c.oid::regclass::text, \
                    to_jsonb(r) ->> 'prqual' IS NOT NULL OR to_jsonb(r) ->> 'prattrs' IS NOT NULL \
                  FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid \
                  JOIN pg_class c ON c.oid = r.prrelid WHERE p.pubname = $1 ORDER BY c.oid";
    let tables: Vec<(String, bool)> = sqlx::query_as(tables).bind(publication).fetch_all(&mut *db).await?;
    let narrow: Vec<&str> = tables.iter().filter(|(_, narrow)| *narrow).map(|(name, _)| name.as_str()).collect();
    if !narrow.is_empty() {
        let list = narrow.join(", ");
        statements.push(format!("ALTER PUBLICATION {quoted} DROP TABLE {list};"));
        statements.push(format!("ALTER PUBLICATION {quoted} ADD TABLE {list};"));
    }
    let by = if narrow.is_empty() { PUBLICATION_OWNER } else { OWNER_OF_BOTH };
    Ok(Finding { weight: Weight::Blocks, what, mend: Some(Mend::by(by, statements)) })
}

/// It leaves generated columns out.
pub(super) fn without_generated(publication: &str) -> Finding {
    let what = format!(
        "publication {publication} leaves generated columns out: PostgreSQL refuses UPDATEs of tables that have some and a full replica identity"
    );
    let sql = format!("ALTER PUBLICATION {} SET (publish_generated_columns = stored);", quote(publication));
    Finding { weight: Weight::Table, what, mend: Some(Mend::by(PUBLICATION_OWNER, [sql])) }
}

/// Before PostgreSQL 18 no publication has generated columns.
pub(super) fn not_replicated(settings: &SourceSettings, table: &Table) -> Option<Finding> {
    let excluded = table.excluded(settings);
    let generated = table.columns.iter().filter(|column| column.generated);
    let names: Vec<&str> =
        generated.map(|column| column.name.as_str()).filter(|name| !excluded.iter().any(|e| **e == **name)).collect();
    let [first, more @ ..] = &*names else { return None };
    let (columns, do_not) = if more.is_empty() { ("column", "does") } else { ("columns", "do") };
    let what = format!(
        "generated {columns} {} of table {} {do_not} not arrive before PostgreSQL 18: no event and no snapshot has {}",
        names.join(", "),
        table.shown(),
        if more.is_empty() { *first } else { "them" }
    );
    let mend = "have the plugin compute what it needs, or a trigger write it to an ordinary column; or take PostgreSQL 18; where nobody needs it, name it in `exclude`";
    Some(Finding { weight: Weight::Advice, what, mend: Some(Mend::words(mend)) })
}

/// Tables that the settings name and the database doesn't have.
pub(super) fn missing(settings: &SourceSettings, tables: &[&Name]) -> Finding {
    let (table, does) = if tables.len() == 1 { ("table", "does") } else { ("tables", "do") };
    let what = format!("{table} {} {does} not exist", listed(tables));
    Finding { weight: Weight::Table, what, mend: Some(Mend::words(settings.make_them())) }
}

/// Nothing can be watched here, and nothing of ours is here: nothing is made in what may be the wrong database.
/// `missing`: tables that the settings name and it doesn't have, which are all that they name, or are told of elsewhere.
pub(super) fn nothing_here(settings: &SourceSettings, ours: &Ours, missing: &[&Name]) -> Finding {
    let all = !missing.is_empty() && missing.len() == settings.tables.len();
    let wanted = if settings.tables.is_empty() {
        "no table that can be watched".to_owned()
    } else if all {
        format!("none of the tables of `tables` ({})", listed(missing))
    } else {
        "none of the tables of `tables` that can be watched".to_owned()
    };
    let what = format!(
        "database {} has {wanted}, so nothing is made in it; if it is the right one, it is looked at again by itself",
        ours.database
    );
    Finding { weight: Weight::Blocks, what, mend: all.then(|| Mend::words(settings.make_them())) }
}

fn listed(tables: &[&Name]) -> String {
    tables.iter().map(|table| &***table).collect::<Vec<_>>().join(", ")
}
