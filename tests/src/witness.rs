//! Somebody who sees all that happens to the tasks of a PostgreSQL while it is written to and faults come, and
//! compares it in the end with what was committed.

use std::net::SocketAddr;
use std::time::Duration;

use crate::client::{Connect, assert_rising_without_doubles};
use crate::follower::Follower;
use crate::frame::Frame;
use crate::holes::assert_one_for_each_gap;
use crate::oracle::{Expected, Tally, assert_same, expected, seen};
use crate::panel;
use crate::postgres::Postgres;
use crate::random::Random;
use crate::server::Server;
use crate::steady::{PREPARE, SteadyWriter, committed};
use crate::wait::SOON;
use crate::world::World;

/// User 2 is efectivo 1: assignments come over a channel that the session joined by itself.
const CHANNELS: [&str; 2] = ["tasks", "user:2"];

/// A backlog of all rounds on a busy machine.
const CATCH_UP: Duration = Duration::from_secs(120);

/// How often a fault is repeated; `RELEVO_FAULT_ROUNDS` says otherwise.
pub fn rounds(default: usize) -> usize {
    std::env::var("RELEVO_FAULT_ROUNDS").map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("RELEVO_FAULT_ROUNDS={text}: allowed is a whole number"))
    })
}

/// See the module.
#[derive(Debug)]
pub struct Witness {
    name: &'static str,
    pub follower: Follower,
    pub random: Random,
    writers: Vec<SteadyWriter>,
    faults: usize,
}

impl Witness {
    /// Follows the server from its first start, and has two writers begin.
    pub fn of(name: &'static str, world: &World, server: &Server) -> Self {
        let mut random = Random::from_environment(name);
        world.sql(PREPARE);
        let follower = Follower::start(Connect::by("2", "LEVEL_1").to("tasks"));
        follower.server_is_at(server.address);
        follower.wait_connected(1, SOON);
        let writers = (1..=2).map(|number| SteadyWriter::start(database(world), number, &mut random)).collect();
        Self { name, follower, random, writers, faults: 0 }
    }

    pub fn server_is_at(&self, address: SocketAddr) {
        self.follower.server_is_at(address);
    }

    /// Waits until this many more messages of tasks have come.
    pub fn sees(&self, more: usize) {
        self.follower.wait_messages("tasks", self.follower.count("tasks") + more, CATCH_UP);
    }

    /// Counts a fault that has happened.
    pub fn fault(&mut self, what: &str) {
        self.faults += 1;
        println!("{}: {what}; {} messages", self.name, self.follower.count("tasks"));
    }

    /// All frames up to a last change of its own: what would come twice comes before that.
    fn until_the_end(follower: &Follower, world: &World) -> Vec<Frame> {
        world.sql("insert into tareas (id, uuid, codigo, titulo, tipo, prioridad, estado, creado_por_usuario_id, efectivos_asignados, created_at, updated_at) values (9999, 'w', 'W', 'the end', 'PATRULLAJE', 'LOW', 'PAUSED', 1, '[]', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z')");
        follower.wait_for("the end", CATCH_UP, is_end);
        follower.frames().into_iter().filter(|frame| !is_end(frame)).collect()
    }

    /// Compares: everything that was committed has come, once, in order, and nothing else.
    ///
    /// # Panics
    /// If it hasn't.
    pub fn judge(self, world: &World, server: &Server) {
        let log = committed(database(world), self.writers);
        let all = expected(&log);
        let of = |channel: &str| -> Vec<Expected> { all.iter().filter(|e| e.channel == channel).cloned().collect() };
        self.follower.wait_messages("tasks", of("tasks").len(), CATCH_UP);
        let frames = Self::until_the_end(&self.follower, world);
        let mut tally = Tally::default();
        for channel in CHANNELS {
            let got: Vec<Expected> = frames.iter().filter(|f| f.is_of(channel)).map(seen).collect();
            tally = tally + assert_same(channel, &got, &of(channel));
        }
        assert_rising_without_doubles(&frames);
        let gaps = frames.iter().filter(|f| f.kind() == "gap").count();
        assert_eq!(gaps, 0, "nothing was lost, so there is no gap");
        panel::assert_equals_a_count(world, server);
        println!(
            "{}: {} faults, {} changes, {} messages: {tally}; {} connections",
            self.name,
            self.faults,
            log.len(),
            all.len(),
            self.follower.connections()
        );
    }

    /// Compares where the database lost what was committed meanwhile: each fault was told as one gap; all that was
    /// committed has come once and in order, but for one run for each gap; and what the database holds now is what is
    /// shown.
    ///
    /// # Panics
    /// If it is otherwise.
    pub fn judge_after_gaps(self, world: &World, server: &Server) {
        let log = committed(database(world), self.writers);
        let frames = Self::until_the_end(&self.follower, world);
        assert_rising_without_doubles(&frames);
        let of_them = |channel: &str| CHANNELS.contains(&channel);
        let all: Vec<Expected> = expected(&log).into_iter().filter(|e| of_them(&e.channel)).collect();
        let holes = assert_one_for_each_gap(&frames, &CHANNELS, &all);
        let got: Vec<Expected> = frames.iter().filter(|f| f.is_message() && of_them(f.channel())).map(seen).collect();
        let gaps = frames.iter().filter(|f| f.kind() == "gap").count();
        assert_eq!(gaps, self.faults, "each fault is one gap");
        panel::assert_equals_a_count(world, server);
        println!(
            "{}: {} faults, {gaps} gaps, {} changes, {} of {} messages: {}, all of them in {} holes; what is shown is what is there",
            self.name,
            self.faults,
            log.len(),
            got.len(),
            all.len(),
            Tally::of(&got, &all),
            holes.len()
        );
    }
}

fn is_end(frame: &Frame) -> bool {
    frame.is_of("tasks") && frame.data()["task_data"]["titulo"] == "the end"
}

pub fn database(world: &World) -> &Postgres {
    world.postgres.as_ref().expect("a world over PostgreSQL")
}
