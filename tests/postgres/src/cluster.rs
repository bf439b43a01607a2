//! The server: its files, its start, its stop.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Account, Binaries, DATABASE, Error, USER};

/// How long a server may take to come up, or to stop.
const LONG: Duration = Duration::from_secs(60);

/// What every server is started with. It may lose its data with the machine: nobody will miss it.
const SETTINGS: [&str; 5] =
    ["listen_addresses=", "wal_level=logical", "fsync=off", "max_wal_senders=10", "shared_buffers=32MB"];

/// A server in a folder. It stops when this is dropped, and when our process ends.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    binaries: Binaries,
    account: Option<Account>,
    settings: Vec<String>,
    server: Option<Child>,
    /// Of the socket's name, and of TCP where that is switched on.
    port: u16,
}

/// The `psql` for a server. Another version's will do.
#[derive(Debug, Clone)]
pub struct Psql {
    program: PathBuf,
    folder: PathBuf,
    port: u16,
}

impl Psql {
    /// One that prints bare values and stops at the first error; what it is to run comes by its input or its
    /// arguments.
    pub fn on(&self, database: &str) -> Command {
        let mut psql = Command::new(&self.program);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", USER, "-d", database, "-h"]);
        psql.arg(&self.folder).arg("-p").arg(self.port.to_string()).stdin(Stdio::null());
        psql
    }
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy)]
pub enum Stop {
    /// It waits for those that replicate from it.
    Fast,
    /// As a crash.
    Immediate,
}

impl Cluster {
    /// Makes one in an empty folder, starts it, and makes [`DATABASE`]. `settings`: `name=value`, over those
    /// that it has anyway (logical replication).
    ///
    /// # Errors
    /// What the server says, or what is missing.
    pub fn create(folder: &Path, settings: &[&str]) -> Result<Self, Error> {
        let (binaries, account) = (Binaries::find()?, Account::find()?);
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut this = Self { folder: folder.to_owned(), binaries, account, settings, server: None, port: 5432 };
        this.give_away(folder)?;
        // The other account's server, and psql here, both come in.
        let everybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder, everybody).map_err(Error::io("the server's folder"))?;
        let mut initdb = this.command("initdb");
        initdb.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]);
        initdb.arg("--username").arg(USER).arg("--pgdata").arg(this.data());
        let made = initdb.output().map_err(Error::io("initdb (by setpriv)"))?;
        if !made.status.success() {
            return Err(Error::Initdb(String::from_utf8_lossy(&made.stderr).into_owned()));
        }
        // A file that ALTER SYSTEM may overrule, as an operator's; nothing overrules a command line.
        let include = |mut conf: std::fs::File| std::io::Write::write_all(&mut conf, b"include 'scratch.conf'\n");
        let conf = std::fs::File::options().append(true).open(this.data().join("postgresql.conf"));
        conf.and_then(include).map_err(Error::io("postgresql.conf"))?;
        this.up()?;
        let mut database = this.psql().on("postgres");
        let made = database.arg("-c").arg(format!("create database {DATABASE}")).output().map_err(Error::io("psql"))?;
        if !made.status.success() {
            return Err(Error::Initdb(String::from_utf8_lossy(&made.stderr).into_owned()));
        }
        Ok(this)
    }

    /// Gives a file to the account that runs the server.
    ///
    /// # Errors
    /// What the system says.
    pub fn give_away(&self, path: &Path) -> Result<(), Error> {
        let Some(Account { user, group }) = self.account else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(user), Some(group)).map_err(Error::io("a file of the server"))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The socket, where it listens from the start.
    pub fn socket(&self) -> PathBuf {
        self.folder.join(format!(".s.PGSQL.{}", self.port))
    }

    /// More settings, and another port, from the next start on.
    pub fn set(&mut self, settings: impl IntoIterator<Item = String>, port: u16) {
        self.settings.extend(settings);
        self.port = port;
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        if let Some(Account { user, group }) = self.account {
            command.arg(format!("--reuid={user}")).arg(format!("--regid={group}")).arg("--clear-groups");
        }
        // It ends with us, even if we are killed.
        command.args(["--pdeathsig", "QUIT", "--"]).arg(self.binaries.program(program));
        command.current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    /// Starts the server, and waits until it answers.
    ///
    /// # Errors
    /// With its log, if it doesn't.
    pub fn up(&mut self) -> Result<(), Error> {
        use std::os::unix::process::CommandExt as _;
        let log = std::fs::File::options().create(true).append(true).open(self.log()).map_err(Error::io("the log"))?;
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(&self.folder).arg("-p").arg(self.port.to_string());
        let settings = SETTINGS.iter().copied().chain(self.settings.iter().map(String::as_str));
        let line = |setting: &str| {
            let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
            format!("{name} = '{}'\n", value.replace('\'', "''"))
        };
        let conf = settings.map(line).collect::<String>();
        std::fs::write(self.data().join("scratch.conf"), conf).map_err(Error::io("scratch.conf"))?;
        // A terminal's Ctrl-C is for those who use it; it ends when they have.
        command.process_group(0);
        command.stdout(log.try_clone().map_err(Error::io("the log"))?).stderr(log);
        self.server = Some(command.spawn().map_err(Error::io("postgres (by setpriv)"))?);
        let deadline = Instant::now() + LONG;
        while !self.answers() {
            let ended = self.server.as_mut().and_then(|server| server.try_wait().ok().flatten());
            if ended.is_some() || Instant::now() >= deadline {
                return Err(Error::Up(self.log_text()));
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }

    fn answers(&self) -> bool {
        self.psql().on("postgres").args(["-c", "select 1"]).output().is_ok_and(|output| output.status.success())
    }

    /// Stops the server, and waits for its end.
    ///
    /// # Errors
    /// With its log, if it goes on.
    pub fn down(&mut self, how: Stop) -> Result<(), Error> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        let signal = match how {
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
        };
        let _ = kill_process(Pid::from_child(&server), signal);
        let deadline = Instant::now() + LONG;
        while server.try_wait().map_err(Error::io("waiting for postgres"))?.is_none() {
            if Instant::now() > deadline {
                let _ = server.kill();
                return Err(Error::Down(self.log_text()));
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The address of a database.
    pub fn url(&self, database: &str) -> String {
        let socket = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://{USER}@{socket}:{}/{database}", self.port)
    }

    /// How to reach it by `psql`.
    pub fn psql(&self) -> Psql {
        let own = self.binaries.program("psql");
        let program = if own.is_file() { own } else { "psql".into() };
        Psql { program, folder: self.folder.clone(), port: self.port }
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Leaves the server to the process that we become.
    pub(crate) fn leave(mut self) {
        self.server = None;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = kill_process(Pid::from_child(&server), Signal::QUIT);
            let _ = server.wait();
        }
    }
}
