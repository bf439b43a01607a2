//! A network between Relevo and PostgreSQL that a test can cut, and make silent.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// A port that leads to a server's socket.
#[derive(Debug)]
pub struct Network {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Way {
    #[default]
    Open,
    /// Nothing is carried, and nobody closes anything.
    Silent,
    /// Replication that is begun now is carried up to its beginning; everything else is carried.
    Hushed,
    Cut,
}

#[derive(Debug, Default)]
struct State {
    way: Way,
    /// How often it fell silent: connections from before carry nothing for ever, as over a router that has
    /// forgotten them.
    silences: u64,
    /// Both ends of each connection.
    ends: Vec<(TcpStream, UnixStream)>,
    carried: u64,
    /// When a connection was wanted while it was cut.
    refused: Vec<Instant>,
}

/// By which a client begins the replication on its connection.
const REPLICATION: &[u8] = b"START_REPLICATION";

impl Network {
    pub fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its port").port();
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                theirs.carry(client, &socket);
            }
        });
        Self { port, shared }
    }

    /// The address of a database over this network.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{}@127.0.0.1:{}/{database}", scratch_postgres::USER, self.port)
    }

    /// Bytes that it has carried.
    pub fn carried(&self) -> u64 {
        self.shared.state.lock().expect("the network's lock").carried
    }

    /// Closes all connections, and those that come.
    pub fn cut(&self) {
        self.be(Way::Cut);
    }

    /// Carries nothing, and says nothing: those that are open for ever, those that come until it is mended.
    pub fn fall_silent(&self) {
        self.shared.state.lock().expect("the network's lock").silences += 1;
        self.be(Way::Silent);
    }

    /// From now on a stream of replication begins, and then nothing more of it comes.
    pub fn hush_streams(&self) {
        self.be(Way::Hushed);
    }

    /// When connections were refused since it was made, as it was cut.
    pub fn refused(&self) -> Vec<Instant> {
        self.shared.state.lock().expect("the network's lock").refused.clone()
    }

    pub fn mend(&self) {
        self.be(Way::Open);
    }

    fn be(&self, way: Way) {
        let mut state = self.shared.state.lock().expect("the network's lock");
        state.way = way;
        if way == Way::Cut {
            for (client, server) in state.ends.drain(..) {
                let _ = client.shutdown(Shutdown::Both);
                let _ = server.shutdown(Shutdown::Both);
            }
        }
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn carry(self: &Arc<Self>, client: TcpStream, socket: &PathBuf) {
        let mut state = self.state.lock().expect("the network's lock");
        if state.way == Way::Cut {
            state.refused.push(Instant::now());
            self.changed.notify_all();
            return;
        }
        let Ok(server) = UnixStream::connect(socket) else { return };
        let _ = client.set_nodelay(true);
        let ends = || Some((client.try_clone().ok()?, server.try_clone().ok()?));
        let (Some(kept), Some((out, back))) = (ends(), ends()) else { return };
        state.ends.push(kept);
        let silences = state.silences;
        drop(state);
        let (forth, other) = (Arc::clone(self), Arc::clone(self));
        let hushed = Arc::new(AtomicBool::new(false));
        let is_hushed = Arc::clone(&hushed);
        std::thread::spawn(move || {
            forth.copy(silences, client, &back, |way, bytes| {
                if way == Way::Hushed && bytes.windows(REPLICATION.len()).any(|part| part == REPLICATION) {
                    hushed.store(true, Ordering::Release);
                }
                bytes.len()
            });
            let _ = back.shutdown(Shutdown::Both);
        });
        std::thread::spawn(move || {
            let mut begun = false;
            other.copy(silences, server, &out, |_, bytes| match is_hushed.load(Ordering::Acquire) {
                false => bytes.len(),
                true if std::mem::replace(&mut begun, true) => 0,
                // The first message after it is wanted says that it begins: a letter, and the length of the rest.
                true => bytes.len().min(1 + u32::from_be_bytes(bytes[1..5].try_into().expect("a length")) as usize),
            });
            let _ = out.shutdown(Shutdown::Both);
        });
    }

    /// `much`: how much of the bytes that come goes on.
    fn copy(&self, silences: u64, mut from: impl Read, mut to: impl Write, mut much: impl FnMut(Way, &[u8]) -> usize) {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let Ok(n @ 1..) = from.read(&mut bytes) else { return };
            let mut state = self.state.lock().expect("the network's lock");
            while state.way == Way::Silent || state.silences > silences {
                state = self.changed.wait(state).expect("the network's lock");
            }
            let n = much(state.way, &bytes[..n]);
            state.carried += n as u64;
            drop(state);
            if to.write_all(&bytes[..n]).is_err() {
                return;
            }
        }
    }
}
