//! The load generator: starts the real binary on loopback, loads it in one bounded way, and prints a
//! table. For figures that mean something set `RELEVO_BIN` to a release build.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a measurement that went wrong stops with what went wrong")]

mod events;
mod fanout;
mod idle;
mod latency;
mod postgres;
mod rules;
mod sockets;
mod table;

use clap::{Parser, ValueEnum as _};
use relevo_tests::binary;

use crate::rules::Rules;

/// Loads a server of its own and measures it.
#[derive(Parser)]
#[command(name = "load")]
enum Load {
    /// Row changes a second, from SQLite to one subscriber.
    Events {
        /// How many changes.
        #[arg(long, default_value_t = 50_000)]
        changes: u64,
        /// Changes in a transaction.
        #[arg(long, default_value_t = 100)]
        transaction: u64,
    },
    /// From the commit in SQLite to the client, at a steady rate.
    Latency {
        /// Transactions a second.
        #[arg(long, default_value_t = 300)]
        rate: u64,
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// From PostgreSQL, through three plugins, to one subscriber and to a hundred; beside `pg_recvlogical`.
    Postgres {
        /// What the plugins do; without it, one after the other.
        #[arg(long)]
        rules: Option<Rules>,
        /// How often; the medians are shown.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
        rounds: u64,
        /// How many changes, to one subscriber and then to a hundred.
        #[arg(long, default_value_t = 200_000)]
        changes: u64,
        /// Changes in a transaction; of several sizes, each is measured.
        #[arg(long, default_values_t = [1, 10], value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..))]
        transaction: Vec<u64>,
        /// Transactions a second, for the latency.
        #[arg(long, default_value_t = 500)]
        rate: u64,
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Memory of the server for each connection that does nothing.
    Idle {
        #[arg(long, default_value_t = 1000)]
        connections: usize,
    },
    /// Deliveries for each second of the server's CPU time.
    Fanout {
        #[arg(long, default_value_t = 1000)]
        subscribers: usize,
        /// Messages under way at once.
        #[arg(long, default_value_t = 16)]
        in_flight: u64,
        /// How many messages; by default 300 for each in flight, up to 3,000.
        #[arg(long)]
        messages: Option<u64>,
    },
}

fn main() {
    let load = Load::parse();
    let binary = binary::relevo();
    println!("binary: {}", binary.display());
    if !binary.to_string_lossy().contains("release") {
        println!("(no release build: these figures say little)");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        match load {
            Load::Events { changes, transaction } => events::measure(changes, transaction).await,
            Load::Latency { rate, seconds } => latency::measure(rate, seconds).await,
            Load::Postgres { rules, rounds, changes, transaction, rate, seconds } => {
                for one in rules.as_ref().map_or(Rules::value_variants(), std::slice::from_ref) {
                    postgres::measure(*one, rounds, changes, &transaction, rate, seconds).await;
                }
            }
            Load::Idle { connections } => idle::measure(connections).await,
            Load::Fanout { subscribers, in_flight, messages } => {
                let messages = messages.unwrap_or_else(|| (in_flight * 300).min(3000));
                fanout::measure(subscribers, in_flight, messages).await;
            }
        }
    });
}
