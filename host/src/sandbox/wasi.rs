//! A virtual WASI, for what Rust's standard library imports. Nothing of the machine shows through.
//!
//! stdout and stderr are the plugin's log, the clocks stand at the batch's last event, random numbers
//! come from a seed that is constant for the pipeline, environment and arguments are empty, there are
//! no files, and `exit` is a crash. Nothing waits: a guest that sleeps goes on at once. Functions that
//! are not here (files, sockets) crash the guest when it calls them. It is our own and not the
//! `wasmtime-wasi` crate's, whose sleep would stop a pipeline where no CPU limit sees it.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType};
use wasmtime::{Engine, StoreContextMut, bail};

use super::host::Host;
use super::log::Stream;
use crate::event::Micros;

/// The interfaces that a plugin may import, of any version 0.2.
pub(super) const INTERFACES: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// The most random bytes in one call.
const MAX_RANDOM: u64 = 64 << 10;

/// What a batch sees of time and chance.
pub(super) struct Wasi {
    /// Constant for pipeline and plugin.
    seed: (u64, u64),
    now: Micros,
    random: u64,
}

impl Wasi {
    pub(super) fn new(seed: (u64, u64)) -> Self {
        Self { seed, now: Micros::default(), random: seed.0 }
    }

    /// Before a batch: time stands at its last event, and random numbers begin with its first, so that
    /// they don't depend on how old the instance is.
    pub(super) fn begin(&mut self, first_number: u64, now: Micros) {
        self.now = now;
        self.random = self.seed.0 ^ first_number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        if len > MAX_RANDOM {
            bail!("asked for {len} random bytes; at most {MAX_RANDOM} in a call");
        }
        let mut bytes = Vec::with_capacity(len as usize + 8);
        while (bytes.len() as u64) < len {
            bytes.extend_from_slice(&self.next_random().to_le_bytes());
        }
        bytes.truncate(len as usize);
        Ok(bytes)
    }
}

// Handles carry all that they stand for in their number, so there is no table of them.
enum Input {}
enum Output {}
enum Pollable {}
enum IoError {}
enum Terminal {}
enum Descriptor {}
enum DirectoryEntries {}

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

type Call<'a> = StoreContextMut<'a, Host>;
type Answer<T> = wasmtime::Result<(T,)>;

/// Links what a component imports of WASI, under the version that it asks for.
pub(super) fn link(linker: &mut Linker<Host>, engine: &Engine, component: &Component) -> wasmtime::Result<()> {
    // What is implemented replaces the stub.
    linker.allow_shadowing(true);
    for (import, found) in component.component_type().imports(engine) {
        let Some(interface) = import.split('@').next().filter(|name| INTERFACES.contains(name)) else { continue };
        let ComponentItem::ComponentInstance(items) = found.ty else { continue };
        let mut instance = linker.instance(import)?;
        for (function, item) in items.exports(engine) {
            if let ComponentItem::ComponentFunc(_) = item.ty {
                let name = format!("{import}#{function}");
                instance.func_new(function, move |_, _, _, _| bail!("called {name}, which plugins may not use"))?;
            }
        }
        implement(interface, &mut instance)?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

fn implement(interface: &str, to: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    match interface {
        "wasi:cli/environment" => {
            to.func_wrap("get-environment", |_, ()| Ok((Vec::<(String, String)>::new(),)))?;
            to.func_wrap("get-arguments", |_, ()| Ok((Vec::<String>::new(),)))?;
            to.func_wrap("initial-cwd", |_, ()| Ok((None::<String>,)))
        }
        "wasi:cli/exit" => to.func_wrap("exit", |_, (status,): (Result<(), ()>,)| -> wasmtime::Result<()> {
            bail!("called exit with {}", if status.is_ok() { "success" } else { "failure" })
        }),
        "wasi:cli/stdin" => to.func_wrap("get-stdin", |_, ()| Ok((Resource::<Input>::new_own(0),))),
        "wasi:cli/stdout" => to.func_wrap("get-stdout", |_, ()| Ok((Resource::<Output>::new_own(Stream::Out as u32),))),
        "wasi:cli/stderr" => to.func_wrap("get-stderr", |_, ()| Ok((Resource::<Output>::new_own(Stream::Err as u32),))),
        "wasi:cli/terminal-input" => resource::<Terminal>(to, "terminal-input"),
        "wasi:cli/terminal-output" => resource::<Terminal>(to, "terminal-output"),
        "wasi:cli/terminal-stdin" => to.func_wrap("get-terminal-stdin", no_terminal),
        "wasi:cli/terminal-stdout" => to.func_wrap("get-terminal-stdout", no_terminal),
        "wasi:cli/terminal-stderr" => to.func_wrap("get-terminal-stderr", no_terminal),
        "wasi:clocks/monotonic-clock" => {
            to.func_wrap("now", |call: Call<'_>, ()| Ok((call.data().wasi.now.0.saturating_mul(1000),)))?;
            to.func_wrap("resolution", |_, ()| Ok((1000_u64,)))?;
            to.func_wrap("subscribe-instant", |_, (_,): (u64,)| ready())?;
            to.func_wrap("subscribe-duration", |_, (_,): (u64,)| ready())
        }
        "wasi:clocks/wall-clock" => {
            to.func_wrap("now", |call: Call<'_>, ()| {
                let now = call.data().wasi.now.0;
                let nanoseconds = (now % 1_000_000) as u32 * 1000;
                Ok((Datetime { seconds: now / 1_000_000, nanoseconds },))
            })?;
            to.func_wrap("resolution", |_, ()| Ok((Datetime { seconds: 0, nanoseconds: 1000 },)))
        }
        "wasi:filesystem/preopens" => {
            to.func_wrap("get-directories", |_, ()| Ok((Vec::<(Resource<Descriptor>, String)>::new(),)))
        }
        "wasi:filesystem/types" => {
            resource::<Descriptor>(to, "descriptor")?;
            resource::<DirectoryEntries>(to, "directory-entry-stream")
        }
        "wasi:io/error" => {
            resource::<IoError>(to, "error")?;
            to.func_wrap("[method]error.to-debug-string", |_, (_,): (Resource<IoError>,)| Ok(("error".to_owned(),)))
        }
        "wasi:io/poll" => {
            resource::<Pollable>(to, "pollable")?;
            to.func_wrap("[method]pollable.ready", |_, (_,): (Resource<Pollable>,)| Ok((true,)))?;
            to.func_wrap("[method]pollable.block", |_, (_,): (Resource<Pollable>,)| Ok(()))?;
            to.func_wrap("poll", |_, (all,): (Vec<Resource<Pollable>>,)| {
                Ok(((0..all.len() as u32).collect::<Vec<_>>(),))
            })
        }
        "wasi:io/streams" => streams(to),
        "wasi:random/random" => {
            to.func_wrap("get-random-bytes", random_bytes)?;
            to.func_wrap("get-random-u64", random_u64)
        }
        "wasi:random/insecure" => {
            to.func_wrap("get-insecure-random-bytes", random_bytes)?;
            to.func_wrap("get-insecure-random-u64", random_u64)
        }
        "wasi:random/insecure-seed" => to.func_wrap("insecure-seed", |call: Call<'_>, ()| Ok((call.data().wasi.seed,))),
        _ => Ok(()),
    }
}

fn streams(to: &mut LinkerInstance<'_, Host>) -> wasmtime::Result<()> {
    type Done = Result<(), StreamError>;

    resource::<Input>(to, "input-stream")?;
    for read in ["[method]input-stream.read", "[method]input-stream.blocking-read"] {
        to.func_wrap(read, |_, (_, _): (Resource<Input>, u64)| Ok((Err::<Vec<u8>, _>(StreamError::Closed),)))?;
    }
    for skip in ["[method]input-stream.skip", "[method]input-stream.blocking-skip"] {
        to.func_wrap(skip, |_, (_, _): (Resource<Input>, u64)| Ok((Err::<u64, _>(StreamError::Closed),)))?;
    }
    to.func_wrap("[method]input-stream.subscribe", |_, (_,): (Resource<Input>,)| ready())?;

    resource::<Output>(to, "output-stream")?;
    to.func_wrap("[method]output-stream.check-write", |_, (_,): (Resource<Output>,)| {
        Ok((Ok::<_, StreamError>(4096_u64),))
    })?;
    for write in ["[method]output-stream.write", "[method]output-stream.blocking-write-and-flush"] {
        to.func_wrap(write, |mut call: Call<'_>, (to, bytes): (Resource<Output>, Vec<u8>)| {
            let stream = if to.rep() == Stream::Err as u32 { Stream::Err } else { Stream::Out };
            call.data_mut().log.write(stream, &bytes);
            Ok((Done::Ok(()),))
        })?;
    }
    for flush in ["[method]output-stream.flush", "[method]output-stream.blocking-flush"] {
        to.func_wrap(flush, |_, (_,): (Resource<Output>,)| Ok((Done::Ok(()),)))?;
    }
    to.func_wrap("[method]output-stream.subscribe", |_, (_,): (Resource<Output>,)| ready())
}

fn resource<T: 'static>(to: &mut LinkerInstance<'_, Host>, name: &str) -> wasmtime::Result<()> {
    to.resource(name, ResourceType::host::<T>(), |_, _| Ok(()))
}

#[expect(clippy::unnecessary_wraps, reason = "the linker wants a Result")]
fn no_terminal(_: Call<'_>, (): ()) -> Answer<Option<Resource<Terminal>>> {
    Ok((None,))
}

#[expect(clippy::unnecessary_wraps, reason = "the linker wants a Result")]
fn ready() -> Answer<Resource<Pollable>> {
    Ok((Resource::new_own(0),))
}

fn random_bytes(mut call: Call<'_>, (len,): (u64,)) -> Answer<Vec<u8>> {
    Ok((call.data_mut().wasi.random_bytes(len)?,))
}

#[expect(clippy::unnecessary_wraps, reason = "the linker wants a Result")]
fn random_u64(mut call: Call<'_>, (): ()) -> Answer<u64> {
    Ok((call.data_mut().wasi.next_random(),))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_depend_on_seed_and_batch_alone() {
        let draw = |seed, first| {
            let mut wasi = Wasi::new((seed, 0));
            wasi.begin(first, Micros(5));
            (wasi.next_random(), wasi.random_bytes(11).unwrap())
        };
        assert_eq!(draw(1, 1), draw(1, 1));
        assert_ne!(draw(1, 1), draw(1, 2));
        assert_ne!(draw(1, 1), draw(2, 1));
        assert_eq!(draw(1, 1).1.len(), 11);
        assert!(Wasi::new((0, 0)).random_bytes(MAX_RANDOM + 1).is_err());
    }
}
