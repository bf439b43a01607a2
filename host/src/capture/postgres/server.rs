//! What the preflight says of the server, its settings and our role: not of tables.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::config::SourceSettings;

use super::super::error::CaptureError;
use super::catalog::quote;
use super::finding::{Finding, Mend, SUPERUSER, Weight};

/// The oldest PostgreSQL: its pgoutput is the first to carry the heartbeat's messages.
const OLDEST: i32 = 14;

const RELOAD: &str = "SELECT pg_reload_conf();";
const RESTART: &str = "restart PostgreSQL: systemctl restart postgresql, or pg_ctl restart -D its data folder";

/// A server, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub major: i32,
    /// Of this database in this cluster: positions of two of them don't compare.
    pub identity: String,
    /// The history of the cluster that it is in: another one since a standby was promoted. None: it doesn't tell.
    pub timeline: Option<u32>,
}

/// Who and where we are.
pub(super) struct Ours {
    pub role: String,
    pub database: String,
    /// Our role may make a publication.
    pub may_create: bool,
}

/// A setting of the server, as our session has it.
struct Setting {
    value: String,
    /// Where it comes from, in PostgreSQL's words.
    source: String,
    /// Another value is in the files, and waits for a restart.
    pending: bool,
    /// What the files have; None: our role may not see that, or they don't have it.
    filed: Option<String>,
}

pub(super) async fn look(
    db: &mut PgConnection,
    settings: &SourceSettings,
    findings: &mut Vec<Finding>,
) -> Result<(Server, Ours), CaptureError> {
    let row = sqlx::query(AssertSqlSafe(
        "SELECT current_setting('server_version_num')::int4 / 10000, pg_is_in_recovery(), \
           (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user), current_user::text, \
           current_setting('max_replication_slots')::int4 - (SELECT count(*)::int4 FROM pg_replication_slots), \
           current_setting('max_wal_senders')::int4 - (SELECT count(*)::int4 FROM pg_stat_replication), \
           (SELECT system_identifier::text FROM pg_control_system()), \
           (SELECT oid::text FROM pg_database WHERE datname = current_database()), current_database()::text, \
           (SELECT count(*)::int4 FROM pg_replication_slots WHERE slot_name = $1), \
           has_database_privilege(current_database(), 'CREATE'), current_setting('server_encoding'), \
           CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END",
    ))
    .bind(settings.slot())
    .fetch_one(&mut *db)
    .await?;
    let text = |at: usize| row.try_get::<String, _>(at);
    let number = |at: usize| row.try_get::<i32, _>(at);
    let (role, database) = (text(3)?, text(8)?);
    let known = Known { settings: known(db).await?, role: &role, database: &database };
    let mut find = |weight: Weight, what: String, mend: Option<Mend>| findings.push(Finding { weight, what, mend });
    let major = number(0)?;
    if major < OLDEST {
        find(Weight::Blocks, format!("this is PostgreSQL {major}; {OLDEST} or later is needed"), None);
    }
    let level = known.value("wal_level");
    if level != "logical" {
        let what = format!("wal_level is {level}: the server does not write what logical replication needs");
        let (what, mend) = known.restart("wal_level", "logical", what);
        find(Weight::Blocks, what, Some(mend));
    }
    if row.try_get(1)? {
        let what = "this server is a standby: give the address of the primary, since heartbeats are written there";
        find(Weight::Blocks, what.into(), None);
    }
    if known.value("synchronous_commit") == "off" {
        let what =
            "synchronous_commit is off: changes are seen only when the WAL is flushed, up to 0.6 s after their commit";
        let (what, mend) = known.reload("synchronous_commit", "on", what.into());
        find(Weight::Advice, what, Some(mend));
    }
    if known.value("max_slot_wal_keep_size") == "-1" {
        let what = "max_slot_wal_keep_size has no limit: while relevo is stopped the server keeps all WAL, until its disk is full; with a limit relevo loses its place instead, says so (gap), and rebuilds";
        let (what, mend) = known.reload("max_slot_wal_keep_size", "20GB", what.into());
        find(Weight::Advice, what, Some(mend));
    }
    // From 18 on.
    if !["", "0"].contains(&known.value("idle_replication_slot_timeout")) {
        let what = "idle_replication_slot_timeout is set: when relevo is stopped for longer, it loses its place, says so (gap), and rebuilds";
        let (what, mend) = known.reload("idle_replication_slot_timeout", "0", what.into());
        find(Weight::Advice, what, Some(mend));
    }
    for (other, in_database) in unflushed(db).await? {
        let (of, at) =
            (quote(&other), if in_database { format!(" IN DATABASE {}", quote(&database)) } else { String::new() });
        let what = format!(
            "synchronous_commit is off for role {other}: its changes are seen only when the WAL is flushed, up to 0.6 s after their commit"
        );
        let mend = Mend::by(SUPERUSER, [format!("ALTER ROLE {of}{at} RESET synchronous_commit;")]);
        find(Weight::Advice, what, Some(mend));
    }
    if !row.try_get::<Option<bool>, _>(2)?.unwrap_or_default() {
        let mend = Mend::by(SUPERUSER, [format!("ALTER ROLE {} REPLICATION;", quote(&role))]);
        find(Weight::Blocks, format!("role {role} may not replicate"), Some(mend));
    }
    let (slot_is_there, slots, senders) = (number(9)? > 0, number(4)?, number(5)?);
    if !slot_is_there && slots < 1 {
        let (what, mend) = known.restart("max_replication_slots", &known.more(), "no replication slot is free".into());
        find(Weight::Blocks, what, Some(mend));
    } else if slots < i32::from(!slot_is_there) + 1 {
        let what = "no replication slot is free beside relevo's own: it takes another for a moment when a pipeline asks for the rows that are there";
        let (what, mend) = known.restart("max_replication_slots", &known.more(), what.into());
        find(Weight::Table, what, Some(mend));
    }
    if senders < 2 {
        let what = format!("{senders} WAL senders are free and relevo needs up to 2");
        let wanted = known.value("max_wal_senders").parse().map_or(20, |now: u32| now.saturating_add(10)).to_string();
        let (what, mend) = known.restart("max_wal_senders", &wanted, what);
        find(Weight::Advice, what, Some(mend));
    }
    let encoding = text(11)?;
    if encoding == "SQL_ASCII" {
        let what = "the database has no encoding (SQL_ASCII): capture stands still before the first text that isn't UTF-8; copy it into one that has (pg_dump)";
        let new = quote(&format!("{database}_utf8"));
        let sql = format!("CREATE DATABASE {new} ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;");
        let mend = Mend::by("a superuser or a role with CREATEDB", [sql]);
        find(Weight::Table, what.into(), Some(mend));
    }
    // The control file has the new timeline only at the first checkpoint after a promotion; the WAL's name, at once.
    let timeline: Option<String> = row.try_get(12)?;
    let timeline = timeline.and_then(|digits| u32::from_str_radix(&digits, 16).ok());
    let server = Server { major, identity: format!("{}.{}.{}", text(6)?, text(7)?, settings.slot()), timeline };
    let may_create = row.try_get(10)?;
    Ok((server, Ours { role, database, may_create }))
}

/// The settings that we look at.
const LOOKED_AT: [&str; 6] = [
    "wal_level",
    "synchronous_commit",
    "max_slot_wal_keep_size",
    "idle_replication_slot_timeout",
    "max_replication_slots",
    "max_wal_senders",
];

async fn known(db: &mut PgConnection) -> Result<HashMap<String, Setting>, CaptureError> {
    let names: Vec<String> = LOOKED_AT.iter().map(|name| (*name).to_owned()).collect();
    // Superusers alone may see the files, unless they let others.
    let may = "SELECT has_table_privilege('pg_file_settings', 'SELECT') \
               AND has_function_privilege('pg_show_all_file_settings()', 'EXECUTE')";
    let mut filed = HashMap::new();
    if sqlx::query_scalar(may).fetch_one(&mut *db).await? {
        let last = "SELECT name, coalesce(setting, '') FROM pg_file_settings WHERE name = ANY ($1) ORDER BY seqno";
        let rows: Vec<(String, String)> = sqlx::query_as(last).bind(&names).fetch_all(&mut *db).await?;
        filed.extend(rows);
    }
    let sql = "SELECT name, setting, source, pending_restart FROM pg_settings WHERE name = ANY ($1)";
    let rows: Vec<(String, String, String, bool)> = sqlx::query_as(sql).bind(&names).fetch_all(db).await?;
    let setting = |(name, value, source, pending): (String, String, String, bool)| {
        let filed = filed.remove(&name);
        (name, Setting { value, source, pending, filed })
    };
    Ok(rows.into_iter().map(setting).collect())
}

/// The other roles whose commits don't wait for the WAL's flush here, and whether in this database alone.
async fn unflushed(db: &mut PgConnection) -> Result<Vec<(String, bool)>, CaptureError> {
    let sql = "SELECT r.rolname::text, s.setdatabase <> 0 FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole \
               WHERE r.rolname <> current_user \
                 AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) \
                 AND EXISTS (SELECT FROM unnest(s.setconfig) AS c \
                   WHERE lower(c) IN ('synchronous_commit=off', 'synchronous_commit=false', 'synchronous_commit=no', 'synchronous_commit=0')) \
               ORDER BY 1, 2";
    Ok(sqlx::query_as(sql).fetch_all(db).await?)
}

struct Known<'a> {
    settings: HashMap<String, Setting>,
    role: &'a str,
    database: &'a str,
}

impl Known<'_> {
    fn value(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", |setting| &setting.value)
    }

    /// More slots than there are.
    fn more(&self) -> String {
        self.value("max_replication_slots").parse().map_or(20, |now: u32| now.saturating_add(10)).to_string()
    }

    /// What is said of a setting that only a restart changes, and what mends it.
    fn restart(&self, name: &str, wanted: &str, what: String) -> (String, Mend) {
        let Some(setting) = self.settings.get(name) else { return (what, Mend::words(RESTART)) };
        let enough = |filed: &str| match (filed.parse::<u64>(), setting.value.parse::<u64>()) {
            (Ok(filed), Ok(now)) => filed > now,
            _ => filed == wanted,
        };
        if let Some(mend) = self.elsewhere(name, wanted, setting) {
            return (what, mend);
        }
        if setting.filed.as_deref().map_or(setting.pending, enough) {
            let filed = setting.filed.as_deref().map_or_else(String::new, |filed| format!(" ({filed})"));
            let what = format!("{what}; another value of {name}{filed} is set already, and waits for a restart");
            return (what, Mend::words(RESTART));
        }
        // By the reload the server learns that a restart is due, and `pending_restart` says so to everybody.
        let mend = Mend::by(SUPERUSER, [format!("ALTER SYSTEM SET {name} = '{wanted}';"), RELOAD.into()]);
        (what, mend.then(RESTART))
    }

    /// The same of a setting that a reload changes.
    fn reload(&self, name: &str, wanted: &str, what: String) -> (String, Mend) {
        let Some(setting) = self.settings.get(name) else { return (what, Mend::by(SUPERUSER, [RELOAD.into()])) };
        let (role, database) = (quote(self.role), quote(self.database));
        let reset = match &*setting.source {
            "user" => Some(("the role itself or a superuser", format!("ALTER ROLE {role} RESET {name};"))),
            "database" => {
                Some(("the database's owner or a superuser", format!("ALTER DATABASE {database} RESET {name};")))
            }
            // The role itself may, if it has the right to make roles, too; a superuser always.
            "database user" => Some((SUPERUSER, format!("ALTER ROLE {role} IN DATABASE {database} RESET {name};"))),
            "global" => Some((SUPERUSER, format!("ALTER ROLE ALL RESET {name};"))),
            _ => None,
        };
        if let Some((by, reset)) = reset {
            let whom = if setting.source == "global" { "all roles" } else { &format!("the {}", setting.source) };
            return (format!("{what} (set for {whom})"), Mend::by(by, [reset]));
        }
        if setting.source == "client" {
            let what = format!("{what} (set by the address)");
            return (
                what,
                Mend::words(format!("take {name} out of the `options` of the source's url (or of PGOPTIONS)")),
            );
        }
        if let Some(mend) = self.elsewhere(name, wanted, setting) {
            return (what, mend);
        }
        match &setting.filed {
            // Which unit the files have doesn't count where it is to be none.
            Some(filed) if *filed != setting.value && (wanted != "0" || filed == wanted) => {
                let what = format!("{what}; {name} = {filed} is set already, and waits for the files to be read again");
                (what, Mend::by(SUPERUSER, [RELOAD.into()]))
            }
            _ => (what, Mend::by(SUPERUSER, [format!("ALTER SYSTEM SET {name} = '{wanted}';"), RELOAD.into()])),
        }
    }

    /// Where no statement changes it.
    fn elsewhere(&self, name: &str, wanted: &str, setting: &Setting) -> Option<Mend> {
        (setting.source == "command line").then(|| {
            Mend::words(format!(
                "the server was started with {name} on its command line, which no statement overrules: start it with -c {name}={wanted}"
            ))
        })
    }
}
