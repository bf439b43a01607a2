//! The server of one case: a journal and a pipeline that die together at a commit, or are killed, and come
//! back in the same folder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::super::super::context::Crash;
use super::super::super::{DeployError, Desk, Health, Outcome, Pipelines, Status};
use super::super::world::{World, sandbox};
use super::operations::{Operation, Setting};
use super::versions::{Kind, Version};
use crate::event::Number;
use crate::journal::{Control, Record, RecordBody};
use crate::sandbox::OnFault;
use crate::store::Origin;

/// Snapshots of the world are addressed to it.
pub(super) const PIPELINE: &str = "ledger";

/// Everything that settles does so within this.
const SOON: Duration = Duration::from_secs(30);

/// Where the process dies.
#[derive(Default)]
struct Fuse {
    state: Mutex<Burning>,
    changed: Condvar,
    dead: watch::Sender<bool>,
}

#[derive(Default)]
struct Burning {
    /// How many crash points are passed before it dies; none: it lives on.
    left: Option<u8>,
    dead: bool,
    /// The pipelines know that they are to stop: whoever died may end.
    released: bool,
}

impl Fuse {
    /// Passes a crash point; true: the thread ends here.
    fn point(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        if !state.dead && std::thread::current().name() == Some("pipeline-ledger") {
            match &mut state.left {
                Some(0) => {
                    state.dead = true;
                    self.dead.send_replace(true);
                }
                Some(left) => *left -= 1,
                None => {}
            }
        }
        while state.dead && !state.released {
            state = self.changed.wait(state).unwrap();
        }
        state.dead
    }

    fn kill(&self) {
        self.state.lock().unwrap().dead = true;
    }

    fn release(&self) {
        self.state.lock().unwrap().released = true;
        self.changed.notify_all();
    }
}

/// One life of the process.
struct Life {
    runtime: Runtime,
    pipelines: Pipelines,
    fuse: Arc<Fuse>,
    _stop: watch::Sender<bool>,
}

pub(super) struct Server {
    setting: Setting,
    world: Option<World>,
    life: Option<Life>,
    /// By stamp.
    pub(super) versions: BTreeMap<String, Version>,
    answered: Number,
    gaps: u32,
}

impl Server {
    pub(super) fn start(setting: &Setting) -> Self {
        let runtime = runtime();
        let probation = if setting.probation { "10m" } else { "0s" };
        let Setting { quarantine_after, batch_events, .. } = setting;
        let more =
            format!("probation = '{probation}'\nquarantine_after = {quarantine_after}\nbatch_events = {batch_events}");
        let mut world = runtime.block_on(World::new(&more));
        let plugins: &[&'static str] = if setting.two { &["first", "stamp"] } else { &["stamp"] };
        world.settings.push_str(&format!("\n[[pipeline]]\nname = '{PIPELINE}'\nplugins = {plugins:?}\n"));
        let mut server = Self {
            setting: setting.clone(),
            world: None,
            life: None,
            versions: BTreeMap::new(),
            answered: Number::ZERO,
            gaps: 0,
        };
        for (at, plugin) in plugins.iter().enumerate() {
            let version = server.version(plugin, Kind::Good, setting.on_fault[at]);
            world.place_with("stamp", plugin, &version.manifest(setting.rows));
        }
        server.live(runtime, world);
        server
    }

    pub(super) fn plugins(&self) -> &'static [&'static str] {
        if self.setting.two { &["first", "stamp"] } else { &["stamp"] }
    }

    fn version(&mut self, plugin: &'static str, kind: Kind, on_fault: OnFault) -> Version {
        let stamp = format!("v{}", self.versions.len());
        let version = Version { plugin, stamp: stamp.clone(), kind, on_fault };
        self.versions.insert(stamp, version.clone());
        version
    }

    fn live(&mut self, runtime: Runtime, world: World) {
        let fuse = Arc::new(Fuse::default());
        let (stop, stopping) = watch::channel(false);
        let burning = fuse.clone();
        let crash = Crash(Some(Arc::new(move || burning.point())));
        let started = Pipelines::start_with(world.config(), sandbox(), world.journal.clone(), stopping, crash);
        let pipelines = runtime.block_on(started).unwrap();
        self.world = Some(world);
        self.life = Some(Life { runtime, pipelines, fuse, _stop: stop });
    }

    fn life(&self) -> &Life {
        self.life.as_ref().unwrap()
    }

    fn world(&mut self) -> &mut World {
        self.world.as_mut().unwrap()
    }

    pub(super) fn health(&self) -> Health {
        self.life().pipelines.health().into_iter().find(|health| &*health.pipeline == PIPELINE).unwrap()
    }

    fn is_dead(&self) -> bool {
        *self.life().fuse.dead.borrow()
    }

    /// The process ends, in good order or not, and another one takes up what it left.
    fn restart(&mut self, clean: bool) {
        let Life { runtime, pipelines, fuse, .. } = self.life.take().unwrap();
        let world = self.world.take().unwrap();
        if !clean {
            fuse.kill();
        }
        runtime.block_on(async {
            // The order of a `join!`: they are told to stop before the dead may end.
            tokio::join!(pipelines.stop(), async { fuse.release() });
            if clean && !*fuse.dead.borrow() {
                world.journal.close().await;
            }
        });
        drop(pipelines);
        let gone = world.gone();
        // What the journal had in hand is dropped where it is.
        runtime.shutdown_timeout(SOON);
        let runtime = self::runtime();
        let world = runtime.block_on(World::reopened(gone));
        self.live(runtime, world);
    }

    /// Has the desk do something; none: the process died meanwhile, and another one is there.
    fn desk<T>(&mut self, what: impl AsyncFnOnce(Desk) -> T) -> Option<T> {
        let life = self.life();
        let (desk, mut dead) = (life.pipelines.desk().clone(), life.fuse.dead.subscribe());
        let done = life.runtime.block_on(async {
            let work = what(desk);
            tokio::pin!(work);
            tokio::select! {
                done = &mut work => Some(done),
                _ = dead.wait_for(|dead| *dead) => {
                    tokio::join!(life.pipelines.stop(), async { life.fuse.release() });
                    // A trial ends when it sees that; whoever waits for a pipeline waits in vain.
                    let _ = tokio::time::timeout(Duration::from_millis(20), work).await;
                    None
                }
            }
        });
        if done.is_none() {
            self.restart(false);
        }
        done
    }

    /// Asks for something in the journal.
    fn control(&mut self, control: Control) {
        let world = self.world.as_ref().unwrap();
        self.life().runtime.block_on(world.journal.control(control)).unwrap();
    }

    /// All records that there are.
    pub(super) fn log(&self) -> Vec<Arc<Record>> {
        let journal = &self.world.as_ref().unwrap().journal;
        self.life().runtime.block_on(async {
            let (mut after, mut all) = (Number::ZERO, Vec::new());
            loop {
                let records = journal.read(after, 1 << 20).await.unwrap();
                let Some(last) = records.last() else { return all };
                after = last.last;
                all.extend(records);
            }
        })
    }

    fn append(&mut self) {
        let events = self.world().bank.take();
        if events.is_empty() {
            return;
        }
        let world = self.world.as_ref().unwrap();
        self.life().runtime.block_on(world.append_events(events));
    }

    /// The newest request for rows that was not answered yet is.
    fn answer(&mut self) {
        let wanted = |record: &Arc<Record>| {
            matches!(record.body, RecordBody::Control(Control::SnapshotWanted { .. })).then_some(record.first)
        };
        let Some(request) = self.log().iter().rev().find_map(wanted).filter(|request| *request > self.answered) else {
            return;
        };
        self.answered = request;
        let runtime = self.life().runtime.handle().clone();
        runtime.block_on(self.world().answer(request));
    }

    /// The numbers of the open letters.
    pub(super) fn letters(&mut self) -> Vec<Number> {
        let letters = self.desk(async |desk| desk.dead_letters(Some(PIPELINE), Number::ZERO, 1000).await.unwrap());
        letters.into_iter().flatten().map(|letter| letter.number).collect()
    }

    fn plugin(&self, second: bool) -> &'static str {
        self.plugins()[usize::from(second) % self.plugins().len()]
    }

    /// Deploys a version, which must end as its kind says.
    fn deploy(&mut self, version: &Version) {
        let package = version.package(self.setting.rows);
        let plugin = version.plugin;
        let deployed = self.desk(async |desk| desk.deploy(plugin, package, "7", Origin::Http).await);
        match deployed {
            None => {}
            Some(Ok(deployed)) => {
                if let Outcome::Refused { reason } = &deployed.pipelines[0].outcome {
                    let other = reason.contains("waits for its state") || reason.contains("another version came");
                    assert!(other || !version.is_sound(), "{version:?} was refused: {reason}");
                } else {
                    assert_ne!(version.kind, Kind::NoStart, "{deployed:?}");
                }
            }
            Some(Err(DeployError::Refused { reason, .. })) => {
                assert!(!version.is_sound(), "{version:?} was refused: {reason}");
            }
            Some(Err(error)) => panic!("{version:?}: {error}"),
        }
    }

    pub(super) fn run(&mut self, operation: &Operation) {
        match operation {
            Operation::Change(keys) => {
                for key in keys {
                    let bank = &mut self.world().bank;
                    if *key < 8 { bank.account(u64::from(*key), 1, 1) } else { bank.close_account(u64::from(*key) - 8) }
                }
                self.append();
            }
            Operation::Deploy { second, kind, on_fault } => {
                let version = self.version(self.plugin(*second), *kind, *on_fault);
                self.deploy(&version);
            }
            Operation::RollBack { second } => {
                let plugin = self.plugin(*second);
                let back = self.desk(async |desk| desk.roll_back(plugin, None, "7").await);
                if let Some(Err(error)) = back {
                    assert!(matches!(error, DeployError::NoFormer(_)), "{error}");
                }
            }
            Operation::Pause => self.control(Control::PauseWanted { pipeline: PIPELINE.into(), by: "7".into() }),
            Operation::Resume => {
                self.desk(async |desk| desk.resume(PIPELINE, "7").await.unwrap());
            }
            Operation::Skip => {
                if let Some(event) = self.held() {
                    self.desk(async |desk| desk.skip(PIPELINE, event, "7").await.unwrap());
                }
            }
            Operation::Replay(which) => {
                let letters = self.letters();
                if !letters.is_empty() {
                    self.replay(letters[usize::from(*which) % letters.len()]);
                }
            }
            Operation::Drop(which) => {
                let letters = self.letters();
                if !letters.is_empty() {
                    let letter = letters[usize::from(*which) % letters.len()];
                    let _ = self.desk(async |desk| desk.drop_letter(letter, "7").await);
                }
            }
            Operation::Rebuild => self.control(Control::RebuildWanted { pipeline: PIPELINE.into() }),
            Operation::Gap if self.setting.rows => {
                self.gaps += 1;
                let (incarnation, gaps) = (format!("i{}", self.gaps + 1), self.gaps);
                let left: Vec<(u64, i64, u64)> = (0..4).map(|id| (id, i64::from(gaps), 1)).collect();
                self.world().bank.restored(&incarnation, &left);
                self.control(Control::Gap { source: "bank".into(), reason: "restored".into() });
            }
            Operation::Gap => {}
            Operation::Checkpoint => {
                self.control(Control::Checkpoint { pipeline: PIPELINE.into(), reason: "model".into() });
            }
            Operation::CrashAt(left) => self.life().fuse.state.lock().unwrap().left = Some(*left),
            Operation::Kill => self.restart(false),
            Operation::Restart => self.restart(true),
        }
    }

    fn replay(&mut self, letter: Number) {
        let place = self.desk(async |desk| desk.replay(letter, "7").await);
        match place {
            // It may have been tried again by a wish before this one.
            Some(Ok(_) | Err(DeployError::UnknownLetter(_))) | None => {}
            Some(Err(error)) => panic!("{error}"),
        }
    }

    /// The event that holds the pipeline.
    fn held(&self) -> Option<Number> {
        let Status::Failed { reason, .. } = self.health().status else { return None };
        let (_, rest) = reason.split_once("holds before event ")?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok().map(Number)
    }

    /// Whether nothing more happens by itself.
    fn is_settled(&self, health: &Health) -> bool {
        let log = self.log();
        // Its own commits need not be passed.
        let asked = log.iter().rev().find(|record| !matches!(record.body, RecordBody::Commit(_)));
        let asked = asked.map_or(Number::ZERO, |record| record.last);
        let controls = log.iter().filter_map(|record| match &record.body {
            RecordBody::Control(control) => Some((record.first, control)),
            _ => None,
        });
        let (mut replays, mut closed) = (BTreeSet::new(), BTreeSet::new());
        for (_, control) in controls.clone() {
            match control {
                Control::ReplayWanted { letter, .. } => _ = replays.insert(letter),
                Control::LetterClosed { letter, .. } => _ = closed.insert(letter),
                _ => {}
            }
        }
        match &health.status {
            // A letter is closed after the commit that tries it again.
            Status::Running => {
                replays.is_subset(&closed)
                    && health.cursor >= asked
                    && !health.rebuild_asked
                    && health.pending.is_none()
            }
            Status::Paused { .. } => {
                // The wish that it goes on lies ahead of it.
                let mut last = None;
                for (_, control) in controls {
                    match control {
                        Control::PauseWanted { .. } => last = Some(true),
                        Control::ResumeWanted { .. } => last = Some(false),
                        _ => {}
                    }
                }
                last == Some(true)
            }
            Status::Failed { reason, .. }
                if reason.contains("holds before event") || reason.contains("quarantined") =>
            {
                let held = self.held();
                let mut heeded = true;
                for (number, control) in controls {
                    match control {
                        Control::SkipWanted { event, .. } => heeded &= Some(*event) != held,
                        Control::SwapWanted(swap) => {
                            heeded &= health.answered.get(&swap.plugin).is_some_and(|answered| *answered >= number);
                        }
                        _ => {}
                    }
                }
                heeded
            }
            _ => false,
        }
    }

    /// Waits until nothing more happens by itself; a process that dies meanwhile is followed by another.
    pub(super) fn settle(&mut self) {
        let begun = std::time::Instant::now();
        loop {
            if self.is_dead() {
                self.restart(false);
            }
            let health = self.health();
            if self.is_settled(&health) && !self.is_dead() {
                return;
            }
            if health.rebuild_asked || health.status == Status::WaitingForSnapshot {
                self.answer();
            }
            assert!(begun.elapsed() < SOON, "it does not settle: {health:#?}");
            // Until it shows something else; a wish that was answered need not show.
            let life = self.life();
            let mut dead = life.fuse.dead.subscribe();
            let before = (health.status, health.cursor, health.rebuild_asked);
            life.runtime.block_on(async {
                let other = life.pipelines.until(PIPELINE, |now| {
                    (&now.status, now.cursor, now.rebuild_asked) != (&before.0, before.1, before.2)
                });
                tokio::select! {
                    _ = other => {}
                    _ = dead.wait_for(|dead| *dead) => {}
                    () = tokio::time::sleep(Duration::from_millis(10)) => {}
                }
            });
        }
    }

    /// Brings everything to a good end: good versions serve, nobody waits, and no letter is left.
    pub(super) fn mend(&mut self) {
        self.life().fuse.state.lock().unwrap().left = None;
        self.run(&Operation::Resume);
        self.settle();
        for plugin in self.plugins() {
            let version = self.version(plugin, Kind::Good, OnFault::Skip);
            self.deploy(&version);
            self.settle();
        }
        for letter in self.letters() {
            self.replay(letter);
        }
        self.settle();
        assert_eq!(self.health().status, Status::Running);
        assert_eq!(self.letters(), []);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(Life { runtime, pipelines, fuse, .. }) = self.life.take() else { return };
        runtime.block_on(async {
            tokio::join!(pipelines.stop(), async { fuse.release() });
        });
        drop(pipelines);
        drop(self.world.take());
        runtime.shutdown_timeout(SOON);
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
