//! The clock is put back by a day, over a restart and while the server runs, over each kind of database: events and messages go on in order,
//! nothing is lost, taken early or doubled, and nobody is sent away.

use std::time::{Duration, Instant};

use relevo_tests::client::{Client, Connect, assert_rising_without_doubles};
use relevo_tests::clock::Clock;
use relevo_tests::follower::Follower;
use relevo_tests::frame::Frame;
use relevo_tests::oracle::{Expected, Tally, assert_same, expected, seen};
use relevo_tests::panel;
use relevo_tests::postgres::Postgres;
use relevo_tests::random::Random;
use relevo_tests::server::Server;
use relevo_tests::wait::{SOON, until};
use relevo_tests::workload::{CliWriter, Logged, PREPARE, in_order, postgres_transaction, transactions};
use relevo_tests::world::World;

/// Of each part.
const CHANGES: usize = 150;

#[test]
fn a_clock_that_is_a_day_back_after_a_restart_changes_nothing() {
    over_restarts("clock set back over a restart", World::configured(settings));
}

#[test]
fn nor_does_it_over_postgres() {
    over_restarts("clock set back over a restart, PostgreSQL", World::over(Postgres::start(), settings));
}

#[test]
fn a_clock_that_jumps_back_while_the_server_runs_changes_nothing() {
    while_it_runs("clock set back under a running server", World::configured(settings));
}

#[test]
fn nor_does_that_over_postgres() {
    while_it_runs("clock set back under a running server, PostgreSQL", World::over(Postgres::start(), settings));
}

/// Retention looks each second, for the sake of a channel that nobody uses.
fn settings(world: World) -> World {
    world
        .channel("pattern = \"brief\"\nread = [\"*\"]\nkeep_for = \"1s\"")
        .channel("pattern = \"tasks\"\nread = [\"*\"]\nkeep_for = \"1h\"")
        .set("journal.keep_for = \"1h\"")
}

fn over_restarts(name: &'static str, world: World) {
    let mut story = Story::of(name, world);
    for off in ["+0", "-1d", "-2d", "+0"] {
        story.clock.is(off);
        let server = story.clock.serve(&story.world);
        story.follower.server_is_at(server.address);
        story.write();
        assert_sees_the_clock(&server, off);
        story.assert_idle(&server);
        if off == "+0" && story.parts == 4 {
            return story.judge(&server);
        }
        server.stop(SOON);
    }
}

fn while_it_runs(name: &'static str, world: World) {
    let mut story = Story::of(name, world);
    let server = story.clock.serve(&story.world);
    story.follower.server_is_at(server.address);
    for off in ["+0", "-1d", "-1h", "+0"] {
        story.clock.is(off);
        assert_sees_the_clock(&server, off);
        story.write();
        story.assert_idle(&server);
    }
    assert_eq!(story.follower.connections(), 1, "the client stays");
    story.judge(&server);
}

/// Waits until the server's own time is off by this much.
fn assert_sees_the_clock(server: &Server, off: &str) {
    let hours = match off {
        "-1d" => 24,
        "-2d" => 48,
        "-1h" => 1,
        _ => 0,
    };
    let wanted = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(hours);
    until("the server's clock to be put", SOON, || {
        let (_, body) = server.get_as("/api/v1/ws/stats", "900", "ADMIN");
        let stats: serde_json::Value = serde_json::from_str(&body).ok()?;
        let time: jiff::Timestamp = stats["timestamp"].as_str()?.parse().ok()?;
        (time.duration_since(wanted).abs() < jiff::SignedDuration::from_mins(5)).then_some(())
    });
}

struct Story {
    name: &'static str,
    world: World,
    clock: Clock,
    follower: Follower,
    how: Connect,
    random: Random,
    log: Vec<Logged>,
    parts: usize,
}

impl Story {
    fn of(name: &'static str, world: World) -> Self {
        world.sql(PREPARE);
        let clock = Clock::of(&world);
        let how = Connect::by("2", "LEVEL_1").to("tasks");
        let follower = Follower::start(how.clone());
        let random = Random::from_environment(name);
        Self { name, world, clock, follower, how, random, log: Vec::new(), parts: 0 }
    }

    /// Writes a part, and waits until the client has it all.
    fn write(&mut self) {
        self.parts += 1;
        self.follower.wait_connected(1, SOON);
        let changes = transactions(&mut self.random, CHANGES);
        match &self.world.postgres {
            None => self.log.extend(CliWriter::start(&self.world.database(), changes).finish()),
            Some(postgres) => {
                let mut script = String::new();
                for ops in changes {
                    let (sql, log) = postgres_transaction(self.log.len() as u64 + 1, ops);
                    script.push_str(&sql);
                    self.log.extend(log);
                }
                assert!(postgres.meanwhile(&script).wait().expect("psql ends").success());
            }
        }
        self.follower.wait_messages("tasks", self.expected("tasks").len(), SOON);
    }

    fn expected(&self, channel: &str) -> Vec<Expected> {
        let log = in_order(self.log.clone());
        expected(&log).into_iter().filter(|e| e.channel == channel).collect()
    }

    /// Nobody writes, retention looks twice: the server has next to nothing to do.
    fn assert_idle(&self, server: &Server) {
        let (before, began) = (server.cpu(), Instant::now());
        std::thread::sleep(Duration::from_millis(2500));
        let (used, took) = (server.cpu() - before, began.elapsed());
        println!("{}: part {}: idle {took:.1?} took {used:?} of CPU time", self.name, self.parts);
        assert!(used < took / 3, "no busy loop: {used:?} of CPU time in {took:?}");
    }

    fn judge(self, server: &Server) {
        let frames = self.follower.frames();
        let mut late = Client::connect(server.address, &self.how.clone().after(&self.follower.started_at()));
        let newest = frames.iter().rev().find(|f| f.is_stream()).expect("messages").offset();
        while late.place.offset < newest && late.next(SOON).is_some() {}
        let mut tally = Tally::default();
        for (who, frames) in [("live", &frames), ("history", &late.frames)] {
            for channel in ["tasks", "user:2"] {
                let got: Vec<Expected> = frames.iter().filter(|f| f.is_of(channel)).map(seen).collect();
                tally = tally + assert_same(&format!("{who}: {channel}"), &got, &self.expected(channel));
            }
            assert_rising_without_doubles(frames);
            assert_times_rise(frames);
            assert!(frames.iter().all(|f| f.kind() != "gap"), "{who}: retention took nothing, so there is no gap");
        }
        panel::assert_equals_a_count(&self.world, server);
        println!(
            "{}: {} changes, {} messages: {tally}; times rise; {} connections",
            self.name,
            self.log.len(),
            frames.iter().filter(|f| f.is_stream()).count(),
            self.follower.connections()
        );
    }
}

fn assert_times_rise(frames: &[Frame]) {
    let mut last = "";
    for frame in frames.iter().filter(|f| f.is_stream()) {
        assert!(frame.text("timestamp") >= last, "after {last} came {}", frame.raw);
        last = frame.text("timestamp");
    }
}
