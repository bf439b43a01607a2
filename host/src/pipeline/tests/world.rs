//! A whole pipeline in a test: a real journal, real components, and a bank that plays the source.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use super::super::context::Crash;
use super::super::{Health, Pipelines};
use crate::config::{Config, JournalSettings};
use crate::event::{Body, Change, Event, Micros, Number, Operation, Position, Published};
use crate::journal::{Append, Appended, Control, Journal, Record, RecordBody, SnapshotPart};
use crate::message::{ChannelName, Message};
use crate::sandbox::Sandbox;
use crate::store::Package;

/// Where the components are that `cargo xtask test` built.
fn built() -> PathBuf {
    let ready = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/plugins/ready");
    let folder = std::env::var_os("RELEVO_TEST_PLUGINS").map_or(ready, PathBuf::from);
    assert!(
        folder.join("ledger.wasm").exists(),
        "no ledger.wasm in {}: the plugins for tests are not built; run `cargo xtask test`",
        folder.display()
    );
    folder
}

/// One for all worlds of a process: an engine is dear.
pub(super) fn sandbox() -> Arc<Sandbox> {
    static SANDBOX: OnceLock<Arc<Sandbox>> = OnceLock::new();
    SANDBOX.get_or_init(|| Arc::new(Sandbox::new(&built().join("compiled")).unwrap())).clone()
}

pub(super) struct World {
    pub(super) folder: tempfile::TempDir,
    pub(super) journal: Journal,
    pub(super) bank: Bank,
    sandbox: Arc<Sandbox>,
    /// The settings, as text; more can be put behind them.
    pub(super) settings: String,
}

/// What is left of a world when its process died.
pub(super) struct Gone {
    folder: tempfile::TempDir,
    bank: Bank,
    settings: String,
}

const CHANNELS: &str = "
    [[channel]]
    pattern = 'ledger'
    [[channel]]
    pattern = 'ledger:board'
    kind = 'state'
    [[channel]]
    pattern = 'news*'
    [[channel]]
    pattern = 'hostile'
    [[channel]]
    pattern = 'stamped'
";

const LEDGER: &str = "
    [[pipeline]]
    name = 'ledger'
    plugins = ['ledger']
";

impl World {
    /// With the pipeline `ledger`, and `more` lines of `[plugins]`.
    pub(super) async fn with_ledger(more: &str) -> Self {
        let mut world = Self::new(more).await;
        world.settings.push_str(LEDGER);
        world.place("ledger", "ledger");
        world
    }

    pub(super) async fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plugins = folder.path().join("plugins");
        std::fs::create_dir(&plugins).unwrap();
        let settings = format!(
            "data = {:?}\n[plugins]\nfolder = {plugins:?}\ngrants = 'open'\nretries = 1\nretry_after = '1ms'\n{more}\n
             [[source]]\nname = 'bank'\nurl = 'sqlite:bank.db'\n{CHANNELS}",
            folder.path()
        );
        let journal = Journal::open(folder.path(), &JournalSettings::default(), &[]).await.unwrap();
        let sandbox = sandbox();
        Self { folder, journal, bank: Bank::default(), sandbox, settings }
    }

    /// The same folder after the process that had it open is gone: `journal` must be, too.
    pub(super) async fn reopened(gone: Gone) -> Self {
        let Gone { folder, bank, settings } = gone;
        let journal = Journal::open(folder.path(), &JournalSettings::default(), &[]).await.unwrap();
        Self { folder, journal, bank, sandbox: sandbox(), settings }
    }

    /// Lets go of the journal, as a process that dies does.
    pub(super) fn gone(self) -> Gone {
        Gone { folder: self.folder, bank: self.bank, settings: self.settings }
    }

    /// Puts a plugin of the tests into the plugins folder under a name.
    pub(super) fn place(&self, plugin: &str, name: &str) {
        let manifest = std::fs::read_to_string(built().join(format!("{plugin}.toml"))).unwrap();
        self.place_with(
            plugin,
            name,
            &manifest.replace(&format!("name = \"{plugin}\""), &format!("name = \"{name}\"")),
        );
    }

    pub(super) fn place_with(&self, plugin: &str, name: &str, manifest: &str) {
        let to = self.folder.path().join("plugins");
        std::fs::copy(built().join(format!("{plugin}.wasm")), to.join(format!("{name}.wasm"))).unwrap();
        std::fs::write(to.join(format!("{name}.toml")), manifest).unwrap();
    }

    /// A component of the tests with a manifest, as it is brought to a desk.
    pub(super) fn package(plugin: &str, manifest: String) -> Package {
        Package { component: std::fs::read(built().join(format!("{plugin}.wasm"))).unwrap(), manifest, signature: None }
    }

    pub(super) fn config(&self) -> Arc<Config> {
        Arc::new(toml::from_str(&self.settings).unwrap())
    }

    pub(super) async fn start(&self) -> Running {
        self.start_crashing(None).await
    }

    pub(super) async fn start_crashing(&self, crash: Option<Arc<dyn Fn() -> bool + Send + Sync>>) -> Running {
        let (stop, stopping) = watch::channel(false);
        let (config, sandbox, journal) = (self.config(), self.sandbox.clone(), self.journal.clone());
        let pipelines = Pipelines::start_with(config, sandbox, journal, stopping, Crash(crash)).await.unwrap();
        Running { pipelines, journal: self.journal.clone(), _stop: stop }
    }

    /// Appends what the bank did since the last time, one transaction for each step.
    pub(super) async fn append(&mut self) -> Number {
        let events = self.bank.take();
        self.append_events(events).await
    }

    pub(super) async fn append_events(&self, events: Vec<Event>) -> Number {
        let position = events.last().map_or(self.bank.position(), |event| event.position);
        let append = Append {
            source: "bank".into(),
            incarnation: self.bank.incarnation.clone().into(),
            position,
            token: "".into(),
            events: events.into_iter().map(Arc::new).collect(),
            complete: true,
            snapshot: None,
        };
        match self.journal.append(append).await.unwrap() {
            Appended::Applied { last, .. } => last,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn publish(&self, at: u64, channel: &str, data: &str) -> Number {
        let event = Event {
            number: Number::ZERO,
            source: "api".into(),
            position: Position { commit: at, index: 0 },
            committed_at: Micros(at),
            transaction: at,
            last_of_transaction: true,
            late: false,
            body: Body::Published(Published {
                channel: channel.into(),
                kind: "news".into(),
                event_type: "news_flash".into(),
                data: data.into(),
                by: "7".into(),
                idempotency_key: None,
            }),
        };
        let append = Append {
            source: "api".into(),
            incarnation: "a1".into(),
            position: event.position,
            token: "".into(),
            events: vec![Arc::new(event)],
            complete: true,
            snapshot: None,
        };
        match self.journal.append(append).await.unwrap() {
            Appended::Applied { last, .. } => last,
            other => panic!("{other:?}"),
        }
    }

    /// The clock's watermark.
    pub(super) async fn tick(&self, at: u64) -> Number {
        let event = Event {
            number: Number::ZERO,
            source: "clock".into(),
            position: Position { commit: at, index: 0 },
            committed_at: Micros(at),
            transaction: at,
            last_of_transaction: true,
            late: false,
            body: Body::Tick { up_to: Micros(at) },
        };
        let append = Append {
            source: "clock".into(),
            incarnation: "clock".into(),
            position: event.position,
            token: "".into(),
            events: vec![Arc::new(event)],
            complete: true,
            snapshot: None,
        };
        match self.journal.append(append).await.unwrap() {
            Appended::Applied { last, .. } => last,
            other => panic!("{other:?}"),
        }
    }

    /// The first request for a snapshot after a number.
    pub(super) async fn request(&self, after: Number) -> Number {
        self.record_after(after, |record| matches!(record.body, RecordBody::Control(Control::SnapshotWanted { .. })))
            .await
    }

    /// Waits for a record.
    pub(super) async fn record_after(&self, mut after: Number, is: impl Fn(&Record) -> bool) -> Number {
        let mut head = self.journal.watch_head();
        loop {
            head.borrow_and_update();
            let records = self.journal.read(after, 1 << 20).await.unwrap();
            if let Some(found) = records.iter().find(|record| is(record)) {
                return found.first;
            }
            match records.last() {
                Some(last) => after = last.last,
                None => head.changed().await.unwrap(),
            }
        }
    }

    /// The bank's rows as they are now, those that the journal has not seen yet too.
    pub(super) async fn answer(&mut self, request: Number) {
        for append in self.snapshot(request) {
            self.journal.append(append).await.unwrap();
        }
    }

    /// The same, to be appended later; in chunks of three.
    pub(super) fn snapshot(&mut self, request: Number) -> Vec<Append> {
        let contains = self.bank.position();
        self.bank.look_up();
        let part = SnapshotPart { pipeline: "ledger".into(), request, contains };
        let mut chunks: Vec<Vec<Event>> = self.bank.rows().chunks(3).map(<[Event]>::to_vec).collect();
        if chunks.is_empty() {
            chunks.push(Vec::new());
        }
        let last = chunks.len() - 1;
        let chunk = |(at, events): (usize, Vec<Event>)| Append {
            source: "bank".into(),
            incarnation: self.bank.incarnation.clone().into(),
            position: contains,
            token: "".into(),
            events: events.into_iter().map(Arc::new).collect(),
            complete: at == last,
            snapshot: Some(part.clone()),
        };
        chunks.into_iter().enumerate().map(chunk).collect()
    }

    /// No rows, as they were before anything happened.
    pub(super) fn snapshot_of_the_beginning(&self, request: Number) -> Vec<Append> {
        let contains = Position::default();
        vec![Append {
            source: "bank".into(),
            incarnation: self.bank.incarnation.clone().into(),
            position: contains,
            token: "".into(),
            events: Vec::new(),
            complete: true,
            snapshot: Some(SnapshotPart { pipeline: "ledger".into(), request, contains }),
        }]
    }

    /// Answers the next request, whatever its number.
    pub(super) async fn answer_next(&mut self) {
        let request = self.request(Number::ZERO).await;
        self.answer(request).await;
    }

    /// What was committed for a stream channel, from the log itself: each commit's messages in order.
    pub(super) async fn sent(&self, channel: &str) -> Vec<Arc<Message>> {
        let (mut after, mut sent) = (Number::ZERO, Vec::new());
        loop {
            let records = self.journal.read(after, 1 << 20).await.unwrap();
            let Some(last) = records.last() else { return sent };
            after = last.last;
            for record in &records {
                if let RecordBody::Commit(commit) = &record.body {
                    sent.extend(commit.messages.iter().filter(|message| message.channel.as_str() == channel).cloned());
                }
            }
        }
    }

    /// A state channel as `key=data` in the order of keys.
    pub(super) async fn board(&self) -> BTreeMap<String, String> {
        let channel = ChannelName::new("ledger:board").unwrap();
        let state = self.journal.state_channel(&channel).await.unwrap();
        let shown = |message: &Arc<Message>| (message.key.clone().unwrap_or_default().into(), message.data.to_string());
        state.messages.iter().map(shown).collect()
    }

    /// The ledger's state as it is committed.
    pub(super) async fn state(&self) -> BTreeMap<String, String> {
        let stored = self.journal.pipeline("ledger").await.unwrap().unwrap();
        let entries = stored.state.get("ledger").into_iter().flatten();
        entries.map(|(key, value)| (key.to_string(), String::from_utf8_lossy(value).into())).collect()
    }

    pub(super) async fn dead_letters(&self) -> Vec<(Number, String)> {
        let controls = self.journal.controls(Number::ZERO, 10_000).await.unwrap();
        let letter = |(_, control)| match control {
            Control::DeadLetter(letter) => Some((letter.number, letter.reason.to_string())),
            _ => None,
        };
        controls.into_iter().filter_map(letter).collect()
    }
}

/// Pipelines that run.
pub(super) struct Running {
    pub(super) pipelines: Pipelines,
    journal: Journal,
    _stop: watch::Sender<bool>,
}

impl Running {
    /// Waits until the ledger is done with everything up to a number.
    pub(super) async fn done(&self, number: Number) {
        self.until("ledger", |health| health.cursor >= number).await;
    }

    pub(super) async fn until(&self, pipeline: &str, mut is: impl FnMut(&Health) -> bool) {
        let limit = std::time::Duration::from_secs(60);
        let waited = tokio::time::timeout(limit, self.pipelines.until(pipeline, |health| is(health))).await;
        assert!(waited.is_ok(), "{:#?} head {}", self.pipelines.health(), self.journal.head());
    }

    pub(super) fn health(&self, pipeline: &str) -> Health {
        self.pipelines.health().into_iter().find(|health| &*health.pipeline == pipeline).unwrap()
    }
}

/// A database with accounts and the people who own them.
pub(super) struct Bank {
    pub(super) incarnation: String,
    at: u64,
    accounts: BTreeMap<u64, (i64, u64)>,
    people: BTreeMap<u64, String>,
    /// What the board must show: the owner's name as it was when the account changed.
    board: BTreeMap<String, String>,
    /// Changes that no append has had yet.
    fresh: Vec<Event>,
    random: u64,
}

impl Default for Bank {
    fn default() -> Self {
        Self {
            incarnation: "i1".into(),
            at: 0,
            accounts: BTreeMap::new(),
            people: BTreeMap::new(),
            board: BTreeMap::new(),
            fresh: Vec::new(),
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }
}

impl Bank {
    pub(super) fn position(&self) -> Position {
        Position { commit: self.at, index: 0 }
    }

    pub(super) fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.fresh)
    }

    pub(super) fn below(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    pub(super) fn person(&mut self, id: u64, name: &str) {
        let operation = if self.people.contains_key(&id) { Operation::Update } else { Operation::Insert };
        self.people.insert(id, name.into());
        self.change("people", operation, id, Some(format!("{{\"id\":{id},\"name\":\"{name}\",\"secret\":1}}")));
    }

    pub(super) fn account(&mut self, id: u64, n: i64, owner: u64) {
        let operation = if self.accounts.contains_key(&id) { Operation::Update } else { Operation::Insert };
        self.accounts.insert(id, (n, owner));
        self.board.insert(id.to_string(), self.shown(n, owner));
        self.change("accounts", operation, id, Some(row(id, n, owner)));
    }

    pub(super) fn close_account(&mut self, id: u64) {
        if self.accounts.remove(&id).is_some() {
            self.board.remove(&id.to_string());
            self.change("accounts", Operation::Delete, id, None);
        }
    }

    pub(super) fn truncate(&mut self) {
        self.accounts.clear();
        self.board.clear();
        self.change("accounts", Operation::Truncate, 0, None);
    }

    /// An account that makes the plugin do what `says` says; it is not among the rows.
    pub(super) fn bad_account(&mut self, id: u64, says: &str) {
        self.change("accounts", Operation::Insert, id, Some(format!("{{\"id\":{id},\"n\":\"{says}\",\"owner\":1}}")));
    }

    /// A change that happens while nobody looks: neither in the stream nor in a transaction log.
    pub(super) fn restored(&mut self, incarnation: &str, accounts: &[(u64, i64, u64)]) {
        self.incarnation = incarnation.into();
        self.fresh.clear();
        self.accounts = accounts.iter().map(|(id, n, owner)| (*id, (*n, *owner))).collect();
    }

    /// Something of all kinds.
    pub(super) fn live(&mut self, steps: usize) {
        for _ in 0..steps {
            let (id, owner, n) = (self.below(12), self.below(4), self.below(100) as i64);
            match self.below(20) {
                0..4 => self.close_account(id),
                4..7 => self.person(owner, &format!("name{n}")),
                7 if n < 20 => self.truncate(),
                _ => self.account(id, n, owner),
            }
        }
    }

    pub(super) fn sum(&self) -> i64 {
        self.accounts.values().map(|(n, _)| n).sum()
    }

    pub(super) fn board(&self) -> BTreeMap<String, String> {
        self.board.clone()
    }

    fn shown(&self, n: i64, owner: u64) -> String {
        serde_json::json!({"n": n, "owner": self.people.get(&owner)}).to_string()
    }

    /// A snapshot's rows are shown with the names of its moment.
    fn look_up(&mut self) {
        let shown = |(id, (n, owner)): (&u64, &(i64, u64))| (id.to_string(), self.shown(*n, *owner));
        self.board = self.accounts.iter().map(shown).collect();
    }

    fn change(&mut self, table: &str, operation: Operation, key: u64, after: Option<String>) {
        self.at += 1;
        let update = operation == Operation::Update;
        let changed = if update { vec!["n".into(), "owner".into(), "name".into()] } else { Vec::new() };
        let key = if operation == Operation::Truncate { String::new() } else { key.to_string() };
        self.fresh.push(Event {
            number: Number::ZERO,
            source: "bank".into(),
            position: self.position(),
            committed_at: Micros(self.at * 1000),
            transaction: self.at,
            last_of_transaction: true,
            late: false,
            body: Body::Change(Change {
                schema: "main".into(),
                table: table.into(),
                operation,
                key: key.into(),
                before: (update || operation == Operation::Delete).then(|| "{}".into()),
                after: after.map(Into::into),
                changed,
                missing: Vec::new(),
            }),
        });
    }

    /// As a snapshot has them: accounts before the people who own them.
    fn rows(&self) -> Vec<Event> {
        let accounts = self.accounts.iter().map(|(id, (n, owner))| ("accounts", *id, row(*id, *n, *owner)));
        let people =
            self.people.iter().map(|(id, name)| ("people", *id, format!("{{\"id\":{id},\"name\":\"{name}\"}}")));
        let rows = accounts.chain(people).enumerate().map(|(index, (table, id, after))| {
            let mut event = super::change(self.at, table, Operation::Snapshot, &id.to_string(), &after);
            event.position.index = u32::try_from(index).unwrap() + 1;
            event.last_of_transaction = false;
            event
        });
        rows.collect()
    }
}

fn row(id: u64, n: i64, owner: u64) -> String {
    format!("{{\"id\":{id},\"n\":{n},\"owner\":{owner}}}")
}
