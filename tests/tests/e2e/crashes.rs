//! `kill -9` at random moments and at every failpoint, while two processes write: every message once,
//! in order, with an id that stays.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use relevo_tests::client::{Client, Connect, assert_rising_without_doubles};
use relevo_tests::follower::Follower;
use relevo_tests::frame::Frame;
use relevo_tests::oracle::{Expected, Tally, assert_same, expected, seen};
use relevo_tests::panel;
use relevo_tests::random::Random;
use relevo_tests::server::{Process, Server};
use relevo_tests::wait::{SOON, until};
use relevo_tests::workload::{CliWriter, Logged, Op, OwnWriter, PREPARE, in_order, transactions};
use relevo_tests::world::World;

/// Of each of the two writers, in a round.
const CHANGES: usize = 500;

const FAILPOINTS: [&str; 8] = [
    "append.before",
    "append.after",
    "commit.before",
    "commit.after",
    "send.before",
    "send.after",
    "acknowledge.before",
    "acknowledge.after",
];

/// A backlog of all rounds on a busy machine.
const CATCH_UP: Duration = Duration::from_secs(180);

/// When a round's server dies.
#[derive(Debug)]
enum Death {
    /// By itself, at the n-th pass of a failpoint.
    Failpoint(&'static str, u64),
    /// When this many of the round's changes were committed by the writer in this process.
    Written(u64),
    /// When the client has got this many more messages.
    Received(usize),
    /// When the client has got everything: nothing is under way but marks and acknowledgements.
    Idle,
}

impl Death {
    fn choose(round: usize, random: &mut Random) -> Self {
        if round.is_multiple_of(2) {
            let point = FAILPOINTS[(round / 2) % FAILPOINTS.len()];
            let most = if point.starts_with("acknowledge") { 4 } else { 25 };
            return Self::Failpoint(point, random.between(1, most));
        }
        match random.below(8) {
            0..3 => Self::Written(random.between(1, CHANGES as u64)),
            3..7 => Self::Received(usize::try_from(random.between(1, 700)).unwrap()),
            _ => Self::Idle,
        }
    }
}

#[test]
fn every_message_comes_once_and_in_order_however_often_the_server_is_killed() {
    kill_rounds("kill", rounds(30), World::configured(|world| world));
}

#[test]
fn the_same_holds_when_the_instance_is_replaced_after_every_batch_and_batches_are_small() {
    let world =
        World::configured(|world| world.set("plugins.replace_instance_after = 1").set("plugins.batch_events = 7"));
    kill_rounds("kill with fresh instances", rounds(30).min(4), world);
}

#[test]
fn the_same_holds_under_durability_power() {
    let world = World::configured(|world| world.set("journal.durability = \"power\""));
    kill_rounds("kill under durability power", rounds(30).min(4), world);
}

fn rounds(default: usize) -> usize {
    std::env::var("RELEVO_KILL_ROUNDS").map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("RELEVO_KILL_ROUNDS={text}: allowed is a whole number"))
    })
}

fn kill_rounds(name: &str, rounds: usize, world: World) {
    let mut random = Random::from_environment(name);
    let began = Instant::now();
    world.sql(PREPARE);
    // User 2 is efectivo 1: assignments come over a channel that the session joined by itself.
    let how = Connect::by("2", "LEVEL_1").to("tasks");
    let follower = Follower::start(how.clone());
    // The first start is unharmed: it takes the snapshot, and the client learns where it begins.
    let first = world.serve();
    follower.server_is_at(first.address);
    follower.wait_connected(1, SOON);
    first.kill();

    let mut log = Vec::new();
    for round in 0..rounds {
        let death = Death::choose(round, &mut random);
        log.extend(kill_round(&world, &follower, &death, &mut random));
        println!(
            "{name}: round {round}: {death:?}; {} changes, {} messages, {} connections, {:.1?}",
            log.len(),
            follower.count("tasks"),
            follower.connections(),
            began.elapsed()
        );
    }

    let server = world.serve();
    follower.server_is_at(server.address);
    // A last change of its own: what would come twice comes before it.
    let last = Op::Replace { id: 150, state: "PROGRAMMED", priority: "LOW" };
    log.extend(CliWriter::start(&world.database(), vec![vec![last]]).finish());
    let log = in_order(log);
    let all = expected(&log);
    let of = |channel: &str| -> Vec<Expected> { all.iter().filter(|e| e.channel == channel).cloned().collect() };
    follower.wait_messages("tasks", of("tasks").len(), CATCH_UP);

    let frames = follower.frames();
    let mut tally = Tally::default();
    for channel in ["tasks", "user:2"] {
        let got: Vec<Expected> = frames.iter().filter(|f| f.is_of(channel)).map(seen).collect();
        tally = tally + assert_same(channel, &got, &of(channel));
    }
    assert_rising_without_doubles(&frames);
    assert!(frames.iter().all(|f| f.kind() != "gap"), "a killed process loses nothing, so there is no gap");
    let epochs: Vec<&str> = frames.iter().filter(|f| f.kind() == "connected").map(|f| f.text("epoch")).collect();
    assert!(epochs.windows(2).all(|pair| pair[0] == pair[1]), "the epoch changed: {epochs:?}");
    assert_history_is_what_was_live(&server, &how.after(&follower.started_at()), &frames);
    panel::assert_equals_a_count(&world, &server);
    println!(
        "{name}: {rounds} rounds, {} changes, {} messages on tasks and {} on user:2: {tally}; {} connections; {:.0?}",
        log.len(),
        of("tasks").len(),
        of("user:2").len(),
        follower.connections(),
        began.elapsed()
    );
}

/// One start, two writers, one death. Returns what was written.
fn kill_round(world: &World, follower: &Follower, death: &Death, random: &mut Random) -> Vec<Logged> {
    let (ours, theirs) = (transactions(random, CHANGES), transactions(random, CHANGES));
    let write = || (OwnWriter::start(world.database(), ours), CliWriter::start(&world.database(), theirs));
    if let Death::Failpoint(point, nth) = death {
        let mut process = world.start_with_failpoint(point, *nth);
        let (own, cli) = write();
        if let Some(line) = process.wait_for_line("listening on ws://", SOON) {
            follower.server_is_at(address_in(&line));
        }
        let mut log = own.finish();
        log.extend(cli.finish());
        log.extend(write_until_it_dies(world, &mut process, point, random));
        assert_eq!(process.wait(SOON).status.signal(), Some(9), "the failpoint kills with SIGKILL");
        return log;
    }
    let mut server = world.serve();
    follower.server_is_at(server.address);
    let before = follower.count("tasks");
    let (own, cli) = write();
    match death {
        Death::Written(n) => until("the writer's progress", CATCH_UP, || (own.committed() >= *n).then_some(())),
        Death::Received(n) => follower.wait_messages("tasks", before + n, CATCH_UP),
        Death::Idle | Death::Failpoint(..) => {}
    }
    let finish = |own: OwnWriter, cli: CliWriter| [own.finish(), cli.finish()].concat();
    if matches!(death, Death::Idle) {
        let mut log = finish(own, cli);
        let last =
            CliWriter::start(&world.database(), vec![vec![Op::Replace { id: 150, state: "PAUSED", priority: "LOW" }]]);
        log.extend(last.finish());
        let title = format!("n {}", log.last().expect("the last change").n);
        follower.wait_for("the last change", CATCH_UP, |frame| {
            frame.is_of("tasks") && frame.data()["task_data"]["titulo"] == title.as_str()
        });
        assert!(server.process.runs(), "the server died by itself:\n{}", server.process.log.text());
        server.kill();
        return log;
    }
    assert!(server.process.runs(), "the server died by itself:\n{}", server.process.log.text());
    server.kill();
    finish(own, cli)
}

/// A failpoint that the round's changes didn't reach gets more of them.
fn write_until_it_dies(world: &World, process: &mut Process, point: &str, random: &mut Random) -> Vec<Logged> {
    let mut log = Vec::new();
    let deadline = Instant::now() + SOON;
    while process.runs() {
        assert!(
            Instant::now() < deadline,
            "{point} was never passed often enough. Is the binary built with --features failpoints?\n{}",
            process.log.text()
        );
        log.extend(CliWriter::start(&world.database(), transactions(random, 20)).finish());
    }
    log
}

fn address_in(line: &str) -> std::net::SocketAddr {
    let (_, rest) = line.split_once("ws://").expect("an address");
    rest.split('/').next().and_then(|a| a.parse().ok()).expect("an address")
}

/// Somebody who comes later and asks for everything gets the same messages with the same offsets and
/// the same ids as the one who was there.
fn assert_history_is_what_was_live(server: &Server, how: &Connect, live: &[Frame]) {
    let of = |frames: &[Frame]| -> Vec<(u64, String, String)> {
        let stream = frames.iter().filter(|f| f.is_of("tasks") || f.is_of("user:2"));
        stream.map(|f| (f.offset(), f.message_id().to_owned(), f.data().to_string())).collect()
    };
    let live = of(live);
    let mut late = Client::connect(server.address, how);
    let newest = live.last().expect("there were messages").0;
    let deadline = Instant::now() + CATCH_UP;
    while late.place.offset < newest && Instant::now() < deadline {
        late.next(SOON);
    }
    assert_eq!(of(&late.frames).len(), live.len(), "history and what was live differ in number");
    for (historic, live) in of(&late.frames).iter().zip(&live) {
        assert_eq!(historic, live, "history and what was live differ");
    }
    assert_rising_without_doubles(&late.frames);
}
