//! README's commands, run word for word and in their order, in a fresh folder. Only the port is another
//! where 8002 stands.
//!
//! The first line of a block of commands says what becomes of it:
//! - `sh tour`: run in the reader's terminal, and must succeed;
//! - `sh tour=NAME`: run in a terminal of its own, where it goes on;
//! - `sh tour interrupt=server`: before it, Ctrl-C is pressed where the server runs;
//! - `sh not-run: WHY`; with `server` before it, the built server is started in its place.
//!
//! A `text` block shows what the block before it prints, `text of=NAME` what comes in that terminal. Each
//! of its lines must come; `…` stands for anything, and a line may go on.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use relevo_tests::binary;
use relevo_tests::random::Random;
use relevo_tests::server::{Log, Process, Server};
use relevo_tests::wait::{SOON, until};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

/// The port that README speaks of.
const PORT: &str = "8002";

/// A fenced block of README.
#[derive(Debug)]
struct Block {
    line: usize,
    language: String,
    tag: String,
    text: String,
}

#[derive(Debug, PartialEq)]
enum Part {
    /// In the reader's terminal, or in one of its own.
    Run { terminal: Option<String>, interrupt: bool },
    /// Not run; true: the server is started in its place.
    Leave { server: bool },
    /// What the last block, or a terminal, shows.
    Shown { terminal: Option<String> },
    /// Not for a shell.
    Other,
}

fn blocks(markdown: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut inside = false;
    for (line, text) in (1..).zip(markdown.lines()) {
        if let Some(info) = text.trim_start().strip_prefix("```") {
            inside = !inside;
            if inside {
                let (language, tag) = info.split_once(' ').unwrap_or((info, ""));
                let (language, tag) = (language.to_owned(), tag.trim().to_owned());
                found.push(Block { line, language, tag, text: String::new() });
            }
        } else if inside {
            let block = found.last_mut().expect("a block that was begun");
            block.text.push_str(text);
            block.text.push('\n');
        }
    }
    assert!(!inside, "a block without an end");
    found
}

fn part(block: &Block) -> Result<Part, String> {
    let (words, why) = match block.tag.split_once("not-run:") {
        Some((words, why)) => (words.trim(), Some(why.trim())),
        None => (block.tag.as_str(), None),
    };
    match (block.language.as_str(), words, why) {
        ("sh", "" | "server", Some(why)) if !why.is_empty() => Ok(Part::Leave { server: words == "server" }),
        ("sh", "tour", None) => Ok(Part::Run { terminal: None, interrupt: false }),
        ("sh", "tour interrupt=server", None) => Ok(Part::Run { terminal: None, interrupt: true }),
        ("sh", words, None) if words.starts_with("tour=") => {
            Ok(Part::Run { terminal: Some(words["tour=".len()..].to_owned()), interrupt: false })
        }
        ("text", words, None) => Ok(Part::Shown { terminal: words.strip_prefix("of=").map(str::to_owned) }),
        ("sh" | "bash" | "shell" | "console" | "zsh", ..) => Err(format!(
            "README, line {}: ```{} {}: tag it `sh tour` or `sh not-run: WHY`",
            block.line, block.language, block.tag
        )),
        _ => Ok(Part::Other),
    }
}

/// Whether a line shows what README shows.
fn shows(line: &str, wanted: &str) -> bool {
    let mut rest = line;
    wanted.trim_end().split('…').all(|piece| match rest.find(piece) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}

/// A shell that is fed block by block, as by somebody who types. With it end all that it started.
struct Terminal {
    shell: Child,
    input: ChildStdin,
    log: Log,
    /// How many lines were there before the last block.
    before: usize,
    typed: usize,
}

impl Terminal {
    fn open(folder: &Path, environment: &BTreeMap<&str, String>) -> Self {
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc", "-eu"]).current_dir(folder).process_group(0);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RELEVO_")) {
            command.env_remove(name);
        }
        command.envs(environment);
        let mut shell = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tour needs bash");
        let log = Log::default();
        log.follow(shell.stdout.take().expect("stdout is piped"));
        log.follow(shell.stderr.take().expect("stderr is piped"));
        let input = shell.stdin.take().expect("stdin is piped");
        Self { shell, input, log, before: 0, typed: 0 }
    }

    /// Types a block; its commands get no input of their own.
    fn begin(&mut self, commands: &str) {
        self.before = self.log.lines().len();
        self.typed += 1;
        let typed = format!("{{\n{commands}}} </dev/null\n");
        self.input.write_all(typed.as_bytes()).expect("the shell reads");
    }

    /// Types a block and waits until it is done.
    fn run(&mut self, commands: &str, line: usize) {
        self.begin(commands);
        let done = format!("tour: block {} is done", self.typed);
        // A command's last line may have no end.
        writeln!(self.input, "printf '\\n%s\\n' '{done}'").expect("the shell reads");
        until(&format!("README's block at line {line}"), Duration::from_secs(120), || {
            let ended = self.shell.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "README, line {line}: failed ({ended:?}):\n{commands}\n{}", self.log.text());
            self.log.lines().contains(&done).then_some(())
        });
    }

    fn shown(&self, since: usize) -> Vec<String> {
        self.log.lines().split_off(since)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.shell), Signal::KILL);
        let _ = self.shell.wait();
    }
}

/// The folder of somebody who has run `cargo xtask run`, and what runs there.
struct Tour {
    folder: TempDir,
    environment: BTreeMap<&'static str, String>,
    port: String,
    server: Option<Server>,
    reader: Terminal,
    others: BTreeMap<String, Terminal>,
    /// How many lines the other terminals had before the reader's last block.
    before: BTreeMap<String, usize>,
}

impl Tour {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("relevo-tour-").tempdir().expect("a temporary folder");
        let release = folder.path().join("target/release");
        std::fs::create_dir_all(&release).expect("a folder can be made");
        symlink(binary::relevo(), release.join("relevo")).expect("a link to the binary");
        for plugin in ["tareas", "efectivos", "panel"] {
            binary::install_plugin(plugin, &folder.path().join("data/plugins"));
        }
        let port = free_port();
        let environment = BTreeMap::from([
            ("RELEVO_LISTEN", format!("127.0.0.1:{port}")),
            ("NO_COLOR", "1".into()),
            // A reader's proxy is not for this machine.
            ("no_proxy", "127.0.0.1".into()),
            ("LC_ALL", "C.UTF-8".into()),
        ]);
        let reader = Terminal::open(folder.path(), &environment);
        Self { folder, environment, port, server: None, reader, others: BTreeMap::new(), before: BTreeMap::new() }
    }

    /// What `cargo xtask run` does when all is built.
    fn serve(&mut self) {
        let mut command = Command::new(binary::relevo());
        command.args(["serve", "--demo"]).current_dir(self.folder.path());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RELEVO_")) {
            command.env_remove(name);
        }
        command.envs(&self.environment);
        self.server = Some(Server::listening(Process::start(command)).ready());
    }

    fn run(&mut self, terminal: Option<String>, block: &Block) {
        let commands = block.text.replace(PORT, &self.port);
        self.before = self.others.iter().map(|(name, other)| (name.clone(), other.log.lines().len())).collect();
        match terminal {
            None => self.reader.run(&commands, block.line),
            Some(name) => {
                let mut other = Terminal::open(self.folder.path(), &self.environment);
                other.begin(&commands);
                self.others.insert(name, other);
            }
        }
    }

    fn check(&self, terminal: Option<&String>, block: &Block) {
        let shown = || match terminal {
            None => self.reader.shown(self.reader.before),
            Some(name) => {
                let other = self.others.get(name).unwrap_or_else(|| panic!("README has no `tour={name}`"));
                other.shown(self.before.get(name).copied().unwrap_or(0))
            }
        };
        for wanted in block.text.replace(PORT, &self.port).lines().filter(|line| !line.is_empty()) {
            // The reader's block is done; what it wrote may still be on its way through a pipe.
            let deadline = Instant::now() + SOON;
            while !shown().iter().any(|line| shows(line, wanted)) {
                let late = Instant::now() > deadline;
                assert!(
                    !late,
                    "README, line {}: never came: {wanted}\ncame:\n{}\nthe server's log:\n{}",
                    block.line,
                    shown().join("\n"),
                    std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
                );
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
    }
}

/// Not one of those that the system gives to other tests in the meantime, while the server restarts.
fn free_port() -> String {
    let mut random = Random::new(u64::from(std::process::id()));
    until("a free port", SOON, || {
        let port = 20_000 + u16::try_from(random.below(12_000)).expect("below 12,000");
        TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port.to_string())
    })
}

fn readme() -> Vec<Block> {
    blocks(&read_to_string(binary::workspace().join("README.md")).expect("README.md"))
}

#[test]
fn the_readme_s_tour_works_word_for_word() {
    let mut tour = Tour::new();
    for block in readme() {
        match part(&block).unwrap_or_else(|wrong| panic!("{wrong}")) {
            Part::Run { terminal, interrupt } => {
                if interrupt {
                    let server = tour.server.take().expect("a server that runs");
                    server.process.signal(Signal::INT);
                    assert!(server.process.wait(SOON).status.success(), "Ctrl-C");
                }
                tour.run(terminal, &block);
            }
            Part::Leave { server: true } => tour.serve(),
            Part::Shown { terminal } => tour.check(terminal.as_ref(), &block),
            Part::Leave { server: false } | Part::Other => {}
        }
    }
    assert!(tour.reader.typed >= 5, "a tour of {} blocks", tour.reader.typed);
}

#[test]
fn each_block_of_commands_in_the_readme_says_whether_it_is_run() {
    let wrong: Vec<String> = readme().iter().filter_map(|block| part(block).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let untagged = blocks("```sh\nrm -r .\n```\n```bash tour\nls\n```\n```sh not-run:\nls\n```\n```toml\na = 1\n```\n");
    let refused: Vec<bool> = untagged.iter().map(|block| part(block).is_err()).collect();
    assert_eq!(refused, [true, true, true, false]);
}

#[test]
fn what_the_readme_shows_is_looked_for_with_its_gaps() {
    assert!(shows("-- connected at e:5", "-- connected at …"));
    assert!(shows(r#"x tasks {"old_status":"programada","new":1}"#, "… tasks …\"programada\"…"));
    assert!(!shows("new before old", "…old…new…"));
    assert!(!shows("-- resumed at e:5", "-- connected"));
}
