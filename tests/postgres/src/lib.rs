//! A PostgreSQL of one's own, from the binaries of this machine: in a folder of its own, on a socket there
//! and no port, ended with the process that started it however that ends. Never a database that was there
//! before. The tests' harness and `cargo xtask run --postgres` start theirs with it.

mod cluster;
mod find;
mod hand_over;

pub use cluster::{Cluster, Psql, Stop};
pub use find::{Account, Binaries, VARIABLE};
pub use hand_over::hand_over;

/// The superuser.
pub const USER: &str = "relevo";

/// The database that is made at the start.
pub const DATABASE: &str = "gad";

/// What can go wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "there is no PostgreSQL server on this machine: apt-get install postgresql, or set {VARIABLE} to the folder of its programs"
    )]
    NotFound,
    #[error("{VARIABLE}={0} holds no initdb and postgres")]
    Empty(String),
    #[error("root can't run PostgreSQL, and there is no account postgres or nobody that could")]
    Account,
    #[error("initdb: {0}")]
    Initdb(String),
    #[error("PostgreSQL didn't come up:\n{0}")]
    Up(String),
    #[error("PostgreSQL didn't stop:\n{0}")]
    Down(String),
    #[error("{what}: {cause}")]
    Io { what: &'static str, cause: std::io::Error },
}

impl Error {
    fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |cause| Self::Io { what, cause }
    }
}
