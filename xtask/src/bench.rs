//! `cargo xtask bench`: measures the optimised server with the load generator, all in one run.

use anyhow::Result;

use crate::{plugins, steps, wasm};

/// What is measured, in this order.
const RUNS: &[&[&str]] = &[
    &["events"],
    &["latency", "--rate", "300"],
    &["postgres"],
    &["idle", "--connections", "1000"],
    &["fanout", "--subscribers", "1000", "--in-flight", "1"],
    &["fanout", "--subscribers", "1000", "--in-flight", "16"],
];

pub(crate) fn run() -> Result<()> {
    let of = RUNS.len() + 3;
    steps::say(1, of, "plugins");
    let ready = plugins::build(&wasm::compiler()?, &[plugins::SHIPPED, plugins::FOR_TESTS].concat())?;
    steps::say(2, of, "the server and the load generator, optimised");
    steps::run(steps::cargo().args(["build", "--release", "--package", "relevo", "--package", "relevo-tests"]))?;
    let release = steps::target().join("release");
    for (place, arguments) in RUNS.iter().enumerate() {
        steps::say(place + 3, of, &arguments.join(" "));
        let mut load = std::process::Command::new(release.join("load"));
        load.args(*arguments).env("RELEVO_BIN", release.join("relevo")).env("RELEVO_TEST_PLUGINS", &ready);
        steps::run(&mut load)?;
    }
    steps::say(of, of, "an event through a plugin, against native code");
    let mut cargo = steps::cargo();
    cargo.args(["bench", "--package", "relevo", "--bench", "plugin"]).env("RELEVO_TEST_PLUGINS", &ready);
    steps::run(&mut cargo)
}
