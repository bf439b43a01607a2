//! The sources: is the database there, can it be watched, are the tables there, is the example up to date.

use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, access};

use super::running::{Running, Said};
use super::{Addresses, Finding, Verdict, folder};
use crate::capture::CaptureError;
use crate::capture::postgres::{self, Stand, Weight, preflight};
use crate::capture::sqlite::inspect::{Inspected, inspect};
use crate::cli::counted;
use crate::config::{Config, SourceSettings, nearest};
use crate::example::{self, Database, Standing};

const SAYS: &str = "docs/capture-postgres.md says what it means";

/// What makes the example's tables.
const MIGRATE: &str = "relevo migrate";

/// `running`: what a server that runs says; it knows more than a look from outside shows.
pub(super) async fn all(config: &Config, running: &Running, addresses: &Addresses) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, source) in config.sources.iter().enumerate() {
        let check = format!("source {}", source.name);
        let address = addresses.judge(at, source);
        let another = address.verdict == Verdict::Problem;
        findings.push(address);
        // What the wrong database lacks is no news.
        if another {
            continue;
        }
        // The settings' check has seen that the URL can be used.
        let Some(path) = source.sqlite_path(&config.data).map(|path| whole(&path)) else {
            // While it runs the server itself says it.
            let stopped = !matches!(running, Running::Yes(_) | Running::Silent);
            let known = if stopped { Stand::Stopped(addresses.known(source)) } else { Stand::Runs };
            findings.extend(server(&check, source, known, running.says(&check)).await);
            continue;
        };
        if let Some(finding) = file(&check, source, &path) {
            findings.push(finding);
            continue;
        }
        findings.extend(folder::disk(&check, &path));
        match inspect(&path).await {
            Ok(found) => findings.extend(judge(&check, source, &found)),
            Err(error) => {
                let remedy = "it must be a SQLite database that no other program locks for long";
                findings.push(Finding::problem(check.clone(), format!("{}: {error}", path.display()), remedy));
                continue;
            }
        }
        findings.extend(migrated(&check, source, &Database::Sqlite(path)).await);
    }
    findings
}

/// A PostgreSQL source: what capture itself looks at before it begins, and what else a running server says of it.
async fn server(check: &str, source: &SourceSettings, known: Stand<'_>, said: Option<Said<'_>>) -> Vec<Finding> {
    let found = match preflight(source, known).await {
        Ok(found) => found,
        Err(error) => {
            let beyond = said.map(|said| said.beyond(check, &[error.to_string()])).unwrap_or_default();
            let finding = match error {
                CaptureError::Connect { at, cause, remedy } => {
                    Finding::problem(check, format!("postgres at {at}: {cause}"), remedy)
                }
                error => Finding::problem(check, error.to_string(), "mend the url of this source"),
            };
            return std::iter::once(finding).chain(beyond).collect();
        }
    };
    let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
    let beyond = said.map(|said| said.beyond(check, &texts)).unwrap_or_default();
    let told = |finding: &postgres::Finding| {
        // Where nothing mends it, what comes of it stands behind what is so.
        let (what, mend) = match &finding.mend {
            Some(mend) => (&*finding.what, remedy(mend)),
            None => {
                let (what, mend) = finding.what.split_once("; ").unwrap_or((&finding.what, SAYS));
                (what, mend.to_owned())
            }
        };
        match finding.weight {
            Weight::Advice => Finding::warning(check, what, mend),
            Weight::Table | Weight::Blocks => Finding::problem(check, what, mend),
        }
    };
    let mut findings: Vec<_> = found.iter().map(told).chain(beyond).collect();
    // Tables that are missing say what makes them.
    let told = findings.iter().any(|finding| finding.remedy.as_ref().is_some_and(|mend| mend.contains(MIGRATE)));
    let migrated = migrated(check, source, &Database::Postgres(source.url.clone())).await;
    findings.extend(migrated.filter(|finding| !told || finding.remedy.as_deref() != Some(MIGRATE)));
    if findings.iter().all(|finding| finding.verdict != Verdict::Problem) {
        findings.push(Finding::ok(check, "the database can be captured"));
    }
    findings
}

/// Each statement on a line of its own, to be pasted as it is: some refuse to share a transaction.
fn remedy(mend: &postgres::Mend) -> String {
    let mut lines = Vec::new();
    if !mend.statements.is_empty() {
        lines.push(format!("as {} run, each by itself:", mend.by));
        lines.extend(mend.statements.iter().cloned());
    }
    // Among statements as a comment of theirs: all of it may be pasted.
    let then = mend.then.iter().map(|then| if lines.is_empty() { then.clone() } else { format!("-- then {then}") });
    lines.extend(then.collect::<Vec<_>>());
    lines.join("\n")
}

/// The path as it will be once the data folder is there: a `..` can't step out of a folder that isn't. One that
/// exists is left as it is, since it may be a link.
pub(super) fn whole(path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in path.components() {
        let out = part == Component::ParentDir && whole.file_name().is_some() && !whole.exists();
        if out { _ = whole.pop() } else { whole.push(part) }
    }
    whole
}

/// The file itself; None: it may be used.
fn file(check: &str, source: &SourceSettings, path: &Path) -> Option<Finding> {
    let shown = path.display();
    if !path.exists() {
        let remedy = match &source.example {
            Some(_) => MIGRATE.to_owned(),
            None => {
                format!("make it, or set the url of source {} (a relative path starts at the data folder)", source.name)
            }
        };
        return Some(Finding::problem(check, format!("{shown} doesn't exist"), remedy));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // WAL mode needs two more files beside it.
    let writable = access(path, Access::READ_OK | Access::WRITE_OK).and_then(|()| access(folder, Access::WRITE_OK));
    writable.err().map(|error| {
        let remedy =
            "let the user that relevo runs as write the file and its folder: capture needs triggers and WAL mode";
        Finding::problem(check, format!("{shown}: {error}"), remedy)
    })
}

fn judge(check: &str, source: &SourceSettings, found: &Inspected) -> Vec<Finding> {
    let mut findings = Vec::new();
    let names: Vec<String> = found.tables.iter().map(|table| table.name.clone()).collect();
    let is = |name: &str, table: &str| name.eq_ignore_ascii_case(table);
    for wanted in &source.tables {
        if !names.iter().any(|name| is(name, wanted)) {
            let meant = nearest(wanted, &names).map(|name| format!("did you mean {name}? ")).unwrap_or_default();
            let remedy = format!("{meant}make the table, or take it out of the source's tables");
            findings.push(Finding::problem(check, format!("there is no table {wanted}"), remedy));
        }
    }
    let watched = |name: &str| source.tables.is_empty() || source.tables.iter().any(|table| is(name, table));
    for table in found.tables.iter().filter(|table| watched(&table.name)) {
        if !table.can_be_watched {
            let found = format!("table {} has no key, or is no ordinary table: it can't be watched", table.name);
            findings.push(Finding::problem(check, found, "declare a PRIMARY KEY"));
        } else if !table.has_key {
            let found = format!(
                "table {} has no PRIMARY KEY: its rows are known by rowid, which VACUUM may change",
                table.name
            );
            findings.push(Finding::warning(check, found, "declare a PRIMARY KEY"));
        }
    }
    for (of, wishes) in &source.exclude {
        let Some(table) = found.tables.iter().find(|table| is(&table.name, of)) else { continue };
        for wish in wishes.iter().filter(|wish| !table.columns.iter().any(|column| is(column, wish))) {
            let meant = nearest(wish, &table.columns).map(|name| format!("did you mean {name}? ")).unwrap_or_default();
            let found = format!("table {} has no column {wish}, which exclude names: it isn't watched", table.name);
            findings.push(Finding::problem(check, found, format!("{meant}take it out of the source's exclude")));
        }
    }
    for (trigger, table) in found.triggers.iter().filter(|(_, table)| watched(table)) {
        let found = format!("trigger {trigger} of your own on table {table}");
        findings.push(Finding::warning(
            check,
            found,
            "nothing, if docs/capture-sqlite.md, Your own triggers, suits you",
        ));
    }
    match &found.format {
        Some(format) if format != found.reads => {
            let remedy = "stop the server, run `relevo capture detach`, and start it: there is a gap then, and pipelines are rebuilt";
            let found = format!("what capture keeps there has format {format}, this relevo reads {}", found.reads);
            findings.push(Finding::problem(check, found, remedy));
        }
        _ if findings.iter().all(|finding| finding.verdict != super::Verdict::Problem) => {
            let capture =
                if found.format.is_some() { "capture is installed" } else { "the first start installs capture" };
            findings.push(Finding::ok(
                check,
                format!("{}, {} mode; {capture}", counted(found.tables.len(), "table"), found.mode),
            ));
        }
        _ => {}
    }
    findings
}

async fn migrated(check: &str, source: &SourceSettings, database: &Database) -> Option<Finding> {
    let example = example::find(source.example.as_deref()?).ok()?;
    let scripts = match example::standing(example, database).await {
        Ok(scripts) => scripts,
        Err(error) => return Some(Finding::problem(check, error.to_string(), "relevo migrate status")),
    };
    let of = |is: fn(&Standing) -> bool| scripts.iter().find(|(_, standing)| is(standing)).map(|(name, _)| name);
    if let Some(name) = of(|standing| matches!(standing, Standing::Changed { .. })) {
        let remedy = "changes belong in a new script: use the version that applied it";
        return Some(Finding::problem(check, format!("{name} was changed after it was applied"), remedy));
    }
    let name = of(|standing| *standing == Standing::Pending)?;
    Some(Finding::problem(check, format!("the example's {name} is not applied"), MIGRATE))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::capture::sqlite::inspect::InspectedTable;

    fn table(name: &str, has_key: bool, can_be_watched: bool) -> InspectedTable {
        InspectedTable { name: name.into(), has_key, can_be_watched, columns: vec!["id".into(), "clave".into()] }
    }

    fn judged(tables: Vec<InspectedTable>, format: Option<&str>, triggers: &[(&str, &str)]) -> Vec<Finding> {
        let mut config = Config::load(None).unwrap();
        let source = &mut config.sources[0];
        source.tables = vec!["tareas".into()];
        source.exclude.clear();
        let triggers = triggers.iter().map(|(name, table)| ((*name).into(), (*table).into())).collect();
        let found = Inspected { mode: "wal".into(), format: format.map(Into::into), reads: "2", tables, triggers };
        judge("source gad", source, &found)
    }

    fn assert_is(findings: &[Finding], verdict: Verdict, text: &str) {
        let fits = |f: &Finding| {
            f.verdict == verdict && (f.found.contains(text) || f.remedy.as_deref().is_some_and(|r| r.contains(text)))
        };
        assert!(findings.iter().any(fits), "no {verdict:?} with {text}: {findings:?}");
    }

    #[test]
    fn an_excluded_column_that_is_not_there_is_a_problem() {
        let mut config = Config::load(None).unwrap();
        let source = &mut config.sources[0];
        source.tables = vec!["tareas".into()];
        let tables = vec![table("tareas", true, true)];
        let found = Inspected { mode: "wal".into(), format: None, reads: "2", tables, triggers: vec![] };
        source.exclude = [("tareas".into(), vec!["Clave".into()])].into();
        assert_is(&judge("source gad", source, &found), Verdict::Ok, "the first start");
        source.exclude = [("tareas".into(), vec!["clav".into()])].into();
        assert_is(&judge("source gad", source, &found), Verdict::Problem, "did you mean clave?");
    }

    #[test]
    fn a_file_beside_a_data_folder_that_is_not_there_yet_is_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("shop.db"), "").unwrap();
        let data = folder.path().join("data");
        assert!(whole(&data.join("../shop.db")).exists());
        assert!(!whole(&data.join("shop.db")).exists());
        std::fs::create_dir(&data).unwrap();
        assert!(whole(&data.join("../shop.db")).exists());
        assert_eq!(whole(Path::new("data/../shop.db")), Path::new("shop.db"));
    }

    #[test]
    fn what_is_wrong_with_the_tables_is_said_with_what_to_do() {
        assert_is(&judged(vec![table("tarea", true, true)], None, &[]), Verdict::Problem, "did you mean tarea?");
        assert_is(&judged(vec![table("tareas", false, false)], None, &[]), Verdict::Problem, "PRIMARY KEY");
        assert_is(&judged(vec![table("tareas", false, true)], None, &[]), Verdict::Warning, "rowid");
        let good = || vec![table("Tareas", true, true)];
        assert_is(&judged(good(), None, &[]), Verdict::Ok, "the first start installs capture");
        assert_is(&judged(good(), Some("2"), &[]), Verdict::Ok, "capture is installed");
        assert_is(&judged(good(), Some("1"), &[]), Verdict::Problem, "relevo capture detach");
        assert_is(&judged(good(), None, &[("audit", "tareas")]), Verdict::Warning, "audit");
        assert_eq!(judged(good(), None, &[("audit", "others")]).len(), 1, "on a table that nobody watches");
    }
}
