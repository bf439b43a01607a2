//! A client in a thread of its own that comes back with its own offset whenever the server is there
//! again, and keeps every frame of all its connections in one list.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::{Client, Connect};
use crate::frame::{Frame, Place};

#[derive(Debug, Default)]
struct State {
    address: Option<SocketAddr>,
    frames: Vec<Frame>,
    /// Messages by channel: counting all frames at each one that comes would take the test's time.
    counts: BTreeMap<String, usize>,
    /// Where it stood when it was connected for the first time.
    start: Option<Place>,
    place: Option<Place>,
    connections: usize,
    stopped: bool,
}

impl State {
    fn take(&mut self, frames: &[Frame]) {
        for frame in frames.iter().filter(|f| f.is_message()) {
            *self.counts.entry(frame.channel().to_owned()).or_default() += 1;
        }
        self.frames.extend_from_slice(frames);
    }

    fn count(&self, channel: &str) -> usize {
        self.counts.get(channel).copied().unwrap_or_default()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Follower {
    shared: Arc<(Mutex<State>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    pub fn start(how: Connect) -> Self {
        let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let theirs = shared.clone();
        let thread = std::thread::spawn(move || follow(&theirs, &how));
        Self { shared, thread: Some(thread) }
    }

    /// Tells it where the server is now.
    pub fn server_is_at(&self, address: SocketAddr) {
        self.with(|state| state.address = Some(address));
        self.shared.1.notify_all();
    }

    /// Waits until it has been connected `n` times.
    pub fn wait_connected(&self, n: usize, within: Duration) {
        self.wait(&format!("connection {n}"), within, |state| (state.connections >= n).then_some(()));
    }

    pub fn connections(&self) -> usize {
        self.with(|state| state.connections)
    }

    /// Waits until it has `n` messages of a channel.
    pub fn wait_messages(&self, channel: &str, n: usize, within: Duration) {
        self.wait(&format!("message {n} on {channel}"), within, |state| (state.count(channel) >= n).then_some(()));
    }

    /// Waits for a frame, already there or new.
    pub fn wait_for(&self, what: &str, within: Duration, mut fits: impl FnMut(&Frame) -> bool) {
        let mut looked = 0;
        self.wait(what, within, |state| {
            let found = state.frames[looked..].iter().any(&mut fits);
            looked = state.frames.len();
            found.then_some(())
        });
    }

    /// How many messages of a channel it has.
    pub fn count(&self, channel: &str) -> usize {
        self.with(|state| state.count(channel))
    }

    /// All frames so far.
    pub fn frames(&self) -> Vec<Frame> {
        self.with(|state| state.frames.clone())
    }

    /// Where it stood when it was first connected.
    pub fn started_at(&self) -> Place {
        self.with(|state| state.start.clone()).expect("the follower was connected once")
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.shared.0.lock().expect("the follower's lock"))
    }

    fn wait<T>(&self, what: &str, within: Duration, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        let deadline = Instant::now() + within;
        let mut state = self.shared.0.lock().expect("the follower's lock");
        loop {
            if let Some(found) = look(&mut state) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let last: Vec<String> = state.frames.iter().rev().take(3).map(Frame::short).collect();
                let connections = state.connections;
                drop(state);
                panic!(
                    "the follower waited {within:?} in vain for {what}; {connections} connections, last frames: {last:#?}"
                );
            }
            state = self.shared.1.wait_timeout(state, left).expect("the follower's lock").0;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Ok(mut state) = self.shared.0.lock() {
            state.stopped = true;
        }
        self.shared.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn follow(shared: &(Mutex<State>, Condvar), how: &Connect) {
    loop {
        let (address, place) = {
            let mut state = shared.0.lock().expect("the follower's lock");
            loop {
                match (state.stopped, state.address) {
                    (true, _) => return,
                    (false, Some(address)) => break (address, state.place.clone()),
                    (false, None) => state = shared.1.wait(state).expect("the follower's lock"),
                }
            }
        };
        let mut how = how.clone();
        how.after = place.or(how.after);
        let Ok(mut client) = Client::try_connect(address, &how) else {
            // The server is down; the pause spares the machine while it comes back.
            std::thread::park_timeout(Duration::from_millis(10));
            continue;
        };
        let mut taken = 0;
        loop {
            let mut state = shared.0.lock().expect("the follower's lock");
            if taken == 0 {
                state.connections += 1;
                state.start.get_or_insert_with(|| client.place.clone());
            }
            state.take(&client.frames[taken..]);
            taken = client.frames.len();
            state.place = Some(client.place.clone());
            let stopped = state.stopped;
            drop(state);
            shared.1.notify_all();
            if stopped {
                return;
            }
            if client.next(Duration::from_millis(200)).is_none() && client.ended.is_some() {
                break;
            }
        }
        // A connection that ended may have brought frames last.
        let mut state = shared.0.lock().expect("the follower's lock");
        state.take(&client.frames[taken..]);
        state.place = Some(client.place.clone());
        drop(state);
        shared.1.notify_all();
    }
}
