//! Everything that one test has for itself: a fresh data folder, its settings, its database.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::postgres::{self, Postgres};
use crate::server::{Ended, Process, Server};
use crate::wait::SOON;
use crate::{binary, cli, token};

/// The configuration that the binary has built in; a test's settings go around it.
const BUILT_IN: &str = include_str!("../../migrations/gad/relevo.toml");

/// People, personnel and tasks that tests begin with: three users, two of them efectivos; task 1
/// waits, task 2 runs.
pub const PEOPLE: &str = "
    insert into usuarios (id, uuid, dni, nombre, apellido, email, nivel, hashed_password, created_at, updated_at) values
      (1, 'u-1', '1', 'Ana',   'Paz',  'ana@example.org',   'LEVEL_3', 'geheim-hash-1', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z'),
      (2, 'u-2', '2', 'Bruno', 'Sosa', 'bruno@example.org', 'LEVEL_1', 'geheim-hash-2', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z'),
      (3, 'u-3', '3', 'Carla', 'Ruiz', 'carla@example.org', 'LEVEL_1', 'geheim-hash-3', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z');
    insert into efectivos (id, uuid, usuario_id, codigo_interno, rango, unidad, estado_disponibilidad, created_at, updated_at) values
      (1, 'e-1', 2, 'E-001', 'CABO',     'NORTE', 'DISPONIBLE', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z'),
      (2, 'e-2', 3, 'E-002', 'SARGENTO', 'SUR',   'EN_TAREA',   '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z');";

/// The tasks that tests begin with.
pub const TASKS: &str = "
    insert into tareas (id, uuid, codigo, titulo, tipo, prioridad, estado, creado_por_usuario_id, efectivos_asignados, created_at, updated_at) values
      (1, 't-1', 'T-001', 'Patrulla norte', 'PATRULLAJE', 'HIGH', 'PROGRAMMED',  1, '[]',  '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z'),
      (2, 't-2', 'T-002', 'Vigilancia sur', 'VIGILANCIA', 'LOW',  'IN_PROGRESS', 1, '[2]', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z');";

/// A test's own world. Everything in it goes when it is dropped.
#[derive(Debug)]
pub struct World {
    root: TempDir,
    settings: Vec<String>,
    auth: Vec<String>,
    source: Vec<String>,
    rules: Vec<String>,
    tables: Vec<String>,
    /// Without the built-in ones.
    own_pipelines: bool,
    environment: BTreeMap<String, String>,
    /// The watched database, where it isn't a SQLite file.
    pub postgres: Option<Postgres>,
}

impl World {
    /// As [`Self::new`], over a PostgreSQL of its own.
    pub fn postgres() -> Self {
        Self::over(Postgres::start(), |world| world)
    }

    /// As [`Self::new`], over this PostgreSQL, which holds nothing yet.
    pub fn over(postgres: Postgres, settings: impl FnOnce(Self) -> Self) -> Self {
        let mut world = Self::bare().set_environment("RELEVO_DATABASE_URL", &postgres.url(postgres::DATABASE));
        world.postgres = Some(postgres);
        let world = settings(world);
        world.migrate();
        world.sql(PEOPLE);
        world.sql(TASKS);
        world
    }

    /// Plugins are installed; the database doesn't exist yet.
    pub fn bare() -> Self {
        let root = tempfile::Builder::new().prefix("relevo-test-").tempdir().expect("a temporary folder");
        let world = Self {
            root,
            settings: Vec::new(),
            auth: Vec::new(),
            source: Vec::new(),
            rules: Vec::new(),
            tables: Vec::new(),
            own_pipelines: false,
            environment: BTreeMap::new(),
            postgres: None,
        };
        std::fs::create_dir_all(world.data()).expect("the data folder");
        for plugin in ["tareas", "efectivos", "panel"] {
            world.install(plugin);
        }
        world
            .set_environment("RELEVO_LISTEN", "127.0.0.1:0")
            .set_environment("RELEVO_JWT_SECRET", token::SECRET)
            .set_environment("RELEVO_LOG", "info")
            .set_environment("NO_COLOR", "1")
            // The example's plugins have their grants all the same; a test of grants says "listed".
            .set("plugins.grants = \"open\"")
    }

    /// With the example's tables, people and tasks in the database.
    pub fn new() -> Self {
        Self::configured(|world| world)
    }

    /// As [`Self::new`], with settings that hold from the start.
    pub fn configured(settings: impl FnOnce(Self) -> Self) -> Self {
        let world = settings(Self::bare());
        world.migrate();
        world.sql(PEOPLE);
        world.sql(TASKS);
        world
    }

    /// Adds a line of top-level settings, like `plugins.batch_events = 1`, in place of an earlier one of that name.
    #[must_use]
    pub fn set(mut self, line: &str) -> Self {
        let name = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        self.settings.retain(|earlier| name(earlier) != name(line));
        self.settings.push(line.to_owned());
        self
    }

    /// Adds a line to the built-in `[auth]`, like `audience = "relevo"`.
    #[must_use]
    pub fn auth(mut self, line: &str) -> Self {
        self.auth.push(line.to_owned());
        self
    }

    /// Adds a line to the built-in `[[source]]`, like `guard = "1s"`, in place of its own of that name.
    #[must_use]
    pub fn source(mut self, line: &str) -> Self {
        self.source.push(line.to_owned());
        self
    }

    /// Adds tables, like `[[pipeline]]`, at the end of the configuration.
    #[must_use]
    pub fn append(mut self, tables: &str) -> Self {
        self.tables.push(tables.to_owned());
        self
    }

    /// Puts these pipelines, `[[pipeline]]` and what belongs to them, in the place of the built-in ones.
    #[must_use]
    pub fn pipelines(self, tables: &str) -> Self {
        Self { own_pipelines: true, ..self }.append(tables)
    }

    /// Puts other tables in the place of those that were appended.
    #[must_use]
    pub fn replace(mut self, tables: &str, by: &str) -> Self {
        let place = self.tables.iter_mut().find(|appended| *appended == tables);
        by.clone_into(place.expect("tables that were appended"));
        self
    }

    #[must_use]
    pub fn set_environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    #[must_use]
    pub fn unset_environment(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// Adds a rule for channels, in place of the built-in one of the same pattern if there is one.
    #[must_use]
    pub fn channel(mut self, rule: &str) -> Self {
        self.rules.push(format!("[[channel]]\n{rule}"));
        self
    }

    /// Installs one more plugin.
    pub fn install(&self, plugin: &str) {
        binary::install_plugin(plugin, &self.data().join("plugins"));
    }

    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// The watched database.
    pub fn database(&self) -> PathBuf {
        self.data().join("gad.db")
    }

    /// The files that the server keeps for itself: everything in the data folder but the watched
    /// database and the plugins.
    pub fn own_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.data()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder can be read").map_while(Result::ok) {
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.path().is_dir() {
                    if name != "plugins" {
                        folders.push(entry.path());
                    }
                } else if !name.starts_with("gad.db") {
                    files.push(entry.path());
                }
            }
        }
        files
    }

    /// The files of the journal alone.
    pub fn journal_files(&self) -> Vec<PathBuf> {
        let is_journal =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("journal"));
        let files: Vec<PathBuf> = self.own_files().into_iter().filter(is_journal).collect();
        assert!(!files.is_empty(), "no journal in {:?}", self.own_files());
        files
    }

    /// One of them, by its name; it may not be there.
    pub fn journal_file(&self, name: &str) -> PathBuf {
        let files = self.journal_files();
        let folder = files.first().and_then(|file| file.parent()).expect("a file lies in a folder");
        folder.join(name)
    }

    /// Whether the journal has this text: in its files as they are, or in what they say uncompressed.
    pub fn journal_holds(&self, text: &str) -> bool {
        let exported = self.run(&["journal", "export"]);
        assert!(exported.status.success(), "{}", exported.log);
        exported.log.contains(text) || self.own_files().iter().any(|file| file_contains(file, text))
    }

    /// The built-in configuration without the channel rules and pipelines that the test has replaced.
    fn built_in(&self) -> String {
        let pattern = |block: &str| block.lines().find(|l| l.starts_with("pattern = ")).map(str::to_owned);
        let replaced: Vec<Option<String>> = self.rules.iter().map(|rule| pattern(rule)).collect();
        let blocks = BUILT_IN.split("\n[[");
        let kept = blocks.filter(|block| pattern(block).is_none() || !replaced.contains(&pattern(block)));
        let kept = kept.filter(|block| !self.own_pipelines || !block.starts_with("pipeline]]"));
        let text = kept.collect::<Vec<_>>().join("\n[[");
        let text = text.replacen("[auth]\n", &format!("[auth]\n{}\n", self.auth.join("\n")), 1);
        let (before, source) = text.split_once("[[source]]\n").expect("there is a source");
        let (source, after) = source.split_once("\n\n").expect("there is more than a source");
        let name = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        let is_own = |line: &&str| !self.source.iter().any(|own| name(own) == name(line));
        let lines: Vec<&str> = source.lines().filter(is_own).chain(self.source.iter().map(String::as_str)).collect();
        format!("{before}[[source]]\n{}\n\n{after}", lines.join("\n"))
    }

    /// A command of the binary in this world.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let config = self.root.path().join("relevo.toml");
        let (settings, rules, tables) = (self.settings.join("\n"), self.rules.join("\n"), self.tables.join("\n"));
        let text = format!("{settings}\n\n{rules}\n\n{}\n\n{tables}\n", self.built_in());
        std::fs::write(&config, text).expect("the configuration can be written");
        let mut command = Command::new(binary::relevo());
        command.args(arguments).current_dir(self.root.path());
        for name in ["RELEVO_CONFIG", "RELEVO_DATABASE_URL", "RELEVO_FAILPOINT", "RELEVO_JWT_SECRET", "RELEVO_LISTEN"] {
            command.env_remove(name);
        }
        command.env("RELEVO_DATA", self.data());
        command.envs(&self.environment);
        if matches!(arguments.first(), Some(&("serve" | "migrate" | "token" | "capture" | "backup" | "restore"))) {
            command.arg("--config").arg(config);
        }
        command
    }

    /// Runs a command of the binary to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        Process::start(self.command(arguments)).wait(Duration::from_secs(60))
    }

    pub fn migrate(&self) {
        let ended = self.run(&["migrate"]);
        assert!(ended.status.success(), "`relevo migrate` failed ({}):\n{}", ended.status, ended.log);
    }

    /// Starts the server and waits until it is ready.
    pub fn serve(&self) -> Server {
        Server::listening(Process::start(self.command(&["serve"]))).ready()
    }

    /// Runs a command that dies at the first pass of a failpoint.
    ///
    /// # Panics
    /// If it ends in another way.
    pub fn kill_at(&self, point: &str, arguments: &[&str]) {
        let mut command = self.command(arguments);
        command.env("RELEVO_FAILPOINT", format!("{point}=kill@1"));
        let ended = Process::start(command).wait(SOON);
        assert_eq!(ended.status.signal(), Some(9), "{arguments:?} at {point}: {}", ended.log);
    }

    /// Starts a server that dies at the `nth` pass of a failpoint. It may die before it is ready,
    /// so only the process is given back.
    pub fn start_with_failpoint(&self, point: &str, nth: u64) -> Process {
        let mut command = self.command(&["serve"]);
        command.env("RELEVO_FAILPOINT", format!("{point}=kill@{nth}"));
        Process::start(command)
    }

    /// Runs SQL in a `sqlite3` (or `psql`) process of its own.
    pub fn sql(&self, sql: &str) -> String {
        match &self.postgres {
            Some(postgres) => postgres.sql(sql),
            None => cli::sqlite3(&self.database(), sql),
        }
    }

    /// A number from the database.
    pub fn count(&self, sql: &str) -> u64 {
        let text = self.sql(sql);
        text.trim().parse().unwrap_or_else(|_| panic!("{sql} gave {text:?}, not a number"))
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a file holds a text.
fn file_contains(path: &Path, text: &str) -> bool {
    let bytes = std::fs::read(path).unwrap_or_default();
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
