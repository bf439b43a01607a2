//! The data folder: may it be used, is there room, is it on a disk that SQLite can work on, is what is secret
//! kept secret.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use super::Finding;
use crate::auth::{Secret, SecretError};
use crate::backup;
use crate::config::Config;

pub(super) fn all(config: &Config) -> Vec<Finding> {
    let mut findings = vec![usable(&config.data)];
    findings.extend(restored(&config.data));
    findings.extend(room(config));
    findings.extend(disk("data folder", &config.data));
    findings.push(secret(config));
    findings.extend(private(&config.data.join("cache")));
    findings
}

fn usable(data: &Path) -> Finding {
    let check = "data folder";
    let shown = data.display();
    let Some(there) = data.ancestors().find(|folder| folder.exists() || folder.as_os_str().is_empty()) else {
        return Finding::problem(check, format!("{shown} can't be found"), "set RELEVO_DATA to a folder");
    };
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let remedy = "set RELEVO_DATA to a folder that relevo may write to, or give this one to the user it runs as";
    if !there.is_dir() {
        return Finding::problem(check, format!("{} is no folder", there.display()), remedy);
    }
    if access(there, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return Finding::problem(check, format!("{} can't be written to", there.display()), remedy);
    }
    if there == data {
        Finding::ok(check, format!("{shown} may be used"))
    } else {
        Finding::ok(check, format!("{shown} isn't there yet; the first start makes it"))
    }
}

/// The server refuses a folder with half of a backup in it.
fn restored(data: &Path) -> Option<Finding> {
    let found = backup::interrupted(data).err()?.to_string();
    let (found, remedy) = found.split_once("; ").unwrap_or((&found, "make it again"));
    Some(Finding::problem("restore", found, remedy))
}

/// What the journal may still grow to must have room.
fn room(config: &Config) -> Option<Finding> {
    let there = config.data.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    let free = statvfs(there).ok().map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize))?;
    let used = std::fs::metadata(config.data.join("journal.db")).map_or(0, |file| file.len());
    Some(judge_room(free, used, config.journal.limit_bytes))
}

fn judge_room(free: u64, used: u64, limit: u64) -> Finding {
    let check = "free space";
    let mib = |bytes: u64| bytes >> 20;
    let wanted = limit.saturating_sub(used);
    if free < 64 << 20 {
        let found = format!("{} MiB are free: the journal soon can't be written", mib(free));
        return Finding::problem(check, found, "make room, or set RELEVO_DATA to a folder on a larger disk");
    }
    if free < wanted {
        let found = format!("{} MiB are free; the journal may grow by {} MiB", mib(free), mib(wanted));
        let remedy = format!("set journal.limit_bytes to {} MiB or less, or make room", mib(used + free) / 2);
        return Finding::warning(check, found, remedy);
    }
    Finding::ok(check, format!("{} MiB, enough for journal.limit_bytes", mib(free)))
}

/// SQLite's WAL needs memory that all processes share: no network file system has that.
pub(super) fn disk(check: &str, folder: &Path) -> Option<Finding> {
    let there = folder.ancestors().find(|folder| folder.exists())?;
    let kind = network(file_system(there)?)?;
    let found = format!("{} is on {kind}, where SQLite's WAL mode doesn't work", there.display());
    Some(Finding::problem(check, found, "use a disk of this machine"))
}

#[cfg(target_os = "linux")]
fn file_system(path: &Path) -> Option<u32> {
    // The numbers fit 32 bits, whatever type this machine gives them in.
    rustix::fs::statfs(path).ok().map(|stat| stat.f_type as u32)
}

#[cfg(not(target_os = "linux"))]
fn file_system(_: &Path) -> Option<u32> {
    None
}

/// The file systems of other machines: their numbers in linux/magic.h and the drivers.
fn network(number: u32) -> Option<&'static str> {
    match number {
        0x6969 => Some("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
        0x0102_1997 => Some("9P"),
        0x00c3_6400 => Some("Ceph"),
        _ => None,
    }
}

fn secret(config: &Config) -> Finding {
    let check = "secret";
    match Secret::find(config) {
        Ok(Some(_)) => Finding::ok(check, "long enough, and nobody else may read it"),
        Ok(None) => Finding::ok(check, "there is none yet; the first start makes one"),
        Err(error) => {
            let remedy = match &error {
                SecretError::Short { .. } => "set RELEVO_JWT_SECRET to the output of: openssl rand -hex 32".to_owned(),
                SecretError::Open { path, .. } => format!("chmod 600 {}", path.display()),
                SecretError::Io { path, .. } => format!("let the user that relevo runs as read {}", path.display()),
            };
            Finding::problem(check, error.to_string(), remedy)
        }
    }
}

/// Compiled code is run as it is found.
fn private(folder: &Path) -> Option<Finding> {
    let check = "compiled plugins";
    let found = std::fs::symlink_metadata(folder).ok()?;
    let shown = folder.display();
    let me = rustix::process::geteuid().as_raw();
    Some(if found.uid() != me && me != 0 {
        let remedy = format!("remove {shown}, or run relevo as that user");
        Finding::problem(check, format!("{shown} belongs to user {}", found.uid()), remedy)
    } else if found.mode() & 0o077 != 0 {
        let found = format!("{shown} is open to others: the server will empty it and compile anew");
        Finding::warning(check, found, format!("chmod 700 {shown}"))
    } else {
        Finding::ok(check, format!("{shown} is private"))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::Verdict;
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_journal_needs_room_for_what_it_may_still_grow_to() {
        assert_eq!(judge_room(4000 * MIB, 1000 * MIB, 5000 * MIB).verdict, Verdict::Ok);
        let scarce = judge_room(3999 * MIB, 1000 * MIB, 5000 * MIB);
        assert_eq!(scarce.verdict, Verdict::Warning);
        assert!(scarce.remedy.unwrap().contains("journal.limit_bytes"));
        assert_eq!(judge_room(10 * MIB, 0, MIB).verdict, Verdict::Problem);
    }

    #[test]
    fn a_folder_that_is_not_there_can_be_made_and_one_that_is_a_file_can_not() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(usable(folder.path()).verdict, Verdict::Ok);
        assert!(usable(&folder.path().join("a/b")).found.contains("the first start makes it"));
        std::fs::write(folder.path().join("file"), "").unwrap();
        let finding = usable(&folder.path().join("file"));
        assert!(finding.verdict == Verdict::Problem && finding.remedy.unwrap().contains("RELEVO_DATA"));
    }

    #[test]
    fn network_disks_are_known() {
        assert_eq!(network(0x6969), Some("NFS"));
        assert_eq!(network(0xef53), None, "ext4");
    }

    #[test]
    fn compiled_code_that_others_may_write_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        assert_eq!(private(&cache), None);
        std::fs::create_dir(&cache).unwrap();
        for (mode, verdict) in [(0o700, Verdict::Ok), (0o755, Verdict::Warning)] {
            std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(private(&cache).unwrap().verdict, verdict, "{mode:o}");
        }
    }

    #[test]
    fn a_secret_that_others_may_read_or_that_is_short_is_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::load(None).unwrap();
        config.data = folder.path().into();
        config.auth.secret = None;
        assert!(secret(&config).found.contains("none yet"));
        let path = Secret::path(&config.data);
        for (text, mode, remedy) in [("s".repeat(32), 0o644, "chmod 600"), ("short".into(), 0o600, "openssl rand")] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let finding = secret(&config);
            assert_eq!(finding.verdict, Verdict::Problem);
            assert!(finding.remedy.as_deref().unwrap().contains(remedy), "{finding:?}");
        }
    }
}
