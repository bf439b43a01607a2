//! End to end: the real binary with real databases, real plugins and raw clients. `cargo xtask test`
//! builds what is needed.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod backup_faults;
mod backup_sources;
mod backups;
mod beginnings;
mod changes;
mod clock;
mod crashes;
mod doctor;
mod gad;
mod gaps;
mod hostile_plugins;
mod installation;
mod journal_commands;
mod journal_full;
mod logging;
mod misuse;
mod names;
mod notices;
mod page;
mod panel;
mod plugin_authors;
mod plugin_checks;
mod plugin_grants;
mod plugin_logs;
mod plugin_signatures;
mod plugin_trials;
mod postgres;
mod postgres_crashes;
mod postgres_large;
mod postgres_network;
mod postgres_slot;
mod postgres_snapshots;
mod power;
mod process;
mod resuming;
mod schemas;
mod slow_clients;
mod swaps;
mod tail;
mod tour;
mod upgrades;
mod wrongs;
