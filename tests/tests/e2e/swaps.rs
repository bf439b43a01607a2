//! Versions of a plugin take over one after the other while two writers write: nothing is lost, doubled
//! or out of order, each message is of the version that the journal says, and no connection notices.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use relevo_tests::binary;
use relevo_tests::client::{Client, Connect, assert_rising_without_doubles};
use relevo_tests::postgres::Postgres;
use relevo_tests::server::Server;
use relevo_tests::wait::SOON;
use relevo_tests::witness::database;
use relevo_tests::workload;
use relevo_tests::world::World;
use serde_json::Value;

/// Between two changes of one of the two writers: together 1,000 a second.
const PACE: Duration = Duration::from_millis(2);
const VERSIONS: usize = 20;
/// From one version's deployment to the next one's: 20 in 10 seconds.
const BETWEEN: Duration = Duration::from_millis(500);

pub(super) fn world() -> World {
    World::configured(settings)
}

fn settings(world: World) -> World {
    world.install("stamp");
    world
        .set("plugins.limits.cpu = \"200ms\"")
        .append("[[pipeline]]\nname = \"stamp\"\nplugins = [\"stamp\"]")
        .append("[[channel]]\npattern = \"stamped\"\nread = [\"*\"]")
}

/// Writes the two files of a version into a folder of its own; gives the component's path.
pub(super) fn version(world: &World, stamp: &str, how: &str) -> PathBuf {
    let folder = world.data().join("to-deploy").join(stamp);
    std::fs::create_dir_all(&folder).expect("a folder for a version");
    let file = folder.join("stamp.wasm");
    let mut component = std::fs::read(binary::component("stamp")).expect("the plugin stamp; run `cargo xtask test`");
    if how == "interface" {
        // A component, but no plugin.
        component = b"\0asm\x0d\0\x01\0".to_vec();
    }
    std::fs::write(&file, component).expect("a component can be written");
    let limits = if how == "loop" { "limits = { cpu = \"20ms\" }" } else { "limits = { memory = \"8MiB\" }" };
    let manifest = format!(
        "name = \"stamp\"\nversion = \"{stamp}\"\nevents = {{ tareas = [\"insert\", \"update\", \"delete\"] }}\n\
         channels = [\"stamped\"]\ncapabilities = [\"state\"]\n{limits}\n[config]\nstamp = \"{stamp}\"\ndo = \"{how}\"\n"
    );
    std::fs::write(folder.join("stamp.toml"), manifest).expect("a manifest can be written");
    file
}

/// Two writers, until they are to stop.
enum Writers {
    Sqlite { threads: [JoinHandle<()>; 2], stop: Arc<AtomicBool>, written: Arc<AtomicU64> },
    Postgres([Child; 2]),
}

impl Writers {
    fn start(world: &World) -> Self {
        if world.postgres.is_none() {
            let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
            let threads = [1, 2].map(|task| writer(&world.database(), task, &stop, &written));
            return Self::Sqlite { threads, stop, written };
        }
        // The pace is that of each writer's pause.
        world.sql("create table written (task int); create table halt ()");
        Self::Postgres([1, 2].map(|task| {
            database(world).meanwhile(&format!(
                "do $$ begin for n in 0..1000000 loop
                    update tareas set titulo = 'n ' || n where id = {task}; insert into written values ({task}); commit;
                    perform pg_sleep(0.002);
                    exit when to_regclass('halted') is not null;
                 end loop; end $$"
            ))
        }))
    }

    /// How many changes they have written.
    fn finish(self, world: &World) -> usize {
        match self {
            Self::Sqlite { threads, stop, written } => {
                stop.store(true, Ordering::Relaxed);
                for thread in threads {
                    thread.join().expect("the writer");
                }
                usize::try_from(written.load(Ordering::Relaxed)).expect("few")
            }
            Self::Postgres(mut writers) => {
                world.sql("alter table halt rename to halted");
                for writer in &mut writers {
                    assert!(writer.wait().expect("psql ends").success());
                }
                usize::try_from(world.count("select count(*) from written")).expect("few")
            }
        }
    }
}

/// A writer of its own connection, at a steady pace, until it is to stop.
fn writer(database: &Path, task: u32, stop: &Arc<AtomicBool>, written: &Arc<AtomicU64>) -> JoinHandle<()> {
    let (database, stop, written) = (database.to_owned(), stop.clone(), written.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut connection = workload::connect(&database).await;
            let mut pace = tokio::time::interval(PACE);
            for n in 0_u64.. {
                pace.tick().await;
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let sql = format!("update tareas set titulo = 'n {n}' where id = {task}");
                workload::execute(&mut connection, sql).await;
                written.fetch_add(1, Ordering::Relaxed);
            }
        });
    })
}

/// What the server says of the plugin.
pub(super) fn view(server: &Server) -> Value {
    let (status, body) = server.get_as("/api/v1/plugins/stamp", "900", "ADMIN");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

/// Deploys versions under writes, and compares every message with what the journal says of the swaps.
fn deploy_under_writes(world: World, versions: usize, broken: impl Fn(usize) -> Option<&'static str>) {
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("stamped"));
    let writers = Writers::start(&world);
    let began = std::time::Instant::now();
    let mut good = BTreeSet::from(["v0".to_owned()]);
    for n in 1..=versions {
        // The pace of the test itself: it waits for nothing here.
        std::thread::sleep((BETWEEN * u32::try_from(n).expect("few")).saturating_sub(began.elapsed()));
        let (stamp, how) = (format!("v{n}"), broken(n));
        let file = version(&world, &stamp, how.unwrap_or_default());
        let url = format!("http://{}", server.address);
        let ended = world.run(&["plugin", "deploy", "--url", &url, &file.display().to_string()]);
        assert_eq!(ended.status.code(), Some(i32::from(how.is_some())), "{stamp} {how:?}: {}", ended.log);
        if how.is_none() {
            good.insert(stamp);
        }
    }
    let took = began.elapsed();
    let written = writers.finish(&world);
    while client.messages("stamped").len() < written {
        assert!(client.next(SOON).is_some(), "{} of {written} messages came", client.messages("stamped").len());
    }

    // Every swap that the journal tells: from which offset on, and who.
    let swaps: Vec<(u64, String)> = view(&server)["swaps"]
        .as_array()
        .expect("swaps")
        .iter()
        .map(|swap| {
            let version = swap["version"].as_str().expect("a version");
            (swap["offset"].as_u64().expect("an offset"), version.split('+').next().unwrap_or_default().to_owned())
        })
        .collect();
    let told: BTreeSet<String> = swaps.iter().map(|(_, stamp)| stamp.clone()).chain(["v0".to_owned()]).collect();
    assert_eq!(told, good, "the good ones took over, and no other");

    let messages = client.messages("stamped");
    assert_rising_without_doubles(messages.iter().copied());
    assert_eq!(messages.len(), written, "no more than there were changes");
    let mut seen = BTreeSet::new();
    for (at, message) in messages.iter().enumerate() {
        let data = message.data();
        assert_eq!(data["count"], at as u64 + 1, "in order, none lost, none twice");
        let offset = message.offset();
        let serving = swaps.iter().rev().find(|(from, _)| *from < offset).map_or("v0", |(_, stamp)| stamp);
        assert_eq!(data["stamp"], serving, "message {at} at {offset}: {swaps:?}");
        seen.insert(serving.to_owned());
    }
    println!(
        "{versions} deployments in {took:.1?}, {written} changes ({:.0}/s), {} versions seen in messages",
        f64::from(u32::try_from(written).expect("few")) / took.as_secs_f64(),
        seen.len()
    );
    assert!(seen.len() > good.len() / 2, "most versions made messages: {seen:?}");
}

#[test]
fn twenty_versions_in_ten_seconds_under_two_writers_lose_double_and_mix_nothing() {
    deploy_under_writes(world(), VERSIONS, |_| None);
}

#[test]
fn every_third_version_that_is_broken_is_refused_and_nothing_else_changes() {
    let ways = ["trap", "loop", "memory", "interface", "init"];
    deploy_under_writes(world(), VERSIONS, |n| (n % 3 == 0).then(|| ways[n / 3 % ways.len()]));
}

#[test]
fn the_same_holds_over_postgres() {
    let world = World::over(Postgres::start(), settings);
    deploy_under_writes(world, VERSIONS / 2, |n| (n == 4).then_some("trap"));
}
