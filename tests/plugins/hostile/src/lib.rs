//! A plugin for tests. It sends each event's row to the channel `hostile`; what its `[config]` names
//! under `do` it does instead, at the event whose key is `at` (without `at`: at each). With `short` it reads
//! the row and sends none of it.
//!
//! Written against the bare contract: the SDK would not let it break the rules.
#![cfg(target_arch = "wasm32")]
#![expect(clippy::unwrap_used, reason = "its panics are what the tests are about")]

use std::cell::RefCell;
use std::fmt::Write as _;

use serde_json::Value;

mod bindings {
    #![expect(unsafe_code, reason = "generated")]
    wit_bindgen::generate!({ path: "../../../wit", world: "router" });
    super::bindings::export!(Hostile with_types_in self);
    use super::Hostile;
}

use bindings::exports::relevo::plugin::{lifecycle, route};
use bindings::relevo::plugin::types::{Batch, Error, Event, Message, Messages, Span};
use bindings::relevo::plugin::{log, lookup, metrics, state};

struct Hostile;

#[derive(Default)]
struct Config {
    action: String,
    at: Option<String>,
    /// Batches that this instance has seen.
    batches: u64,
}

thread_local! {
    static CONFIG: RefCell<Config> = RefCell::default();
}

impl lifecycle::Guest for Hostile {
    fn init(setup: lifecycle::Setup) -> Result<(), Error> {
        let config: Value = serde_json::from_str(&setup.config).map_err(|e| Error::Config(e.to_string()))?;
        let action = config["do"].as_str().unwrap_or_default().to_owned();
        match action.as_str() {
            "init-config" => return Err(Error::Config(format!("{} can't work with this", setup.plugin))),
            "init-trap" => panic!("in init"),
            "init-loop" => spin(),
            "init-state" => drop(state::get("key")),
            _ => {}
        }
        let at = config["at"].as_str().map(str::to_owned);
        CONFIG.set(Config { action, at, batches: 0 });
        Ok(())
    }
}

impl route::Guest for Hostile {
    fn route(batch: Batch) -> Result<Messages, Error> {
        let (action, at, age) = CONFIG.with_borrow_mut(|config| {
            config.batches += 1;
            (config.action.clone(), config.at.clone(), config.batches)
        });
        let mut out = Out::default();
        for (index, event) in batch.events.iter().enumerate() {
            let key = batch.text(event.key);
            if at.as_deref().is_none_or(|at| at == key) {
                misbehave(&action, index as u32, &batch, age, &mut out)?;
            }
            let row = batch.text(event.after);
            let data = if row.is_empty() || action == "short" { "null" } else { row };
            out.send(index as u32, "hostile", key, data);
        }
        Ok(out.0)
    }
}

impl Batch {
    fn text(&self, span: Span) -> &str {
        std::str::from_utf8(&self.arena[span.start as usize..][..span.len as usize]).unwrap()
    }
}

/// Messages as they go out, without any check.
struct Out(Messages);

impl Default for Out {
    fn default() -> Self {
        Self(Messages { arena: vec![], items: vec![] })
    }
}

impl Out {
    fn put(&mut self, bytes: &[u8]) -> Span {
        let start = self.0.arena.len() as u32;
        self.0.arena.extend_from_slice(bytes);
        Span { start, len: bytes.len() as u32 }
    }

    fn send(&mut self, event: u32, channel: &str, key: &str, data: &str) {
        let message = Message {
            event,
            flags: 0,
            channel: self.put(channel.as_bytes()),
            key: self.put(key.as_bytes()),
            kind: self.put(b"hostile"),
            event_type: self.put(b"hostile_event"),
            data: self.put(data.as_bytes()),
        };
        self.0.items.push(message);
    }

    fn last(&mut self) -> &mut Message {
        self.0.items.last_mut().unwrap()
    }
}

fn misbehave(action: &str, index: u32, batch: &Batch, age: u64, out: &mut Out) -> Result<(), Error> {
    let event: &Event = &batch.events[index as usize];
    match action {
        "" | "short" => {}
        // Crashes.
        "trap" => panic!("as configured"),
        "stack" => drop(deep(1)),
        "exit" => std::process::exit(3),
        "wild-write" => wild_write(),
        // Too much of something.
        "loop" => spin(),
        "allocate" => allocate(),
        "big-output" => (0..3).for_each(|_| out.send(index, "hostile", "", &format!("\"{}\"", "x".repeat(200_000)))),
        "huge-output" => drop(out.put(&vec![b'x'; 8 << 20])),
        "many-messages" => (0..24_000).for_each(|_| out.send(index, "hostile", "", "1")),
        "overlapping" => {
            let data = out.put(format!("\"{}\"", "x".repeat(100_000)).as_bytes());
            for _ in 0..1000 {
                out.send(index, "hostile", "", "1");
                out.last().data = data;
            }
        }
        "state-overflow" => (0_u64..).for_each(|n| state::set(&format!("{n}"), &[0; 60_000])),
        "state-value" => state::set("large", &vec![0; 1 << 20]),
        "log-flood" => (0..100_000).for_each(|n| log::emit(log::Level::Debug, &format!("line {n}"))),
        "stdout-flood" => (0..100_000).for_each(|n| println!("line {n}")),
        // What the contract forbids.
        "bad-span" => {
            out.send(index, "hostile", "", "1");
            out.last().data.start = u32::MAX - 1;
        }
        "bad-event" => out.send(batch.events.len() as u32, "hostile", "", "1"),
        "bad-order" => {
            out.send(index + 1, "hostile", "", "1");
            out.send(index, "hostile", "", "1");
        }
        "bad-utf8" => {
            let key = out.put(b"\xff\xfe");
            out.send(index, "hostile", "", "1");
            out.last().key = key;
        }
        "bad-json" => out.send(index, "hostile", "", "{not json"),
        "bad-channel" => out.send(index, "no spaces, please", "", "1"),
        "bad-lookup" => drop(lookup::row("secrets", "1")),
        "bad-metric" => metrics::add("No Such Name", 1),
        "add-to-text" => {
            state::set("text", b"abc");
            state::add("text", 1);
        }
        // What the contract allows it to say.
        "poison" => return Err(Error::Poison((index, "bad to eat".into()))),
        "poison-nobody" => return Err(Error::Poison((u32::MAX, "nobody".into()))),
        "transient" => return Err(Error::Transient("not now".into())),
        "transient-once" if age == 1 => return Err(Error::Transient("not now".into())),
        "transient-once" => {}
        "fatal" => return Err(Error::Fatal("never again".into())),
        // What it finds out about the world.
        "look-around" => out.send(index, "hostile", "", &look_around().to_string()),
        "sleep" => std::thread::sleep(std::time::Duration::from_secs(3600)),
        // Uses everything, and behaves.
        "work" => work(index, batch.text(event.key), out),
        "remember" => remember(index, age, out),
        // What `relevo plugin check` has to find.
        "hash-order" => out.send(index, "hostile", "", &hash_order().to_string()),
        "batch-size" => out.send(index, "hostile", "", &batch.events.len().to_string()),
        "careless" => {
            let row: Value = serde_json::from_str(batch.text(event.after)).unwrap();
            out.send(index, "hostile", "", &serde_json::json!(row["titulo"].as_str().unwrap()).to_string());
        }
        other => return Err(Error::Config(format!("do = {other:?} is not known"))),
    }
    Ok(())
}

fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}

#[expect(unconditional_recursion, reason = "it is to overflow the stack")]
fn deep(n: u64) -> u64 {
    let room = std::hint::black_box([n; 256]);
    room[(n % 256) as usize] + deep(n + 1)
}

fn allocate() {
    let mut all = Vec::new();
    loop {
        all.push(vec![1_u8; 1 << 20]);
        std::hint::black_box(&all);
    }
}

#[expect(unsafe_code, reason = "an access outside the memory is what is tested")]
fn wild_write() {
    // SAFETY: there is none; the sandbox has to stop it.
    unsafe { std::hint::black_box(u32::MAX as usize as *mut u8).write_volatile(1) };
}

/// The order of a `HashMap` changes with each map that an instance makes.
fn hash_order() -> Value {
    (0..20_u32).map(|n| (n, ())).collect::<std::collections::HashMap<_, _>>().into_keys().collect()
}

fn look_around() -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    // The order of a HashMap shows the seed.
    let map: std::collections::HashMap<u32, ()> = (0..20).map(|n| (n, ())).collect();
    let order = map.keys().fold(String::new(), |mut text, n| {
        write!(text, "{n} ").unwrap();
        text
    });
    println!("looking around");
    eprint!("unfinished");
    serde_json::json!({
        "now_us": now.as_micros() as u64,
        "variables": std::env::vars().count(),
        "arguments": std::env::args().count(),
        "file": std::fs::read_to_string("/etc/passwd").is_ok(),
        "folder": std::fs::read_dir(".").is_ok(),
        "stdin": std::io::read_to_string(std::io::stdin()).unwrap_or_default(),
        "order": order,
    })
}

fn work(index: u32, key: &str, out: &mut Out) {
    let total = state::add("total", 1);
    state::set(&format!("seen:{key}"), key.as_bytes());
    state::delete("seen:gone");
    let seen = state::scan("seen:", None, 100).len();
    let name = lookup::row("usuarios", key).unwrap_or_else(|| "null".into());
    metrics::add("events", 1);
    metrics::set("seen", seen as f64);
    log::emit(log::Level::Info, "worked");
    out.send(index, "hostile", "work", &format!(r#"{{"total":{total},"seen":{seen},"user":{name}}}"#));
}

/// Guest memory beside state: the same only as long as the instance lives.
fn remember(index: u32, age: u64, out: &mut Out) {
    out.send(index, "hostile", "", &format!(r#"{{"state":{},"memory":{age}}}"#, state::add("batches", 1)));
}
