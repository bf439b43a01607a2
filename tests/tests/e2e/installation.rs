//! What docs/installation.md has an operator copy works as it stands: only folders, names of accounts and the database's address
//! are those of the test.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use relevo_tests::binary;
use relevo_tests::postgres::Postgres;
use relevo_tests::server::{Ended, Process, Server};
use relevo_tests::wait::{SOON, until};
use tempfile::TempDir;

fn installed(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/install");
    std::fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A machine's folders.
struct Machine {
    root: TempDir,
    variables: Vec<(String, String)>,
}

impl Machine {
    /// With the settings and the environment of the documentation, moved here; `url`: of the watched database.
    fn new(url: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let here = |path: &str| root.path().join(path.trim_start_matches('/')).display().to_string();
        for folder in ["/etc/relevo", "/var/lib/relevo", "/var/backups/relevo"] {
            std::fs::create_dir_all(here(folder)).unwrap();
        }
        // Free now, and nobody else's in the next moment: the commands look for the server there.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap();
        let settings = installed("relevo.toml").replace("127.0.0.1:8002", &free.to_string());
        std::fs::write(here("/etc/relevo/relevo.toml"), settings).unwrap();
        let lines = installed("relevo.env");
        let set = lines.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_once('=').unwrap());
        let variables = set.map(|(name, value)| {
            let value = match name {
                "RELEVO_DATABASE_URL" => url.to_owned(),
                _ if value.starts_with('/') => here(value),
                _ => value.to_owned(),
            };
            (name.to_owned(), value)
        });
        let variables = variables.collect();
        Self { root, variables }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.root.path()).envs(self.variables.iter().cloned());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Process::start(self.command(&binary::relevo(), arguments)).wait(SOON)
    }
}

/// Runs the documented statements as the superuser, on a table that another role owns.
fn prepare(postgres: &Postgres) {
    let superuser = |database: &str, arguments: &[&str]| {
        let output = postgres.psql().on(database).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    superuser("postgres", &["-c", "create role app login", "-c", "create database shop owner app"]);
    superuser(
        "shop",
        &[
            "-c",
            "create table orders (id int primary key, total numeric, twice numeric generated always as (total * 2) stored)",
            "-c",
            "alter table orders owner to app",
        ],
    );
    // The superuser of the test's server has the name that the documentation gives to Relevo's role.
    let script = installed("postgres.sql").replace("ROLE relevo", "ROLE watcher").replace("'relevo'", "'watcher'");
    let script = script.replace("TO relevo;", "TO watcher;");
    superuser("shop", &["-c", "create database another template shop"]);
    // The role is there already when it is the other one's turn.
    for database in ["shop", "another"] {
        let file = tempfile::Builder::new().suffix(".sql").tempfile().unwrap();
        std::fs::write(file.path(), script.replace("DATABASE shop", &format!("DATABASE {database}"))).unwrap();
        superuser(database, &["-v", "password=se cret", "-f", file.path().to_str().unwrap()]);
    }
}

#[test]
fn the_documented_installation_watches_a_table_of_postgres_and_is_backed_up() {
    let postgres = Postgres::start();
    prepare(&postgres);
    let machine = Machine::new(&postgres.url("shop").replace("//relevo@", "//watcher@"));
    let _server = Server::listening(Process::start(machine.command(&binary::relevo(), &["serve"]))).ready();
    let status = machine.run(&["capture", "status"]).log;
    assert!(status.contains("orders"), "{status}");
    postgres.psql().on("shop").args(["-c", "insert into orders values (1, 9.50)"]).status().unwrap();
    until("the change in the journal", SOON, || {
        let exported = machine.run(&["journal", "export", "--kind", "event"]);
        exported.log.contains("9.50").then_some(())
    });
    // From PostgreSQL 18 on this asks for a publication that carries generated columns.
    let update = postgres.psql().on("shop").args(["-c", "update orders set total = 8.25"]).output().unwrap();
    assert!(update.status.success(), "the application's own: {}", String::from_utf8_lossy(&update.stderr));
    let doctor = machine.run(&["doctor"]);
    assert!(!doctor.log.contains("PROBLEM"), "{}", doctor.log);
    assert!(!doctor.log.contains("nobody reads"), "{}", doctor.log);

    let script = machine.path("backup.sh");
    std::fs::write(&script, installed("backup.sh")).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    let backups = machine.path("var/backups/relevo");
    for day in 1..=16 {
        // The later ones as an earlier script named them.
        let time = if day < 10 { "-030000" } else { "" };
        std::fs::create_dir(backups.join(format!("2001-01-{day:02}{time}"))).unwrap();
    }
    // One of this day is there already.
    let date = Command::new("date").arg("+%F").output().unwrap();
    std::fs::create_dir(backups.join(String::from_utf8(date.stdout).unwrap().trim())).unwrap();
    std::fs::create_dir(backups.join("2001-01-01-030000.incomplete")).unwrap();
    let mut backup = machine.command(&script, &[backups.to_str().unwrap()]);
    backup.env("RELEVO", binary::relevo());
    let ended = Process::start(backup).wait(SOON);
    assert!(ended.status.success(), "{}", ended.log);
    let mut left: Vec<_> = std::fs::read_dir(&backups).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left.remove(0).to_str(), Some("2001-01-01-030000.incomplete"), "no backup, and not ours to remove");
    assert_eq!((left.len(), left[0].to_str()), (14, Some("2001-01-05-030000")), "the newest stay: {left:?}");
    assert!(backups.join(&left[13]).join("backup.json").exists(), "{left:?}");
}

/// Where the machine has no systemd the units are read by nobody else: CI has it.
#[test]
fn the_units_are_what_systemd_reads_without_a_complaint() {
    let folder = tempfile::tempdir().unwrap();
    let units = ["relevo.service", "relevo-backup.service", "relevo-backup.timer"];
    for unit in units {
        let text = installed(unit);
        // The programs are not installed here.
        let text =
            text.replace("/usr/local/bin/relevo", "/bin/true").replace("/usr/local/lib/relevo/backup.sh", "/bin/true");
        std::fs::write(folder.path().join(unit), text).unwrap();
    }
    let mut verify = Command::new("systemd-analyze");
    let output = match verify.arg("verify").args(units).current_dir(folder.path()).output() {
        Ok(output) => output,
        Err(error) => {
            println!("the units: NOT TESTED, as systemd-analyze can't be run ({error})");
            return;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn what_the_units_name_is_what_the_text_has_one_make() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/installation.md")).unwrap();
    for unit in ["relevo.service", "relevo-backup.service"] {
        for line in installed(unit).lines().filter(|line| !line.starts_with('#')) {
            let Some((key, value)) = line.split_once('=') else { continue };
            let named = ["EnvironmentFile", "ExecStart", "ReadWritePaths", "User"].contains(&key);
            for part in value.split(' ').filter(|part| named && (part.starts_with('/') || key == "User")) {
                assert!(text.contains(part), "{unit} names {part}, which docs/installation.md doesn't");
            }
        }
    }
    let metrics = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md")).unwrap();
    let alerts = installed("alerts.yml");
    let words =
        alerts.split(|c: char| !(c.is_ascii_lowercase() || c == '_')).filter(|word| word.starts_with("relevo_"));
    let unknown: Vec<_> = words.filter(|word| !metrics.contains(&format!("`{word}`"))).collect();
    assert!(unknown.is_empty(), "alerts.yml has metrics that docs/metrics.md doesn't: {unknown:?}");
    let worth = metrics.split_once("Worth an alert").unwrap().1.split("\n\n").next().unwrap();
    let worth = worth.split(|c: char| !(c.is_ascii_lowercase() || c == '_')).filter(|word| word.starts_with("relevo_"));
    let without: Vec<_> = worth.filter(|word| !alerts.contains(*word)).collect();
    assert!(without.is_empty(), "docs/metrics.md calls these worth an alert, and alerts.yml has none: {without:?}");
}

/// An entry of nginx's error log ends with the request line, and no format of it can be set. (In its sources: a full disk and
/// ports that ran out are `crit`, a socket that can't be made is `alert`; only the start itself is `emerg`.)
#[test]
fn no_log_of_the_proxy_has_a_clients_token() {
    let settings = installed("nginx.conf");
    let lines: Vec<Vec<&str>> = settings.lines().map(|line| line.split_whitespace().collect()).collect();
    let of = |name: &str| lines.iter().filter(|words| words.first() == Some(&name)).cloned().collect::<Vec<_>>();
    assert!(matches!(of("error_log").as_slice(), [words] if words.last() == Some(&"emerg;")), "{:?}", of("error_log"));
    assert!(
        matches!(of("access_log").as_slice(), [words] if words.last() == Some(&"relevo;")),
        "{:?}",
        of("access_log")
    );
    let format = of("log_format").concat().join(" ");
    assert!(format.contains("$uri") && !format.contains("$request\"") && !format.contains("$request_uri"), "{format}");
    assert!(!format.contains("$args") && !format.contains("$query_string"), "{format}");
}

/// Every page of the documentation is named in its table of contents and in the book's, which names nothing else, and
/// every file in `install/` on some page.
#[test]
fn every_page_and_every_file_to_copy_can_be_found() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let contents = std::fs::read_to_string(docs.join("README.md")).unwrap();
    let text = std::fs::read_to_string(docs.join("installation.md")).unwrap();
    let names = |folder: &Path| -> Vec<String> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let is_page = |name: &&String| name.ends_with(".md") && *name != "SUMMARY.md";
    let pages: BTreeSet<String> = names(&docs).iter().filter(is_page).cloned().collect();
    for page in pages.iter().filter(|name| *name != "README.md") {
        assert!(contents.contains(&format!("]({page})")), "docs/README.md doesn't lead to {page}");
    }
    // A page that stands there twice, or under no name, is no chapter of its own.
    let summary = std::fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let chapters: Vec<String> = summary
        .lines()
        .filter_map(|line| line.trim_start_matches("- ").strip_prefix('[')?.strip_suffix(')')?.split_once("]("))
        .inspect(|(title, page)| assert!(!title.is_empty(), "docs/SUMMARY.md gives {page} no title"))
        .map(|(_, page)| page.to_owned())
        .collect();
    assert_eq!(chapters.iter().cloned().collect::<BTreeSet<_>>(), pages, "the book of docs/SUMMARY.md");
    assert_eq!(chapters.len(), pages.len(), "a page stands in docs/SUMMARY.md twice");
    for file in names(&docs.join("install")) {
        assert!(text.contains(&format!("install/{file}")), "docs/installation.md doesn't lead to {file}");
    }
}
