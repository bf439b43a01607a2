//! Log: a plugin's lines go to the server's log under its name; so do its stdout and stderr.

use wasmtime::component::{HasSelf, Linker};

use super::bindings::log as wit;
use super::host::Host;
use super::notes::{By, Level, Notes};
use crate::event::Name;
use crate::journal::record::PluginVersion;

/// The longest line, in bytes; the rest of it is cut off.
const MAX_LINE: usize = 4096;
/// How much of stderr is kept to explain a crash, in bytes.
const LAST_WORDS: usize = 1024;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    wit::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)
}

impl wit::Host for Host {
    fn emit(&mut self, level: wit::Level, text: String) -> wasmtime::Result<()> {
        self.log.line(level, &text);
        Ok(())
    }
}

/// Where the standard streams end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

pub(super) struct Log {
    pipeline: Name,
    plugin: PluginVersion,
    /// Lines for a batch.
    limit: u32,
    written: u32,
    dropped: u64,
    /// What came since the last line break.
    out: Vec<u8>,
    err: Vec<u8>,
    last_words: Vec<u8>,
    notes: Notes,
}

impl Log {
    pub(super) fn new(pipeline: Name, plugin: PluginVersion, limit: u32, notes: Notes) -> Self {
        Self { pipeline, plugin, limit, written: 0, dropped: 0, out: vec![], err: vec![], last_words: vec![], notes }
    }

    /// Before a batch.
    pub(super) fn begin(&mut self) {
        self.written = 0;
        self.dropped = 0;
        self.last_words.clear();
    }

    /// After a batch: unfinished lines go out, and it is said how many lines were dropped.
    pub(super) fn end(&mut self) {
        for stream in [Stream::Out, Stream::Err] {
            let rest = std::mem::take(self.pending(stream));
            if !rest.is_empty() {
                self.line(level_of(stream), &String::from_utf8_lossy(&rest));
            }
        }
        if self.dropped > 0 {
            tracing::warn!(
                target: "plugin", pipeline = %self.pipeline, plugin = %self.plugin.plugin, dropped = self.dropped,
                "log lines dropped; limits.log_lines is {} for a batch", self.limit
            );
            let text = format!("{} log lines dropped; limits.log_lines is {} for a batch", self.dropped, self.limit);
            self.notes.say(By::Host, Level::Warn, &self.plugin.version, &text);
            self.dropped = 0;
        }
    }

    /// Takes what the plugin writes to a standard stream.
    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Err {
            self.last_words.extend_from_slice(bytes);
            let too_much = self.last_words.len().saturating_sub(LAST_WORDS);
            self.last_words.drain(..too_much);
        }
        let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = lines.next() {
            let pending = self.pending(stream);
            let room = MAX_LINE.saturating_sub(pending.len());
            pending.extend_from_slice(&piece[..piece.len().min(room)]);
            if lines.peek().is_some() {
                let line = std::mem::take(pending);
                self.line(level_of(stream), &String::from_utf8_lossy(&line));
            }
        }
    }

    /// The end of what it wrote to stderr in this batch: a panic's message, usually.
    pub(super) fn last_words(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.last_words);
        let text = text.split("note: run with").next().unwrap_or_default().trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn pending(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }

    fn line(&mut self, level: wit::Level, text: &str) {
        // A panic's message has some, and a line that is no use to anybody here.
        if text.trim().is_empty() || text.starts_with("note: run with `RUST_BACKTRACE") {
            return;
        }
        if self.written >= self.limit {
            self.dropped += 1;
            return;
        }
        self.written += 1;
        let text = &text[..text.floor_char_boundary(MAX_LINE)];
        macro_rules! emit {
            ($level:ident) => {
                tracing::$level!(target: "plugin", pipeline = %self.pipeline, plugin = %self.plugin.plugin, "{text}")
            };
        }
        let level = match level {
            wit::Level::Trace => {
                emit!(trace);
                Level::Trace
            }
            wit::Level::Debug => {
                emit!(debug);
                Level::Debug
            }
            wit::Level::Info => {
                emit!(info);
                Level::Info
            }
            wit::Level::Warn => {
                emit!(warn);
                Level::Warn
            }
            wit::Level::Error => {
                emit!(error);
                Level::Error
            }
        };
        self.notes.say(By::Plugin, level, &self.plugin.version, text);
    }
}

fn level_of(stream: Stream) -> wit::Level {
    match stream {
        Stream::Out => wit::Level::Info,
        Stream::Err => wit::Level::Warn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: u32) -> Log {
        let plugin = PluginVersion { plugin: "q".into(), version: "1".into() };
        Log::new("p".into(), plugin, lines, Notes::new(10))
    }

    #[test]
    fn lines_beyond_the_limit_are_counted_and_the_next_batch_starts_afresh() {
        let mut log = log(2);
        log.begin();
        log.write(Stream::Out, b"one\ntwo\nthree\nunfin");
        log.write(Stream::Out, b"ished");
        assert_eq!((log.written, log.dropped), (2, 1));
        assert_eq!(log.out, b"unfinished");
        log.end();
        log.begin();
        assert_eq!((log.written, log.dropped, log.out.len()), (0, 0, 0));
        let texts: Vec<_> = log.notes.lines(0, Level::Info).0.into_iter().map(|line| line.text).collect();
        assert_eq!(
            texts,
            ["one".into(), "two".into(), "2 log lines dropped; limits.log_lines is 2 for a batch".into()]
                as [Box<str>; 3]
        );
    }

    #[test]
    fn an_endless_line_takes_no_room_and_the_last_words_are_kept() {
        let mut log = log(2);
        log.write(Stream::Err, &vec![b'x'; 1 << 20]);
        assert_eq!((log.err.len(), log.last_words.len()), (MAX_LINE, LAST_WORDS));
        log.write(Stream::Err, b"\nthread panicked at lib.rs:1:1\nnote: run with `RUST_BACKTRACE=1`");
        assert!(log.last_words().unwrap().ends_with("lib.rs:1:1"));
    }
}
