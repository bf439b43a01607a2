//! Row changes from PostgreSQL through three plugins and the journal to clients, beside what PostgreSQL's own
//! `pg_recvlogical` makes of the same WAL: all in one run, so that the machine counts on both sides. The
//! scratch PostgreSQL runs with `fsync = off`: the disk's time for its commits is in neither's latency.

use std::io::Read as _;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use relevo_tests::postgres::DATABASE;
use relevo_tests::server::{Server, wait_for};
use relevo_tests::token::token;
use relevo_tests::wait::SOON;
use relevo_tests::world::World;
use rustix::process::Signal;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::task::JoinSet;

use crate::latency::{histogram, record};
use crate::rules::{FIRST, Rules, USERS};
use crate::sockets::{Socket, find, number_after};
use crate::table::{number, per_second, print};

const PUBLICATION: &str = "relevo_gad";
/// `pg_recvlogical`'s own.
const SLOT: &str = "bench";

/// What stands before a change's number in a message.
const TITLE: &[u8] = b"\"titulo\":\"bench ";

pub(crate) async fn measure(rules: Rules, rounds: u64, changes: u64, transactions: &[u64], rate: u64, seconds: u64) {
    // As many for each user.
    let changes = changes.next_multiple_of(USERS);
    let world = rules.world();
    let server = world.serve();
    let mut written = 0;
    for &transaction in transactions {
        let mut all = Vec::new();
        for n in 1..=rounds {
            let round = round(rules, &world, &server, written, changes, transaction).await;
            written += 2 * changes;
            println!("  round {n}: {}", round.line(changes));
            all.push(round);
        }
        rules.check_counts(&server, written).await;
        print(
            &format!(
                "postgres: {} changes, {transaction} a transaction; {rules}; medians of {rounds} rounds",
                number(changes)
            ),
            &rows(&all, changes, server.rss()),
        );
    }
    let theirs = receiver_latency(rules, &world, &server, rate, seconds);
    let ours = latency(rules, &world, &server, rate, seconds).await;
    let ms = |histogram: &Histogram<u64>, at: f64| format!("{:.2}", histogram.value_at_quantile(at) as f64 / 1000.0);
    print(
        &format!("postgres: commit → client, {rate}/s for {seconds} s each"),
        &[
            ("pg_recvlogical: p50, ms", ms(&theirs, 0.5)),
            ("pg_recvlogical: p99, ms", ms(&theirs, 0.99)),
            ("Relevo: p50, ms", ms(&ours, 0.5)),
            ("Relevo: p99, ms", ms(&ours, 0.99)),
            ("  at most 5 ms, the target", met(ours.value_at_quantile(0.99) <= 5_000)),
        ],
    );
    let last = transactions.last().copied().unwrap_or(1);
    let (alone, cpu) = capture_alone(rules, &world, &server, &rules.writes(written + 1, changes, last, true), changes);
    print(
        &format!("postgres: into the journal alone, {last} changes a transaction, all plugins paused"),
        &[
            ("pg_recvlogical > /dev/null, changes/s", per_second(changes, alone.receiver)),
            ("Relevo, changes/s", per_second(changes, alone.relevo)),
            ("  of pg_recvlogical's", format!("{:.2}", alone.part())),
            ("server CPU for each change, µs", format!("{:.1}", cpu.as_secs_f64() * 1e6 / changes as f64)),
        ],
    );
    server.stop(SOON);
}

fn met(met: bool) -> String {
    if met { "met".into() } else { "not met".into() }
}

/// What capture and the journal take, without plugins, messages and clients. The plugins stay paused.
fn capture_alone(rules: Rules, world: &World, server: &Server, writes: &str, changes: u64) -> (Race, Duration) {
    for plugin in rules.plugins() {
        let bearer = format!("Authorization: Bearer {}", token("900", "ADMIN"));
        let answer = server.http("POST", &format!("/api/v1/plugins/{plugin}/pause"), &[bearer], "");
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
    for pipeline in rules.pipelines() {
        let up = format!("relevo_pipeline_up{{pipeline=\"{pipeline}\"}}");
        wait_for("the pause", || (metric(server, &up) == 0.0).then_some(()));
    }
    let head = || metric(server, "relevo_journal_head") as u64;
    let (before, cpu) = (head(), server.cpu());
    let go_on = write_behind(world, server, writes);
    let receiver = receive(world);
    let began = go_on();
    while head() < before + changes {
        std::thread::park_timeout(EVERY);
    }
    (Race { receiver, relevo: began.elapsed() }, server.cpu() - cpu)
}

/// Between two looks at the metrics.
const EVERY: Duration = Duration::from_millis(10);

fn metric(server: &Server, name: &str) -> f64 {
    let text = server.get_as("/metrics", "900", "ADMIN").1;
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    found.unwrap_or_else(|| panic!("{name} is not in {text}"))
}

/// The subscribers' pipeline may be done before the others are.
fn all_plugins_are_done(rules: Rules, server: &Server) {
    for pipeline in rules.pipelines() {
        while metric(server, &format!("relevo_pipeline_lag{{pipeline=\"{pipeline}\"}}")) > 0.0 {
            std::thread::park_timeout(EVERY);
        }
    }
}

/// What it took to get all changes, written in one go: `pg_recvlogical`, then Relevo.
struct Race {
    receiver: Duration,
    relevo: Duration,
}

impl Race {
    fn part(&self) -> f64 {
        self.receiver.as_secs_f64() / self.relevo.as_secs_f64()
    }
}

struct Round {
    one: Race,
    /// Of the server, while it sent to one.
    cpu: Duration,
    many: Race,
}

impl Round {
    fn line(&self, changes: u64) -> String {
        let race = |race: &Race| {
            let [receiver, relevo] = [race.receiver, race.relevo].map(|time| per_second(changes, time));
            format!("{relevo} of {receiver}/s ({:.2})", race.part())
        };
        format!("one subscriber {}, 100 subscribers {}", race(&self.one), race(&self.many))
    }
}

/// The machine's own speed changes from second to second: of several rounds the one in the middle says most. There is
/// one at least.
fn median(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
    f64::midpoint(values[low], values[high])
}

fn rows(rounds: &[Round], changes: u64, rss: u64) -> Vec<(&'static str, String)> {
    let rate = |of: fn(&Round) -> Duration| {
        per_second(changes, Duration::from_secs_f64(median(rounds, |round| of(round).as_secs_f64())))
    };
    let part = |of: fn(&Round) -> &Race, target: f64| {
        let part = median(rounds, |round| of(round).part());
        format!("{part:.2} ({})", met(part >= target))
    };
    vec![
        ("pg_recvlogical > /dev/null, changes/s", rate(|round| round.one.receiver)),
        ("Relevo, one subscriber, changes/s", rate(|round| round.one.relevo)),
        ("  of pg_recvlogical's (target 0.50)", part(|round| &round.one, 0.5)),
        ("pg_recvlogical > /dev/null, changes/s", rate(|round| round.many.receiver)),
        ("Relevo, 100 subscribers on own channels, changes/s", rate(|round| round.many.relevo)),
        ("  of pg_recvlogical's (target 0.33)", part(|round| &round.many, 1.0 / 3.0)),
        ("server CPU for each change, one subscriber, µs", {
            format!("{:.1}", median(rounds, |round| round.cpu.as_secs_f64()) * 1e6 / changes as f64)
        }),
        ("RSS at the end, MiB", number(rss >> 20)),
    ]
}

/// The server stands still while the changes are written, so that all of them wait in the WAL. Their numbers come
/// after `last`.
async fn round(rules: Rules, world: &World, server: &Server, last: u64, changes: u64, transaction: u64) -> Round {
    let mut all = rules.subscriber(server).await;
    let go_on = write_behind(world, server, &rules.writes(last + 1, changes, transaction, false));
    let receiver = receive(world);
    let (cpu, began) = (server.cpu(), go_on());
    let mut due = last + 1;
    while due <= last + changes {
        all.frames(|text| {
            if let Some(n) = number_after(text, TITLE) {
                assert_eq!(n, due, "a message is missing, doubled or out of order");
                assert!(rules.is_whole(text), "not what the plugins make of it: {}", String::from_utf8_lossy(text));
                due += 1;
            }
        })
        .await;
    }
    all_plugins_are_done(rules, server);
    let (one, cpu) = (Race { receiver, relevo: began.elapsed() }, server.cpu() - cpu);
    drop(all);

    let mut own = Vec::new();
    for user in FIRST..FIRST + USERS {
        own.push(Socket::connect_as(server.address, &user.to_string(), "LEVEL_1", &[]).await);
    }
    let last = last + changes;
    let go_on = write_behind(world, server, &rules.writes(last + 1, changes, transaction, true));
    let receiver = receive(world);
    let began = go_on();
    let mut readers = JoinSet::new();
    for (at, socket) in (0..).zip(own) {
        readers.spawn(read_share(rules, socket, at, last + 1..=last + changes));
    }
    readers.join_all().await;
    all_plugins_are_done(rules, server);
    Round { one, cpu, many: Race { receiver, relevo: began.elapsed() } }
}

/// Writes while the server stands still. What it gives back has the server go on, and says when.
fn write_behind<'s>(world: &World, server: &'s Server, writes: &str) -> impl FnOnce() -> Instant + use<'s> {
    fresh_slot(world);
    server.process.signal(Signal::STOP);
    world.sql(writes);
    || {
        let began = Instant::now();
        server.process.signal(Signal::CONT);
        began
    }
}

/// Reads what goes to one of the users: every hundredth of the changes with these numbers.
async fn read_share(rules: Rules, mut socket: Socket, user: u64, changes: RangeInclusive<u64>) {
    let mut due = changes.filter(|n| rules.user_of(*n) == user).peekable();
    while due.peek().is_some() {
        socket
            .frames(|text| {
                if find(text, rules.to_users()).is_some() {
                    assert_eq!(number_after(text, TITLE), due.next(), "a message is missing, doubled or out of order");
                }
            })
            .await;
    }
}

/// A slot that begins here. One that was read from would have PostgreSQL decode much of that once more: it begins at a
/// snapshot of the transactions then running, of which it writes one in 15 seconds.
fn fresh_slot(world: &World) {
    world.sql(&format!(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '{SLOT}';
         select pg_create_logical_replication_slot('{SLOT}', 'pgoutput')"
    ));
}

/// How long `pg_recvlogical` takes for all that waits in its slot.
fn receive(world: &World) -> Duration {
    let end = world.sql("select pg_current_wal_insert_lsn()");
    // Something behind it: the receiver ends when it sees the end passed.
    world.sql("select pg_switch_wal()");
    let began = Instant::now();
    let mut receiver = receiver(world, "/dev/null");
    let ended = receiver.args(["--endpos", &end]).status().expect("pg_recvlogical runs");
    assert!(ended.success(), "pg_recvlogical failed");
    began.elapsed()
}

fn receiver(world: &World, file: &str) -> Command {
    let postgres = world.postgres.as_ref().expect("a world over PostgreSQL");
    let folder = std::env::var_os("RELEVO_POSTGRES_BIN").map(PathBuf::from).unwrap_or_default();
    let mut receiver = Command::new(folder.join("pg_recvlogical"));
    receiver.args(["--start", "--no-loop", "--slot", SLOT, "--file", file, "--fsync-interval", "0"]);
    receiver.args(["--option", "proto_version=1", "--option", &format!("publication_names={PUBLICATION}")]);
    receiver.arg("--dbname").arg(postgres.url(DATABASE));
    receiver
}

/// When each transaction's COMMIT was sent, by its number.
#[derive(Clone, Default)]
struct Commits(Arc<Mutex<Vec<Instant>>>);

impl Commits {
    fn sent(&self) {
        self.0.lock().expect("the commits' lock").push(Instant::now());
    }

    /// The first second counts for nothing: until then both may still be reading what was there before.
    fn received(&self, n: u64, rate: u64, histogram: &mut Histogram<u64>) {
        if n < rate {
            return;
        }
        let sent = self.0.lock().expect("the commits' lock")[usize::try_from(n).expect("a count")];
        record(histogram, sent.elapsed());
    }
}

/// Commits one change each time, with a number behind `title`, from a thread of its own.
fn write_steadily(
    rules: Rules,
    world: &World,
    title: &'static str,
    commits: &Commits,
    rate: u64,
    total: u64,
) -> JoinHandle<()> {
    let url = world.postgres.as_ref().expect("a world over PostgreSQL").url(DATABASE);
    let commits = commits.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut connection = PgConnection::connect(&url).await.expect("a connection");
            let mut clock = tokio::time::interval(Duration::from_secs_f64(1.0 / rate as f64));
            for n in 0..total {
                clock.tick().await;
                let update = format!("begin; {}", rules.retitle(n, &format!("{title}{n}")));
                sqlx::raw_sql(AssertSqlSafe(update)).execute(&mut connection).await.expect("a change");
                commits.sent();
                sqlx::raw_sql("commit").execute(&mut connection).await.expect("a commit");
            }
        });
    })
}

/// As long as the longest title, in bytes.
const CUT: usize = 32;

/// From COMMIT until `pg_recvlogical` has written the change into a pipe; the server stands still meanwhile.
fn receiver_latency(rules: Rules, world: &World, server: &Server, rate: u64, seconds: u64) -> Histogram<u64> {
    let total = rate * (seconds + 1);
    fresh_slot(world);
    server.process.signal(Signal::STOP);
    let mut child = receiver(world, "-").stdout(Stdio::piped()).spawn().expect("pg_recvlogical runs");
    let mut output = child.stdout.take().expect("stdout is piped");
    let commits = Commits::default();
    let writer = write_steadily(rules, world, "alone ", &commits, rate, total);
    let (mut histogram, mut buffer, mut kept, mut due) = (histogram(), vec![0; 1 << 16], 0, 0);
    while due < total {
        let read = output.read(&mut buffer[kept..]).expect("the receiver's output");
        assert!(read > 0, "pg_recvlogical ended");
        let end = kept + read;
        let mut rest = &buffer[..end];
        while let Some(at) = find(rest, b"alone ") {
            // The old row, with an earlier number, comes first.
            if number_after(&rest[at..], b"alone ") == Some(due) {
                commits.received(due, rate, &mut histogram);
                due += 1;
            }
            rest = &rest[at + 1..];
        }
        // A number may be cut where what was read ends.
        kept = end.min(CUT);
        buffer.copy_within(end - kept..end, 0);
    }
    writer.join().expect("the writer");
    let _ = child.kill();
    let _ = child.wait();
    server.process.signal(Signal::CONT);
    histogram
}

/// From COMMIT until a client has the message.
async fn latency(rules: Rules, world: &World, server: &Server, rate: u64, seconds: u64) -> Histogram<u64> {
    let total = rate * (seconds + 1);
    let mut socket = rules.subscriber(server).await;
    let commits = Commits::default();
    let writer = write_steadily(rules, world, "late ", &commits, rate, total);
    let (mut histogram, mut due) = (histogram(), 0);
    while due < total {
        socket
            .frames(|text| {
                if let Some(n) = number_after(text, b"\"titulo\":\"late ") {
                    assert_eq!(n, due, "a message is missing, doubled or out of order");
                    commits.received(n, rate, &mut histogram);
                    due += 1;
                }
            })
            .await;
    }
    writer.join().expect("the writer");
    histogram
}
