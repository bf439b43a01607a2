//! The power fails under writes, again and again; or a sync does, as where the disk is full. Under durability `power`
//! nothing is lost that anybody saw; under `process` what is lost is told as a new epoch, and comes again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use relevo_tests::client::{Client, Connect, assert_rising_without_doubles};
use relevo_tests::follower::Follower;
use relevo_tests::frame::{Frame, Place};
use relevo_tests::oracle::{Expected, Tally, assert_same, expected, seen};
use relevo_tests::panel;
use relevo_tests::postgres::Postgres;
use relevo_tests::power::{Cut, Machine};
use relevo_tests::random::Random;
use relevo_tests::server::Server;
use relevo_tests::steady::{self, SteadyWriter};
use relevo_tests::wait::{SOON, until};
use relevo_tests::witness::rounds;
use relevo_tests::workload::{self, CliWriter, Logged, Op, in_order, transactions};
use relevo_tests::world::World;

/// Of each round.
const CHANGES: usize = 400;

const CATCH_UP: Duration = Duration::from_secs(120);

/// So that checkpoints come all the time, and failures in the midst of them.
const CHECKPOINTS: &str = "journal.wal_bytes = \"512KiB\"";

#[test]
fn under_durability_power_a_power_failure_takes_nothing_that_anybody_saw() {
    let world = World::configured(|world| world.set("journal.durability = \"power\"").set(CHECKPOINTS));
    Story::of("power lost, durability power", world, rounds(6)).assert_nothing_was_lost();
}

#[test]
fn a_power_failure_in_the_midst_of_a_checkpoint_takes_nothing_that_anybody_saw() {
    let world = World::configured(|world| world.set("journal.durability = \"power\"").set(CHECKPOINTS));
    let story = Story::told("power lost amid checkpoints, durability power", world, rounds(5), Fault::Checkpoint);
    assert!(story.cuts.iter().any(|cut| cut.torn > 0), "no page was torn: {:?}", story.cuts);
    story.assert_nothing_was_lost();
}

#[test]
fn in_the_midst_of_a_checkpoint_under_durability_process_it_is_a_new_epoch_too() {
    let world = World::configured(|world| world.set("journal.sync_every = \"300ms\"").set(CHECKPOINTS));
    let story = Story::told("power lost amid checkpoints, durability process", world, rounds(5), Fault::Checkpoint);
    assert!(story.cuts.iter().any(|cut| cut.torn > 0), "no page was torn: {:?}", story.cuts);
    story.assert_new_epochs();
}

#[test]
fn the_same_holds_over_postgres() {
    let world = World::over(Postgres::start(), |world| world.set("journal.durability = \"power\""));
    Story::of("power lost, durability power, PostgreSQL", world, rounds(5)).assert_nothing_was_lost();
}

#[test]
fn under_durability_process_what_a_power_failure_takes_is_a_new_epoch_and_comes_again() {
    // Synced seldom, so that there is something to lose.
    let world = World::configured(|world| world.set("journal.sync_every = \"300ms\"").set(CHECKPOINTS));
    Story::of("power lost, durability process", world, rounds(6)).assert_new_epochs();
}

#[test]
fn what_comes_again_comes_from_postgres_too() {
    let world = World::over(Postgres::start(), |world| world.set("journal.sync_every = \"300ms\""));
    Story::of("power lost, durability process, PostgreSQL", world, rounds(5)).assert_new_epochs();
}

#[test]
fn a_sync_that_fails_ends_the_server_and_under_durability_power_takes_nothing_that_anybody_saw() {
    let world = World::configured(|world| world.set("journal.durability = \"power\"").set(CHECKPOINTS));
    Story::told("sync failed, durability power", world, rounds(4), Fault::Sync { between: (40, 80) })
        .assert_nothing_was_lost();
}

#[test]
fn under_durability_process_what_a_failed_sync_takes_is_a_new_epoch_and_comes_again() {
    let world = World::over(Postgres::start(), |world| world.set("journal.sync_every = \"300ms\""));
    Story::told("sync failed, durability process, PostgreSQL", world, rounds(4), Fault::Sync { between: (5, 15) })
        .assert_new_epochs();
}

/// What fails.
#[derive(Clone, Copy)]
enum Fault {
    /// The machine's power.
    Power,
    /// The machine's power, in the midst of a checkpoint.
    Checkpoint,
    /// One of these syncs of a start, and all behind it. The machine goes on.
    Sync { between: (u64, u64) },
}

/// User 2 is efectivo 1: assignments come over a channel that the session joined by itself.
const CHANNELS: [&str; 2] = ["tasks", "user:2"];

/// Starts a server that dies in the midst of a checkpoint, and waits for the client's `n`th connection. A power failure
/// that comes before that is one more, which nobody sees.
fn into_checkpoint(machine: &mut Machine, world: &World, follower: &Follower, n: usize, random: &mut Random) -> Server {
    for nth in 1.. {
        if let Some(mut server) = machine.serve_into_checkpoint(world, nth) {
            follower.server_is_at(server.address);
            until("a connection, or the server's end", SOON, || {
                (follower.connections() >= n || !server.process.runs()).then_some(())
            });
            if follower.connections() >= n {
                return server;
            }
        }
        machine.power_is_lost(world, random);
    }
    unreachable!("one of them is late enough")
}

/// What a client got while the power failed again and again.
struct Story {
    name: &'static str,
    world: World,
    server: Server,
    how: Connect,
    frames: Vec<Frame>,
    log: Vec<Logged>,
    cuts: Vec<Cut>,
    began: Instant,
}

impl Story {
    fn of(name: &'static str, world: World, rounds: usize) -> Self {
        Self::told(name, world, rounds, Fault::Power)
    }

    fn told(name: &'static str, world: World, rounds: usize, fault: Fault) -> Self {
        let (began, mut random, mut machine) = (Instant::now(), Random::from_environment(name), Machine::default());
        world.sql(if world.postgres.is_some() { steady::PREPARE } else { workload::PREPARE });
        let how = Connect::by("2", "LEVEL_1").to("tasks");
        let follower = Follower::start(how.clone());
        let mut steady: Vec<SteadyWriter> = Vec::new();
        let (mut log, mut cuts) = (Vec::new(), Vec::new());
        // Enough for several checkpoints: one that is too quick is not caught.
        let changes = if matches!(fault, Fault::Checkpoint) { 3 * CHANGES } else { CHANGES };
        for round in 0.. {
            // Whether a checkpoint had pages to move is chance: it fails until one was torn.
            let torn = !matches!(fault, Fault::Checkpoint) || cuts.iter().any(|cut: &Cut| cut.torn > 0);
            if round >= rounds && (torn || round >= 4 * rounds) {
                break;
            }
            let mut server = match fault {
                Fault::Power => machine.serve(&world),
                Fault::Checkpoint => into_checkpoint(&mut machine, &world, &follower, round + 1, &mut random),
                Fault::Sync { between: (least, most) } => {
                    machine.serve_with_failing_sync(&world, random.between(least, most))
                }
            };
            follower.server_is_at(server.address);
            follower.wait_connected(round + 1, SOON);
            // The first start takes the snapshot: what is written from there on comes as changes.
            if round == 0 {
                steady.extend(world.postgres.iter().map(|postgres| SteadyWriter::start(postgres, 1, &mut random)));
            }
            let before = follower.count("tasks");
            let writer =
                steady.is_empty().then(|| CliWriter::start(&world.database(), transactions(&mut random, changes)));
            let cut = match fault {
                Fault::Power => {
                    // The first one comes at once: the pipelines have only just begun.
                    let more = if round == 0 { 1 } else { random.between(1, 250) };
                    let more = usize::try_from(more).expect("a small number");
                    follower.wait_messages("tasks", before + more, CATCH_UP);
                    machine.power_fails(&world, server, &mut random)
                }
                Fault::Checkpoint => {
                    until("the server to die", CATCH_UP, || (!server.process.runs()).then_some(()));
                    machine.power_fails(&world, server, &mut random)
                }
                Fault::Sync { .. } => {
                    let ended = server.process.wait(CATCH_UP);
                    assert!(!ended.status.success() && ended.log.contains("the journal failed"), "{}", ended.log);
                    Machine::lose(&world, round % 2 == 0, &mut random)
                }
            };
            log.extend(writer.into_iter().flat_map(CliWriter::finish));
            println!("{name}: after {} messages: {cut:?}", follower.count("tasks") - before);
            cuts.push(cut);
        }
        let server = machine.serve(&world);
        follower.server_is_at(server.address);
        follower.wait_connected(cuts.len() + 1, SOON);
        match &world.postgres {
            Some(postgres) => log = steady::committed(postgres, steady),
            None => {
                // A last change of its own: what would come twice comes before it.
                let last = vec![vec![Op::Replace { id: 150, state: "PROGRAMMED", priority: "LOW" }]];
                log.extend(CliWriter::start(&world.database(), last).finish());
            }
        }
        let log = in_order(log);
        let all = expected(&log);
        let last = all.iter().rev().find(|e| e.channel == "tasks").expect("messages");
        follower.wait_for("the last change", CATCH_UP, |frame| frame.is_of("tasks") && seen(frame) == *last);
        let frames = follower.frames();
        Self { name, world, server, how, frames, log, cuts, began }
    }

    /// Durability `power`.
    fn assert_nothing_was_lost(&self) {
        let epochs: BTreeSet<&str> = self.epochs().collect();
        assert_eq!(epochs.len(), 1, "the epoch stays: {epochs:?}");
        assert!(self.frames.iter().all(|f| f.kind() != "gap"), "nothing was lost, so there is no gap");
        for channel in CHANNELS {
            let got: Vec<Expected> = self.frames.iter().filter(|f| f.is_of(channel)).map(seen).collect();
            assert_same(channel, &got, &self.expected(channel));
        }
        assert_rising_without_doubles(&self.frames);
        self.assert_kept();
    }

    /// Durability `process`.
    fn assert_new_epochs(&self) {
        let epochs: BTreeSet<&str> = self.epochs().collect();
        assert_eq!(epochs.len(), self.cuts.len() + 1, "each power failure is a new epoch: {epochs:?}");
        let gaps = self.frames.iter().filter(|f| f.kind() == "gap").count();
        assert_eq!(gaps, self.cuts.len(), "whoever comes back with a place of the old epoch is told");
        for life in self.lives() {
            assert_rising_without_doubles(life);
        }
        self.assert_one_id_one_message();
        self.assert_kept();
    }

    fn epochs(&self) -> impl Iterator<Item = &str> {
        self.frames.iter().filter(|f| f.kind() == "connected").map(|f| f.text("epoch"))
    }

    /// The frames of each connection.
    fn lives(&self) -> Vec<&[Frame]> {
        let begins = self.frames.iter().enumerate().filter(|(_, f)| f.kind() == "connected").map(|(at, _)| at);
        let begins: Vec<usize> = begins.chain([self.frames.len()]).collect();
        begins.windows(2).map(|pair| &self.frames[pair[0]..pair[1]]).collect()
    }

    fn expected(&self, channel: &str) -> Vec<Expected> {
        expected(&self.log).into_iter().filter(|e| e.channel == channel).collect()
    }

    /// A client drops what comes again by its id: another message must not have it.
    fn assert_one_id_one_message(&self) {
        let mut known = BTreeMap::new();
        for frame in self.frames.iter().filter(|f| f.is_stream()) {
            let before = known.insert(frame.message_id(), frame);
            assert!(before.is_none_or(|b| seen(b) == seen(frame)), "one id, two messages: {before:?} and {frame:?}");
        }
    }

    /// What the journal has in the end is what was committed, once and in order; each offset has one meaning in an
    /// epoch; the dashboard is what a count is.
    fn assert_kept(&self) {
        let epoch = self.epochs().last().expect("a connection");
        // From the beginning: a failure may have taken the journal back to before the client's start.
        let from = Place { epoch: epoch.to_owned(), offset: 0 };
        let mut late = Client::connect(self.server.address, &self.how.clone().after(&from));
        let newest = self.frames.iter().rev().find(|f| f.is_stream()).expect("messages").offset();
        let deadline = Instant::now() + CATCH_UP;
        while late.place.offset < newest && Instant::now() < deadline {
            late.next(SOON);
        }
        assert!(late.frames.iter().all(|f| f.kind() != "gap"), "the history is whole: {:?}", late.frames);
        let mut tally = Tally::default();
        for channel in CHANNELS {
            let got: Vec<Expected> = late.messages(channel).into_iter().map(seen).collect();
            tally = tally + assert_same(channel, &got, &self.expected(channel));
        }
        assert_rising_without_doubles(&late.frames);
        let kept: BTreeMap<u64, &str> =
            late.frames.iter().filter(|f| f.is_stream()).map(|f| (f.offset(), f.message_id())).collect();
        let (mut again, mut anew) = (0, 0);
        for life in self.lives() {
            let same_epoch = life[0].text("epoch") == epoch;
            for frame in life.iter().filter(|f| f.is_stream()) {
                match kept.get(&frame.offset()) {
                    Some(id) if *id == frame.message_id() => again += 1,
                    other => {
                        assert!(!same_epoch, "offset {} is {other:?} now, and was {}", frame.offset(), frame.raw);
                        anew += 1;
                    }
                }
            }
        }
        panel::assert_equals_a_count(&self.world, &self.server);
        println!(
            "{}: {} power failures, {} changes, {} messages kept: {tally}; a client saw {again} of \
             them, and {anew} at offsets of an epoch that is over; {:.0?}",
            self.name,
            self.cuts.len(),
            self.log.len(),
            kept.len(),
            self.began.elapsed()
        );
    }
}
