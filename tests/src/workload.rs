//! Random changes of tasks, written by two processes at once, each with a log of what it committed.
//!
//! Every change counts up one row in the same transaction, and puts the number into the task's title:
//! SQLite has one writer at a time, so the numbers are the order of the commits, whoever wrote.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

use crate::cli::Script;
use crate::random::Random;

/// The first task that the workload may touch, and how many it has.
pub const FIRST_TASK: u64 = 100;
pub const TASKS: u64 = 40;

pub const STATES: [&str; 5] = ["PROGRAMMED", "IN_PROGRESS", "PAUSED", "COMPLETED", "CANCELLED"];
const PRIORITIES: [&str; 3] = ["LOW", "HIGH", "CRITICAL"];

/// One change of one task. It may find no row: then it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// `INSERT OR REPLACE`: a new task, or a new row in the place of the old one.
    Replace {
        id: u64,
        state: &'static str,
        priority: &'static str,
    },
    /// `INSERT … ON CONFLICT DO UPDATE` of title and state.
    Upsert {
        id: u64,
        state: &'static str,
    },
    Status {
        id: u64,
        state: &'static str,
    },
    Title {
        id: u64,
    },
    /// Gives the task to these efectivos.
    Assign {
        id: u64,
        efectivos: Vec<u64>,
    },
    SoftDelete {
        id: u64,
    },
    Delete {
        id: u64,
    },
}

impl Op {
    /// A random one. Rows come back often enough that most changes find one.
    pub fn random(random: &mut Random) -> Self {
        let id = FIRST_TASK + random.below(TASKS);
        let state = *random.pick(&STATES);
        match random.below(100) {
            0..15 => Self::Replace { id, state, priority: random.pick::<&str>(&PRIORITIES) },
            15..30 => Self::Upsert { id, state },
            30..60 => Self::Status { id, state },
            60..82 => Self::Title { id },
            82..90 => Self::Assign { id, efectivos: (1..=2).filter(|_| random.below(2) == 0).collect() },
            90..95 => Self::SoftDelete { id },
            _ => Self::Delete { id },
        }
    }

    /// The statement. It takes its number from the counter that was just moved.
    fn statement(&self) -> String {
        let title = "'n ' || (select n from orden)";
        match self {
            Self::Replace { id, state, priority } => format!(
                "insert or replace into tareas (id, uuid, codigo, titulo, tipo, prioridad, estado, creado_por_usuario_id,
                   efectivos_asignados, created_at, updated_at)
                 values ({id}, 'w-{id}', 'W-{id}', {title}, 'PATRULLAJE', '{priority}', '{state}', 1, '[]',
                   '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z')"
            ),
            Self::Upsert { id, state } => format!(
                "insert into tareas (id, uuid, codigo, titulo, tipo, prioridad, estado, creado_por_usuario_id,
                   efectivos_asignados, created_at, updated_at)
                 values ({id}, 'w-{id}', 'W-{id}', {title}, 'VIGILANCIA', 'LOW', '{state}', 1, '[]',
                   '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z')
                 on conflict (id) do update set titulo = excluded.titulo, estado = excluded.estado"
            ),
            Self::Status { id, state } => {
                format!("update tareas set estado = '{state}', titulo = {title} where id = {id}")
            }
            Self::Title { id } => format!("update tareas set titulo = {title} where id = {id}"),
            Self::Assign { id, efectivos } => {
                let list = efectivos.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
                format!("update tareas set efectivos_asignados = '[{list}]', titulo = {title} where id = {id}")
            }
            Self::SoftDelete { id } => {
                format!("update tareas set deleted_at = '2026-02-02T00:00:00Z', titulo = {title} where id = {id}")
            }
            Self::Delete { id } => format!("delete from tareas where id = {id}"),
        }
    }
}

impl Op {
    /// The same for PostgreSQL, which has no `INSERT OR REPLACE`.
    pub(crate) fn postgres_statement(&self) -> String {
        let Self::Replace { id, state, priority } = self else { return self.statement() };
        format!(
            "insert into tareas (id, uuid, codigo, titulo, tipo, prioridad, estado, creado_por_usuario_id,
               efectivos_asignados, created_at, updated_at)
             values ({id}, 'w-{id}', 'W-{id}', 'n ' || (select n from orden), 'PATRULLAJE', '{priority}', '{state}', 1,
               '[]', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z')
             on conflict (id) do update set titulo = excluded.titulo, estado = excluded.estado,
               prioridad = excluded.prioridad, tipo = excluded.tipo, efectivos_asignados = '[]', deleted_at = null"
        )
    }
}

/// A change that was committed: its place in the order of all, and what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    pub n: u64,
    pub op: Op,
}

/// Makes the counter. Once, before anything is written.
pub const PREPARE: &str = "create table orden (n integer not null); insert into orden values (0);";

/// Transactions of one to four changes.
pub fn transactions(random: &mut Random, changes: usize) -> Vec<Vec<Op>> {
    let mut left = changes;
    let mut transactions = Vec::new();
    while left > 0 {
        let size = if random.below(4) == 0 { random.between(2, 4) } else { 1 };
        let size = usize::try_from(size).expect("a small number").min(left);
        transactions.push((0..size).map(|_| Op::random(random)).collect());
        left -= size;
    }
    transactions
}

/// One transaction of PostgreSQL with all these changes, numbered from `first` on, and its log.
pub fn postgres_transaction(first: u64, ops: Vec<Op>) -> (String, Vec<Logged>) {
    let mut sql = String::from("begin;\n");
    let log: Vec<Logged> = (first..).zip(ops).map(|(n, op)| Logged { n, op }).collect();
    for Logged { n, op } in &log {
        sql.push_str(&op.postgres_statement().replace("(select n from orden)", &n.to_string()));
        sql.push_str(";\n");
    }
    sql.push_str("commit;\n");
    (sql, log)
}

/// A `sqlite3` process that writes; its output is its log.
#[derive(Debug)]
pub struct CliWriter {
    script: Script,
    ops: Vec<Op>,
}

impl CliWriter {
    pub fn start(database: &Path, transactions: Vec<Vec<Op>>) -> Self {
        let sql = script(&transactions);
        let script = Script::start(database, &format!("pragma synchronous = off;\n{sql}"));
        Self { script, ops: transactions.into_iter().flatten().collect() }
    }

    /// Waits until it has written all, and returns its log.
    pub fn finish(self) -> Vec<Logged> {
        let out = self.script.finish();
        let log: Vec<Logged> = out
            .lines()
            .filter_map(|line| line.split_once('|'))
            .map(|(n, index)| {
                let index: usize = index.parse().expect("an index");
                Logged { n: n.parse().expect("a number"), op: self.ops[index].clone() }
            })
            .collect();
        assert_eq!(log.len(), self.ops.len(), "the script didn't log all that it wrote");
        log
    }
}

/// Each change is followed by its number and index.
fn script(transactions: &[Vec<Op>]) -> String {
    let mut sql = String::new();
    let mut index = 0;
    for transaction in transactions {
        sql.push_str("begin immediate;\n");
        for op in transaction {
            sql.push_str("update orden set n = n + 1;\n");
            sql.push_str(&op.statement());
            sql.push_str(&format!(";\nselect n, {index} from orden;\n"));
            index += 1;
        }
        sql.push_str("commit;\n");
    }
    sql
}

/// A writer in this process, over a connection of its own.
#[derive(Debug)]
pub struct OwnWriter {
    thread: JoinHandle<Vec<Logged>>,
    committed: Arc<AtomicU64>,
}

impl OwnWriter {
    pub fn start(database: PathBuf, transactions: Vec<Vec<Op>>) -> Self {
        let committed = Arc::new(AtomicU64::new(0));
        let theirs = committed.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(write(&database, transactions, &theirs))
        });
        Self { thread, committed }
    }

    /// How many changes it has committed.
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// Waits until it has written all, and returns its log.
    pub fn finish(self) -> Vec<Logged> {
        self.thread.join().expect("the writer of this process")
    }
}

async fn write(database: &Path, transactions: Vec<Vec<Op>>, committed: &AtomicU64) -> Vec<Logged> {
    let mut connection = connect(database).await;
    let mut log = Vec::new();
    for transaction in transactions {
        execute(&mut connection, "begin immediate".into()).await;
        for op in transaction {
            execute(&mut connection, "update orden set n = n + 1".into()).await;
            execute(&mut connection, op.statement()).await;
            let row = sqlx::query("select n from orden").fetch_one(&mut connection).await.expect("the counter");
            log.push(Logged { n: row.get::<i64, _>(0).unsigned_abs(), op });
        }
        execute(&mut connection, "commit".into()).await;
        committed.store(log.len() as u64, Ordering::Release);
    }
    log
}

/// A connection as an application in this process would have it.
pub async fn connect(database: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(database)
        // SQLite queues nobody: a writer may be overtaken again and again by one that begins anew at once.
        .busy_timeout(std::time::Duration::from_secs(300))
        .foreign_keys(false)
        // SQLite compiles a table's triggers into each statement that it prepares: an application keeps
        // its statements.
        .statement_cache_capacity(2000)
        .synchronous(SqliteSynchronous::Off);
    SqliteConnection::connect_with(&options).await.expect("the database opens")
}

/// Runs one statement.
pub async fn execute(connection: &mut SqliteConnection, sql: String) {
    let shown = sql.clone();
    sqlx::query(AssertSqlSafe(sql)).execute(connection).await.unwrap_or_else(|e| panic!("{shown}: {e}"));
}

/// Gives task 1 the title `n N`, by a statement that is prepared once.
pub async fn retitle(connection: &mut SqliteConnection, n: u64) {
    let update = sqlx::query("update tareas set titulo = ? where id = 1").bind(format!("n {n}"));
    update.execute(connection).await.expect("an update of a task");
}

/// The logs of all writers as one, in the order of the commits.
///
/// # Panics
/// If a number is missing or there twice: the oracle would be worth nothing.
pub fn in_order(logs: impl IntoIterator<Item = Logged>) -> Vec<Logged> {
    let mut all: Vec<Logged> = logs.into_iter().collect();
    all.sort_by_key(|logged| logged.n);
    for (index, logged) in all.iter().enumerate() {
        assert_eq!(logged.n, index as u64 + 1, "the writers' logs are not whole");
    }
    all
}
