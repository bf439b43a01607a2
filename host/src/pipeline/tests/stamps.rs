//! A pipeline whose one plugin stamps its version on each message, and counts for all versions: what a
//! swap loses, doubles or gives to the wrong version shows.

use super::super::{DeployError, Deployed, Outcome, Status};
use super::world::{Running, World};
use crate::event::Number;
use crate::store::{Origin, Package};

/// One message, as the plugin made it.
#[derive(Debug, PartialEq, Eq, Clone, serde::Deserialize)]
pub(super) struct Stamped {
    pub(super) key: String,
    pub(super) stamp: String,
    pub(super) count: u64,
}

/// The manifest of a version; `top` and `config` are more lines of it.
pub(super) fn manifest(stamp: &str, top: &str, config: &str) -> String {
    format!(
        "name = 'stamp'\nversion = '{stamp}'\nchannels = ['stamped']\ncapabilities = ['state']\n\
         events = {{ accounts = ['insert', 'update', 'delete'] }}\n{top}\n[config]\nstamp = '{stamp}'\n{config}\n"
    )
}

pub(super) fn version(stamp: &str) -> Package {
    World::package("stamp", manifest(stamp, "", ""))
}

/// How many messages each version made, as [`runs`] counts them.
pub(super) fn named(pairs: &[(&str, usize)]) -> Vec<(String, usize)> {
    pairs.iter().map(|(stamp, count)| ((*stamp).to_owned(), *count)).collect()
}

/// A version that misbehaves in one way.
pub(super) fn bad(stamp: &str, how: &str) -> Package {
    let limits = if how == "loop" { "limits = { cpu = '20ms' }" } else { "limits = { memory = '4MiB' }" };
    World::package("stamp", manifest(stamp, limits, &format!("do = '{how}'")))
}

/// A world in which version `v0` serves. `more`: lines of `[plugins]`; `top`: of the manifest.
pub(super) async fn world(more: &str, top: &str, config: &str) -> (World, Running) {
    let mut world = World::new(&format!("folder_rest = '20ms'\n{more}")).await;
    world.settings.push_str("\n[[pipeline]]\nname = 'stamp'\nplugins = ['stamp']\n");
    world.place_with("stamp", "stamp", &manifest("v0", top, config));
    let running = world.start().await;
    running.until("stamp", |health| health.status == Status::Running).await;
    (world, running)
}

impl World {
    /// Changes of `count` accounts, of which each is one message.
    pub(super) async fn change(&mut self, count: u64) -> Number {
        for _ in 0..count {
            let id = self.bank.below(1000) + 10;
            self.bank.account(id, 1, 1);
        }
        self.append().await
    }

    pub(super) async fn stamps(&self) -> Vec<Stamped> {
        let sent = self.sent("stamped").await;
        sent.iter().map(|message| serde_json::from_str(&message.data).unwrap()).collect()
    }

    /// Every change made one message, in order, and the counts went on over all versions.
    pub(super) async fn assert_whole(&self, changes: usize) -> Vec<Stamped> {
        let stamps = self.stamps().await;
        let counts: Vec<u64> = stamps.iter().map(|stamped| stamped.count).collect();
        assert_eq!(counts, (1..=changes as u64).collect::<Vec<_>>());
        stamps
    }
}

impl Running {
    pub(super) async fn deploy(&self, package: Package) -> Result<Deployed, DeployError> {
        self.pipelines.desk().deploy("stamp", package, "7", Origin::Http).await
    }

    /// Deploys a version that must take over.
    pub(super) async fn swap_to(&self, package: Package) -> Deployed {
        let deployed = self.deploy(package).await.unwrap();
        assert_eq!(deployed.pipelines[0].outcome, Outcome::Serves, "{deployed:?}");
        deployed
    }

    pub(super) async fn stamped(&self, number: Number) {
        self.until("stamp", |health| health.cursor >= number).await;
    }

    pub(super) fn serving(&self) -> String {
        self.health("stamp").versions[0].1.split('+').next().unwrap().to_owned()
    }
}

/// The runs of equal stamps: who served, and for how many messages.
pub(super) fn runs(stamps: &[Stamped]) -> Vec<(String, usize)> {
    let mut runs: Vec<(String, usize)> = Vec::new();
    for stamped in stamps {
        match runs.last_mut() {
            Some((stamp, count)) if *stamp == stamped.stamp => *count += 1,
            _ => runs.push((stamped.stamp.clone(), 1)),
        }
    }
    runs
}
