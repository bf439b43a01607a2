//! Watches the plugins folder: a pair of files, `NAME.wasm` and `NAME.toml`, and maybe `NAME.sig`, that
//! is new and has come to rest is brought like any other version.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::{Notify, watch};

use super::deploy::Outcome;
use super::desk::Desk;
use super::error::DeployError;
use crate::event::Name;
use crate::store::Origin;

/// How often the folder is looked at where no notification comes: some file systems have none.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What can be seen of a plugin's files without reading them.
type Looks = [Option<(u64, SystemTime)>; 3];

/// What is known of a plugin's files.
struct Seen {
    looks: Looks,
    since: Instant,
    /// They were read as they look now.
    read: bool,
}

/// Watches until the server stops. `rest`: how long files must stay as they are before they are read.
pub(super) async fn watch(desk: Desk, folder: PathBuf, rest: Duration, mut stopping: watch::Receiver<bool>) {
    let changed = Arc::new(Notify::new());
    let _watcher = notifications(&folder, &changed);
    let mut seen: HashMap<Name, Seen> = HashMap::new();
    loop {
        let mut unrest = false;
        for plugin in desk.names() {
            // A pipeline that has not begun takes what is there by itself.
            if !desk.serves(&plugin) {
                unrest = true;
                continue;
            }
            let looks = looks(&folder, &plugin);
            let now = Instant::now();
            let known = seen.entry(plugin.clone()).or_insert(Seen { looks, since: now, read: false });
            if known.looks != looks {
                *known = Seen { looks, since: now, read: false };
            }
            if known.read || looks[..2].iter().any(Option::is_none) {
                continue;
            }
            if now.duration_since(known.since) < rest {
                unrest = true;
                continue;
            }
            known.read = true;
            bring(&desk, &plugin).await;
        }
        let look_again = if unrest { rest.max(Duration::from_millis(20)).min(LOOK_EVERY) } else { LOOK_EVERY };
        tokio::select! {
            () = changed.notified() => {}
            () = tokio::time::sleep(look_again) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

/// Rings when something in the folder changes; none where the system can't tell.
fn notifications(folder: &Path, changed: &Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let ring = changed.clone();
    let mut watcher = notify::recommended_watcher(move |_| ring.notify_one()).ok()?;
    watcher.watch(folder, RecursiveMode::NonRecursive).ok()?;
    Some(watcher)
}

fn looks(folder: &Path, plugin: &str) -> Looks {
    // A signature may be missing.
    ["wasm", "toml", "sig"].map(|ending| {
        let file = std::fs::metadata(folder.join(format!("{plugin}.{ending}"))).ok()?;
        Some((file.len(), file.modified().ok()?))
    })
}

/// Deploys what the folder holds, if it is not what it held before.
pub(super) async fn bring(desk: &Desk, plugin: &Name) {
    let package = match desk.in_folder(plugin) {
        Ok(package) => package,
        Err((path, error)) => {
            tracing::warn!(%plugin, path = %path.display(), %error, "a plugin's file can't be read");
            return;
        }
    };
    let (id, mark) = (package.id(), package.mark());
    if desk.seen(plugin).is_some_and(|seen| seen == mark) {
        return;
    }
    let deployed = desk.deploy(plugin, package, "folder", Origin::Folder).await;
    if let Err(error @ (DeployError::Stopping | DeployError::Journal(_))) = &deployed {
        tracing::warn!(%plugin, version = id.short(), %error, "the plugins folder's new version waits for the next start");
        return;
    }
    if let Err(error @ DeployError::Refused { of_settings: true, .. }) = &deployed {
        // Other settings come with the next start, and then it is tried again.
        tracing::error!(%plugin, version = id.short(), %error, "the plugins folder's new version does not serve; the former one goes on");
        return;
    }
    // One that fails is not tried again and again.
    if let Err(error) = desk.see(plugin, &mark) {
        tracing::warn!(%plugin, %error, "what the plugins folder holds can't be remembered");
    }
    match deployed {
        Ok(deployed) => {
            for in_pipeline in deployed.pipelines {
                let (pipeline, version) = (in_pipeline.pipeline, &*deployed.version);
                match in_pipeline.outcome {
                    Outcome::Refused { reason } => {
                        tracing::error!(%plugin, %pipeline, version, reason, "the plugins folder's new version does not serve");
                    }
                    outcome => tracing::info!(%plugin, %pipeline, version, ?outcome, "brought from the plugins folder"),
                }
            }
        }
        Err(error) => {
            tracing::error!(%plugin, version = id.short(), %error, "the plugins folder's new version does not serve; the former one goes on");
        }
    }
}
