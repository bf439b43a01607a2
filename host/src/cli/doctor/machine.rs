//! The machine: open files, cores, memory, address space, inotify, the clock.

use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::config::Config;
use crate::event::Micros;

/// Files that the server opens beside its clients' sockets: databases, threads' pipes, plugins.
const OTHER_FILES: u64 = 128;

/// What plugins and the program itself take beside the journal's memory, roughly.
const OTHER_MEMORY: u64 = 256 << 20;

/// The pool for plugins' memories reserves address space for all at once: some TiB.
const POOL: u64 = 8 << 40;

/// 2025-01-01: a clock before that was never set.
const SET: Micros = Micros(1_735_689_600_000_000);

pub(super) fn all(config: &Config) -> Vec<Finding> {
    let clients = config.session.max_connections as u64;
    let mut findings = vec![open_files(getrlimit(Resource::Nofile).maximum, clients)];
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    findings.push(judge_cores(cores, config.session.fan_out_threads));
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    findings.extend(available(&meminfo).map(|bytes| memory(bytes, config.journal.memory)));
    findings.push(address_space(getrlimit(Resource::As).maximum));
    findings.extend(inotify());
    findings.push(clock(Micros::now()));
    findings
}

/// `most`: the hard limit, up to which the server raises its own; None: there is none.
fn open_files(most: Option<u64>, clients: u64) -> Finding {
    let needed = clients + OTHER_FILES;
    match most {
        Some(most) if most < needed => Finding::warning(
            "open files",
            format!("at most {most}; session.max_connections = {clients} needs {needed}"),
            format!("ulimit -Hn {needed}, or LimitNOFILE={needed} in the systemd unit; or fewer max_connections"),
        ),
        _ => Finding::ok("open files", format!("enough for session.max_connections = {clients}")),
    }
}

fn judge_cores(cores: usize, threads: usize) -> Finding {
    if threads > cores {
        let found = format!("there are {cores}; session.fan_out_threads = {threads}");
        return Finding::warning("cores", found, format!("set session.fan_out_threads to {cores} or less"));
    }
    Finding::ok("cores", format!("{cores}; one for each pipeline that is busy, {threads} for the fan-out"))
}

/// Linux's estimate of what can be had without swapping.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

fn memory(available: u64, journal: u64) -> Finding {
    let needed = journal + OTHER_MEMORY;
    let found = format!("{} MiB can be had; about {} MiB are needed", available >> 20, needed >> 20);
    if available < needed {
        return Finding::warning("memory", found, "set journal.memory to less, or give the machine more");
    }
    Finding::ok("memory", found)
}

fn address_space(limit: Option<u64>) -> Finding {
    match limit {
        Some(limit) if limit < POOL => {
            let found = format!("limited to {} MiB: plugins' memory can't be pooled, and they run slower", limit >> 20);
            Finding::warning("address space", found, "ulimit -v unlimited, or LimitAS=infinity in the systemd unit")
        }
        _ => Finding::ok("address space", "enough to pool plugins' memory"),
    }
}

/// Whether changes of a database's WAL can be noticed at once.
#[cfg(target_os = "linux")]
fn inotify() -> Option<Finding> {
    use rustix::fs::inotify::{CreateFlags, init};
    Some(match init(CreateFlags::CLOEXEC) {
        Ok(_) => Finding::ok("inotify", "other processes' changes are noticed at once"),
        Err(error) => Finding::warning(
            "inotify",
            format!("{error}: other processes' changes are found by polling alone (every source.poll)"),
            "sysctl fs.inotify.max_user_instances=1024",
        ),
    })
}

#[cfg(not(target_os = "linux"))]
fn inotify() -> Option<Finding> {
    None
}

fn clock(now: Micros) -> Finding {
    if now < SET {
        return Finding::problem("clock", format!("it shows {}", now.rfc3339()), "set it: timedatectl set-ntp true");
    }
    Finding::ok("clock", now.rfc3339())
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn each_limit_that_is_too_small_has_its_remedy() {
        for (finding, remedy) in [
            (open_files(Some(1024), 10_000), "LimitNOFILE=10128"),
            (judge_cores(2, 3), "fan_out_threads to 2"),
            (memory(300 << 20, 64 << 20), "journal.memory"),
            (address_space(Some(4 << 30)), "LimitAS=infinity"),
        ] {
            assert_eq!(finding.verdict, Verdict::Warning, "{finding:?}");
            assert!(finding.remedy.as_deref().unwrap().contains(remedy), "{finding:?}");
        }
        let finding = clock(Micros(1_000_000));
        assert!(finding.verdict == Verdict::Problem && finding.found.contains("1970"), "{finding:?}");
    }

    #[test]
    fn limits_that_are_large_enough_are_fine() {
        let good = [
            open_files(None, 10_000),
            open_files(Some(10_128), 10_000),
            judge_cores(2, 2),
            memory(320 << 20, 64 << 20),
            address_space(None),
            clock(SET),
        ];
        assert!(good.iter().all(|finding| finding.verdict == Verdict::Ok), "{good:?}");
    }

    #[test]
    fn the_memory_that_can_be_had_is_read() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
    }
}
