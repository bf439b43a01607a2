//! A writer that goes on when its PostgreSQL was gone, until it is told to stop. What it committed stands in the
//! database itself, in the same transactions: the oracle knows it however a connection ended.

use std::fmt::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use scratch_postgres::{DATABASE, Psql};

use crate::postgres::Postgres;
use crate::random::Random;
use crate::workload::{Logged, Op, in_order, transactions};

/// Makes the counter that orders all changes, and the log.
pub const PREPARE: &str = "create table orden (n integer not null); insert into orden values (0);
    create table bitacora (n integer not null, writer integer not null, op integer not null);";

/// Changes of one `psql`.
const CHANGES: usize = 60;

/// See the module.
#[derive(Debug)]
pub struct SteadyWriter {
    number: usize,
    stop: Arc<AtomicBool>,
    /// Gives all operations that it ever tried, by their index.
    thread: JoinHandle<Vec<Op>>,
}

impl SteadyWriter {
    pub fn start(database: &Postgres, number: usize, random: &mut Random) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, psql, mut random) = (Arc::clone(&stop), database.psql(), random.fork());
        let thread = std::thread::spawn(move || {
            let mut ops = Vec::new();
            while !theirs.load(Ordering::Acquire) {
                write(&psql, number, &mut ops, transactions(&mut random, CHANGES));
            }
            ops
        });
        Self { number, stop, thread }
    }

    fn finish(self) -> (usize, Vec<Op>) {
        self.stop.store(true, Ordering::Release);
        (self.number, self.thread.join().expect("a writer's thread"))
    }
}

/// Runs some transactions, each of them once or not at all.
fn write(psql: &Psql, number: usize, ops: &mut Vec<Op>, transactions: Vec<Vec<Op>>) {
    let mut sql = String::new();
    for transaction in transactions {
        sql.push_str("begin;\n");
        for op in transaction {
            let _ = writeln!(sql, "update orden set n = n + 1; {};", op.postgres_statement());
            let _ = writeln!(sql, "insert into bitacora select n, {number}, {} from orden;", ops.len());
            ops.push(op);
        }
        // So that others come to write, too, and a backlog stays small.
        sql.push_str("commit; select pg_sleep(0.003);\n");
    }
    let mut command = psql.on(DATABASE);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut child = child.expect("psql runs");
    let mut input = child.stdin.take().expect("its input");
    let fed = std::io::Write::write_all(&mut input, sql.as_bytes());
    drop(input);
    let ended = child.wait().expect("psql ends");
    if fed.is_err() || !ended.success() {
        // The database is gone; it comes back.
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// What all writers committed, in order.
pub fn committed(database: &Postgres, writers: Vec<SteadyWriter>) -> Vec<Logged> {
    let ops: Vec<(usize, Vec<Op>)> = writers.into_iter().map(SteadyWriter::finish).collect();
    let rows = database.sql("select n, writer, op from bitacora order by n");
    let logged = rows.lines().map(|row| {
        let mut fields = row.split('|').map(|field| field.parse::<usize>().expect("a number"));
        let mut next = || fields.next().expect("three numbers");
        let (n, writer, op) = (next(), next(), next());
        let (_, ops) = ops.iter().find(|(number, _)| *number == writer).expect("its writer");
        Logged { n: n as u64, op: ops[op].clone() }
    });
    in_order(logged)
}
