//! Looks at a PostgreSQL server and its tables before capture begins: what stands in the way, what will
//! hurt later, and the exact statement that mends it. Changes nothing.

use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::config::SourceSettings;

use super::super::error::CaptureError;
use super::catalog::{self, Table, quote};
use super::connect::Address;
use super::judge::Judge;

/// The oldest PostgreSQL: its pgoutput is the first to carry the heartbeat's messages.
const OLDEST: i32 = 14;

/// Something that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub weight: Weight,
    /// What is so, and what comes of it.
    pub what: String,
    /// What mends it: SQL, to be run by a role that may.
    pub mend: Option<String>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It works, but not as well as it could.
    Advice,
    /// A table can't be watched, or not with all that its events should have.
    Table,
    /// Nothing can be captured.
    Blocks,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        match &self.mend {
            Some(sql) => write!(f, "; run: {sql}"),
            None => Ok(()),
        }
    }
}

/// What was looked at.
#[derive(Debug)]
pub(crate) struct Preflight {
    pub server: Server,
    /// The tables that are to be watched and can be.
    pub tables: Vec<Table>,
    pub findings: Vec<Finding>,
}

/// A server, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub major: i32,
    /// Of this database in this cluster: positions of two of them don't compare.
    pub identity: String,
    /// The history of the cluster that it is in: another one since a standby was promoted. None: it doesn't tell.
    pub timeline: Option<u32>,
}

/// All findings about a source, in the order of their weight.
///
/// # Errors
/// If the database can't be reached or asked.
pub async fn preflight(settings: &SourceSettings) -> Result<Vec<Finding>, CaptureError> {
    let mut db = Address::parse(&settings.url)?.connect().await?;
    let mut findings = look(&mut db, settings).await?.findings;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.weight));
    Ok(findings)
}

pub(crate) async fn look(db: &mut PgConnection, settings: &SourceSettings) -> Result<Preflight, CaptureError> {
    let mut findings = Vec::new();
    let (server, role) = server(db, settings, &mut findings).await?;
    let mut tables = Vec::new();
    let all = catalog::tables(db).await?;
    for entry in &settings.tables {
        if !all.iter().any(|table| table.is(entry)) {
            let what = format!("table {entry} does not exist: {}, or take it out of `tables`", settings.make_it());
            findings.push(Finding { weight: Weight::Table, what, mend: None });
        }
    }
    let wanted = |table: &Table| {
        let ours = table.name.starts_with("_relevo_");
        if settings.tables.is_empty() { !ours } else { settings.tables.iter().any(|entry| table.is(entry)) }
    };
    let published = super::slot::published(db, &settings.publication()).await?;
    if published.as_ref().is_some_and(|published| !published.complete) {
        let publication = settings.publication();
        let what = format!(
            "publication {publication} leaves changes out (an operation, rows, columns, or the partitions' root)"
        );
        let mend = format!(
            "ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate', publish_via_partition_root = true); -- and add its tables without WHERE and without columns",
            quote(&publication)
        );
        findings.push(Finding { weight: Weight::Blocks, what, mend: Some(mend) });
    }
    let generates = |table: &&Table| wanted(table) && table.columns.iter().any(|c| c.generated && !c.is_virtual);
    let left_out = published.as_ref().is_some_and(|published| !published.generated);
    if server.major >= 18 && left_out && all.iter().any(|table| generates(&table)) {
        let publication = settings.publication();
        let what = format!(
            "publication {publication} leaves generated columns out: PostgreSQL refuses UPDATEs of tables that have some and a full replica identity"
        );
        let mend = format!("ALTER PUBLICATION {} SET (publish_generated_columns = stored);", quote(&publication));
        findings.push(Finding { weight: Weight::Table, what, mend: Some(mend) });
    }
    let judge = Judge { settings, role: &role, published: published.as_ref() };
    tables.extend(all.into_iter().filter(wanted).filter(|table| judge.may_be_watched(table, &mut findings)));
    Ok(Preflight { server, tables, findings })
}

async fn server(
    db: &mut PgConnection,
    settings: &SourceSettings,
    findings: &mut Vec<Finding>,
) -> Result<(Server, String), CaptureError> {
    let row = sqlx::query(AssertSqlSafe(
        "SELECT current_setting('server_version_num')::int4 / 10000, current_setting('wal_level'), \
           pg_is_in_recovery(), current_setting('synchronous_commit'), \
           current_setting('max_slot_wal_keep_size'), \
           (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user), current_user::text, \
           current_setting('max_replication_slots')::int4 - (SELECT count(*)::int4 FROM pg_replication_slots), \
           current_setting('max_wal_senders')::int4 - (SELECT count(*)::int4 FROM pg_stat_replication), \
           (SELECT system_identifier::text FROM pg_control_system()), \
           (SELECT oid::text FROM pg_database WHERE datname = current_database()), current_database()::text, \
           (SELECT count(*)::int4 FROM pg_replication_slots WHERE slot_name = $1), \
           has_database_privilege(current_database(), 'CREATE'), \
           (SELECT count(*)::int4 FROM pg_publication WHERE pubname = $2), current_setting('server_encoding'), \
           CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END",
    ))
    .bind(settings.slot())
    .bind(settings.publication())
    .fetch_one(db)
    .await?;
    let text = |at: usize| row.try_get::<String, _>(at);
    let number = |at: usize| row.try_get::<i32, _>(at);
    let mut find = |weight: Weight, what: String, mend: Option<String>| findings.push(Finding { weight, what, mend });
    let major = number(0)?;
    if major < OLDEST {
        find(Weight::Blocks, format!("this is PostgreSQL {major}; {OLDEST} or later is needed"), None);
    }
    let level = text(1)?;
    if level != "logical" {
        let what = format!(
            "wal_level is {level}: the server does not write what logical replication needs; restart it after this"
        );
        find(Weight::Blocks, what, Some("ALTER SYSTEM SET wal_level = 'logical';".into()));
    }
    if row.try_get(2)? {
        let what = "this server is a standby: give the address of the primary, since heartbeats are written there";
        find(Weight::Blocks, what.into(), None);
    }
    if text(3)? == "off" {
        let what =
            "synchronous_commit is off: changes are seen only when the WAL is flushed, up to 0.6 s after their commit";
        find(
            Weight::Advice,
            what.into(),
            Some("ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf();".into()),
        );
    }
    if text(4)? == "-1" {
        let what = "max_slot_wal_keep_size has no limit: while relevo is stopped the server keeps all WAL, until its disk is full; with a limit relevo loses its place instead, says so (gap), and rebuilds";
        let mend = "ALTER SYSTEM SET max_slot_wal_keep_size = '20GB'; SELECT pg_reload_conf();";
        find(Weight::Advice, what.into(), Some(mend.into()));
    }
    let (role, database) = (text(6)?, text(11)?);
    if !row.try_get::<Option<bool>, _>(5)?.unwrap_or_default() {
        let what = format!("role {role} may not replicate");
        find(Weight::Blocks, what, Some(format!("ALTER ROLE {} REPLICATION;", quote(&role))));
    }
    let (slot_is_there, slots, senders) = (number(12)? > 0, number(7)?, number(8)?);
    if !slot_is_there && slots < 1 {
        let what = "no replication slot is free; restart the server after this";
        let mend = "ALTER SYSTEM SET max_replication_slots = 20;";
        find(Weight::Blocks, what.into(), Some(mend.into()));
    } else if slots < i32::from(!slot_is_there) + 1 {
        let what = "no replication slot is free beside relevo's own: it takes another for a moment when a pipeline asks for the rows that are there; restart the server after this";
        find(Weight::Table, what.into(), Some("ALTER SYSTEM SET max_replication_slots = 20;".into()));
    }
    if senders < 2 {
        let what = format!("{senders} WAL senders are free and relevo needs up to 2; restart the server after this");
        find(Weight::Advice, what, Some("ALTER SYSTEM SET max_wal_senders = 20;".into()));
    }
    if number(14)? == 0 && !row.try_get::<bool, _>(13)? {
        let what = format!("publication {} is missing and role {role} may not make it", settings.publication());
        let mend = format!("GRANT CREATE ON DATABASE {} TO {};", quote(&database), quote(&role));
        find(Weight::Blocks, what, Some(mend));
    }
    let encoding = text(15)?;
    if encoding == "SQL_ASCII" {
        let what = "the database has no encoding (SQL_ASCII): capture stands still before the first text that isn't UTF-8; copy it into one that has (pg_dump)";
        let mend = format!(
            "CREATE DATABASE {} ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;",
            quote(&format!("{database}_utf8"))
        );
        find(Weight::Table, what.into(), Some(mend));
    }
    // The control file has the new timeline only at the first checkpoint after a promotion; the WAL's name, at once.
    let timeline: Option<String> = row.try_get(16)?;
    let timeline = timeline.and_then(|digits| u32::from_str_radix(&digits, 16).ok());
    Ok((Server { major, identity: format!("{}.{}.{}", text(9)?, text(10)?, settings.slot()), timeline }, role))
}
