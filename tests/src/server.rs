//! The running binary: started on a free port, watched, killed, restarted; its log is kept for the
//! report of a failure.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{SOON, until};

/// How many lines of log a failing test shows.
const SHOWN: usize = 80;

/// What the process says, from both its outputs.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<(Mutex<VecDeque<String>>, Condvar)>);

impl Log {
    /// Takes in what comes until its end, on a thread of its own.
    pub fn follow(&self, from: impl Read + Send + 'static) -> std::thread::JoinHandle<()> {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                let mut lines = log.0.0.lock().expect("the log's lock");
                if lines.len() >= 100_000 {
                    lines.pop_front();
                }
                lines.push_back(String::from_utf8_lossy(&line).into_owned());
                log.0.1.notify_all();
            }
        })
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.0.lock().expect("the log's lock").iter().cloned().collect()
    }

    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    pub fn contains(&self, text: &str) -> bool {
        self.0.0.lock().expect("the log's lock").iter().any(|l| l.contains(text))
    }
}

/// A process of the binary, killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pub log: Log,
    followers: Vec<std::thread::JoinHandle<()>>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub log: String,
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?} can't be started: {e}"));
        let log = Log::default();
        let followers = vec![
            log.follow(child.stdout.take().expect("stdout is piped")),
            log.follow(child.stderr.take().expect("stderr is piped")),
        ];
        Self { child, log, followers }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        // It may have ended by itself (a failpoint): then there is nobody to tell.
        let _ = kill_process(pid, signal);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it doesn't end in time.
    pub fn wait(mut self, within: Duration) -> Ended {
        let deadline = Instant::now() + within;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            assert!(Instant::now() < deadline, "the process didn't end within {within:?}");
            std::thread::park_timeout(Duration::from_millis(2));
        };
        for follower in self.followers.drain(..) {
            follower.join().expect("the log's reader");
        }
        Ended { status, log: self.log.text() }
    }

    /// Waits until a line of the log holds a text, or the process has ended.
    pub fn wait_for_line(&mut self, text: &str, within: Duration) -> Option<String> {
        let deadline = Instant::now() + within;
        loop {
            {
                let lines = self.log.0.0.lock().expect("the log's lock");
                if let Some(line) = lines.iter().find(|l| l.contains(text)) {
                    return Some(line.clone());
                }
                // The timeout is for the case that the process ends without another line.
                drop(self.log.0.1.wait_timeout(lines, Duration::from_millis(50)).expect("the log's lock"));
            }
            if !self.runs() || Instant::now() > deadline {
                return None;
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let lines = self.log.lines();
            let from = lines.len().saturating_sub(SHOWN);
            eprintln!("--- the log of process {} (last {SHOWN} lines):", self.child.id());
            for line in &lines[from..] {
                eprintln!("{line}");
            }
        }
    }
}

/// A process that serves.
#[derive(Debug)]
pub struct Server {
    pub process: Process,
    pub address: SocketAddr,
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    /// A header's value; `name` in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| line.split(':').next().is_some_and(|found| found.eq_ignore_ascii_case(name));
        self.head.lines().find(named)?.split_once(':').map(|(_, value)| value.trim())
    }
}

impl Server {
    /// Waits until it says where it listens.
    ///
    /// # Panics
    /// If it ends or keeps silent.
    pub fn listening(mut process: Process) -> Self {
        let Some(line) = process.wait_for_line("listening on ws://", SOON) else {
            panic!("`relevo serve` didn't come to listen:\n{}", process.log.text());
        };
        let (_, rest) = line.split_once("listening on ws://").expect("the line that was found");
        let address = rest.split('/').next().and_then(|a| a.trim().parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}"));
        Self { process, address }
    }

    /// Waits until capture and pipelines run, or the server has ended: then it is none.
    ///
    /// # Panics
    /// If neither comes.
    pub fn ready_unless_it_ends(mut process: Process) -> Option<Self> {
        if process.wait_for_line("listening on ws://", SOON).is_none() && !process.runs() {
            return None;
        }
        Self::listening(process).comes_to_be_ready()
    }

    /// Waits until capture and pipelines run.
    ///
    /// # Panics
    /// If they don't.
    #[must_use]
    pub fn ready(self) -> Self {
        let log = self.process.log.clone();
        self.comes_to_be_ready().unwrap_or_else(|| panic!("the server ended before it was ready:\n{}", log.text()))
    }

    fn comes_to_be_ready(mut self) -> Option<Self> {
        let mut last = (0, String::new());
        let deadline = Instant::now() + SOON;
        while last.0 != 200 {
            if !self.process.runs() {
                return None;
            }
            assert!(Instant::now() < deadline, "not ready: {last:?}");
            last = self.get("/readyz");
            if last.0 != 200 {
                std::thread::park_timeout(Duration::from_millis(10));
            }
        }
        Some(self)
    }

    /// An HTTP request; status 0 if there was no answer.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.request(path, "")
    }

    /// The same by a user of a role.
    pub fn get_as(&self, path: &str, user: &str, role: &str) -> (u16, String) {
        self.request(path, &format!("Authorization: Bearer {}\r\n", crate::token::token(user, role)))
    }

    fn request(&self, path: &str, headers: &str) -> (u16, String) {
        let headers: Vec<String> = headers.lines().map(str::to_owned).collect();
        let answer = self.http("GET", path, &headers, "");
        (answer.status, answer.body)
    }

    /// Any HTTP request; `headers` are whole lines without their ends. Status 0 if there was no answer.
    pub fn http(&self, method: &str, path: &str, headers: &[String], body: &str) -> Answer {
        let answer = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
            let length = body.len();
            write!(
                stream,
                "{method} {path} HTTP/1.1\r\nHost: relevo\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )?;
            let mut text = Vec::new();
            stream.read_to_end(&mut text)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let text = answer().unwrap_or_default();
        let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// Waits until `/readyz` says something.
    pub fn wait_readyz(&self, what: &str, mut fits: impl FnMut(u16, &str) -> bool) -> String {
        let mut last = (0, String::new());
        let deadline = Instant::now() + SOON;
        loop {
            let (status, body) = self.get("/readyz");
            if fits(status, &body) {
                return body;
            }
            assert!(Instant::now() < deadline, "/readyz never showed {what}; last: {last:?}");
            last = (status, body);
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(self) -> Ended {
        self.process.signal(Signal::KILL);
        self.process.wait(SOON)
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(self, within: Duration) -> Ended {
        self.process.signal(Signal::TERM);
        self.process.wait(within)
    }

    /// Memory that the process holds, in bytes.
    pub fn rss(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most memory that the process has held, in bytes.
    pub fn most_memory(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// From now on, the most memory is what it holds from here on.
    ///
    /// # Panics
    /// If the kernel doesn't let us.
    pub fn forget_most_memory(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.process.pid()), "5").expect("Linux's /proc");
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid())).expect("Linux's /proc");
        let line = status.lines().find(|l| l.starts_with(name)).expect("a line of memory");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number of KiB");
        kib * 1024
    }

    /// CPU time that the process used, user and system.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.pid())).expect("Linux's /proc");
        // The command's name, in brackets, may hold spaces: fields are counted behind it.
        let (_, rest) = stat.rsplit_once(") ").expect("a command's name");
        let fields: Vec<&str> = rest.split(' ').collect();
        let ticks: u64 = [11, 12].iter().map(|&i| fields[i].parse::<u64>().expect("clock ticks")).sum();
        Duration::from_millis(ticks * 1000 / 100)
    }
}

/// Waits until a condition holds for a server.
pub fn wait_for(what: &str, look: impl FnMut() -> Option<()>) {
    until(what, SOON, look);
}
