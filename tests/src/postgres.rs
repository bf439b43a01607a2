//! A PostgreSQL of a test's own, from the binaries of this machine: in a temporary folder, on a socket
//! there and no port, ended with the test however that ends. Never a database that was there before.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::cli::Script;

/// How long a server may take to come up, or to stop.
const LONG: Duration = Duration::from_secs(60);

/// The superuser, and the database that tests use.
const USER: &str = "relevo";
pub const DATABASE: &str = "gad";

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    bin: PathBuf,
    settings: Vec<String>,
    server: Option<Child>,
    /// Of TCP, and of the socket's name.
    port: u16,
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy)]
pub enum Stop {
    /// It waits for those that replicate from it.
    Fast,
    /// As a crash.
    Immediate,
}

impl Postgres {
    /// With logical replication.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With other settings, too: `name=value`.
    pub fn with(settings: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("relevo-pg-").tempdir().expect("a temporary folder");
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut this = Self { folder, bin: binaries(), settings, server: None, port: 5432 };
        // Its superuser can't run a server: another account owns the folder then.
        if let Some((user, group)) = account() {
            std::os::unix::fs::chown(this.folder.path(), Some(user), Some(group)).expect("root may give a folder away");
        }
        let everybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(this.folder.path(), everybody).expect("the folder is ours");
        let mut initdb = this.command("initdb");
        initdb.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]);
        initdb.arg("--username").arg(USER).arg("--pgdata").arg(this.data());
        let made = initdb.output().expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        this.up();
        this.sql_in("postgres", &format!("create database {DATABASE}"));
        this
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        if let Some((user, group)) = account() {
            command.arg(format!("--reuid={user}")).arg(format!("--regid={group}")).arg("--clear-groups");
        }
        // It ends with us, even if we are killed.
        command.args(["--pdeathsig", "QUIT", "--"]).arg(self.bin.join(program));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Starts the server, and waits until it answers.
    pub fn up(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.log()).expect("a log");
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        for setting in
            ["listen_addresses=", "wal_level=logical", "fsync=off", "max_wal_senders=10", "shared_buffers=32MB"]
        {
            command.args(["-c", setting]);
        }
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        let child = command.spawn().expect("postgres can be started");
        self.server = Some(child);
        let deadline = Instant::now() + LONG;
        while !self.psql("postgres", "select 1").output().is_ok_and(|output| output.status.success()) {
            let ended = self.server.as_mut().and_then(|server| server.try_wait().ok().flatten());
            assert!(ended.is_none() && Instant::now() < deadline, "postgres didn't come up:\n{}", self.log_text());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Stops the server, and waits for its end.
    pub fn down(&mut self, how: Stop) {
        let Some(mut server) = self.server.take() else { return };
        let signal = match how {
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
        };
        let _ = kill_process(Pid::from_child(&server), signal);
        let deadline = Instant::now() + LONG;
        while server.try_wait().expect("a child can be waited for").is_none() {
            if Instant::now() > deadline {
                let _ = server.kill();
                panic!("postgres didn't stop:\n{}", self.log_text());
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Starts it anew with TLS, a certificate for 127.0.0.1 (made by `openssl`), and passwords over TCP.
    /// Returns the port and the file of the authority that signed.
    pub fn serve_tls(&mut self) -> (u16, PathBuf) {
        self.down(Stop::Immediate);
        // Free now, and nobody else's in the next moment.
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        let (root, certificate, key) = (self.file("ca.pem"), self.file("cert.pem"), self.file("key.pem"));
        std::fs::write(self.file("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost").expect("a file can be written");
        self.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=CA -keyout ca.key -out ca.pem");
        self.openssl("req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -keyout key.pem -out request.pem");
        self.openssl(
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem",
        );
        if let Some((user, group)) = account() {
            std::os::unix::fs::chown(&key, Some(user), Some(group)).expect("root may give a file away");
        }
        let own = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&key, own).expect("the key is ours");
        let rules = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        std::fs::write(self.data().join("pg_hba.conf"), rules).expect("the rules can be written");
        let more = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", certificate.display()),
            format!("ssl_key_file={}", key.display()),
        ];
        self.settings.extend(more);
        self.port = port;
        self.up();
        (port, root)
    }

    fn openssl(&self, arguments: &str) {
        let made = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(self.folder.path())
            .output()
            .expect("these tests need openssl: apt-get install openssl");
        assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Stops the server, and puts a copy of all that it has aside.
    pub fn back_up(&mut self) {
        self.down(Stop::Fast);
        self.copy("data", "backup");
        self.up();
    }

    /// Puts the copy in the place of what is there.
    pub fn restore(&mut self) {
        self.down(Stop::Immediate);
        std::fs::remove_dir_all(self.data()).expect("the folder is ours");
        self.copy("backup", "data");
        self.up();
    }

    fn copy(&self, from: &str, to: &str) {
        let copied = Command::new("cp").arg("-a").arg(from).arg(to).current_dir(self.folder.path()).status();
        assert!(copied.is_ok_and(|status| status.success()), "{from} can't be copied");
    }

    /// The address of a database.
    pub fn url(&self, database: &str) -> String {
        let socket = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://{USER}@{socket}:{}/{database}", self.port)
    }

    fn psql(&self, database: &str, sql: &str) -> Command {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", USER, "-d", database, "-h"]);
        psql.arg(self.folder.path()).arg("-p").arg(self.port.to_string()).args(["-c", sql]).stdin(Stdio::null());
        psql
    }

    /// Runs SQL in a `psql` process of its own, and gives what it printed.
    ///
    /// # Panics
    /// If the SQL fails.
    pub fn sql(&self, sql: &str) -> String {
        self.sql_in(DATABASE, sql)
    }

    fn sql_in(&self, database: &str, sql: &str) -> String {
        let output = self.psql(database, sql).output().expect("psql runs");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Runs SQL from a file, meanwhile.
    pub fn meanwhile(&self, sql: &str) -> Child {
        let file = tempfile::NamedTempFile::new_in(self.folder.path()).expect("a file").into_temp_path();
        let file = file.keep().expect("it goes with the folder");
        std::fs::write(&file, sql).expect("a script can be written");
        let mut psql = self.psql(DATABASE, "set synchronous_commit = on");
        psql.arg("-f").arg(file).stdout(Stdio::piped());
        psql.spawn().expect("psql runs")
    }

    /// A `psql` process that works on a script.
    pub fn script(&self, sql: &str) -> Script {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", USER, "-d", DATABASE, "-h"]);
        psql.arg(self.folder.path()).arg("-p").arg(self.port.to_string());
        Script::feed(psql, sql)
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = kill_process(Pid::from_child(&server), Signal::QUIT);
            let _ = server.wait();
        }
    }
}

/// The account that runs the server where we are root.
fn account() -> Option<(u32, u32)> {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").expect("the list of accounts");
    let find = |name: &str| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2).map_while(|field| field.parse().ok());
        Some((numbers.next()?, numbers.next()?))
    };
    Some(find("postgres").or_else(|| find("nobody")).expect("an account postgres or nobody"))
}

/// Where `initdb` and `postgres` are: `RELEVO_POSTGRES_BIN`, the PATH, or where Debian keeps them.
fn binaries() -> PathBuf {
    let has = |folder: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|program| folder.join(program).is_file());
    if let Some(folder) = std::env::var_os("RELEVO_POSTGRES_BIN").map(PathBuf::from) {
        assert!(has(&folder), "RELEVO_POSTGRES_BIN={} holds no initdb, postgres and psql", folder.display());
        return folder;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut debian: Vec<PathBuf> = std::fs::read_dir(Path::new("/usr/lib/postgresql"))
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    debian.sort();
    let mut folders = std::env::split_paths(&path).chain(debian.into_iter().rev());
    folders
        .find(has)
        .expect("these tests need PostgreSQL's server: apt-get install postgresql-15, or set RELEVO_POSTGRES_BIN")
}
