//! A model of what may happen to a pipeline, whatever the order: swaps, crashes, rollbacks, events that
//! can't be handled, quarantine, states that are made anew, over the real pipeline and the real journal.
//!
//! `operations` draws a case, `server` does it, `oracle` says what the journal must hold afterwards, and
//! whenever everything has settled. A case that fails is made smaller and printed. The seeds are the same in
//! each run; `RELEVO_MODEL_SEED` gives others, `RELEVO_MODEL_CASES` more cases of each test.

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use operations::{Setting, Step};
use oracle::Oracle;
use server::Server;

mod operations;
mod oracle;
mod server;
mod versions;

/// The tests share the cases, so that they run side by side.
const CASES: u32 = 64;

fn settled(setting: &Setting, server: &mut Server) {
    server.settle();
    let health = server.health();
    let running = health.status == super::super::Status::Running;
    let letters = if running { server.letters() } else { Vec::new() };
    let log = server.log();
    Oracle::of(setting, server.plugins(), &server.versions, &log).assert_settled(health.cursor, running, &letters);
}

fn case(setting: &Setting, steps: &[Step]) {
    let mut server = Server::start(setting);
    settled(setting, &mut server);
    for step in steps {
        server.run(&step.operation);
        if step.settle {
            settled(setting, &mut server);
        }
    }
    server.mend();
    settled(setting, &mut server);
}

fn setting_of<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn cases(share: u64) {
    let config = Config {
        cases: setting_of("RELEVO_MODEL_CASES", CASES),
        max_shrink_iters: setting_of("RELEVO_MODEL_SHRINK", 200),
        failure_persistence: None,
        ..Config::default()
    };
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&setting_of::<u64>("RELEVO_MODEL_SEED", 0x5eed).to_le_bytes());
    seed[8..16].copy_from_slice(&share.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let ran = runner.run(&(operations::setting(), operations::steps()), |(setting, steps)| {
        let done = std::panic::catch_unwind(|| case(&setting, &steps));
        done.map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            TestCaseError::fail(text.unwrap_or("a panic").to_owned())
        })
    });
    match ran {
        Ok(()) => {}
        Err(TestError::Fail(why, (setting, steps))) => {
            let steps: String = steps.iter().map(|step| format!("\n    {step:?}")).collect();
            panic!("{why}\n{setting:?}{steps}");
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn whatever_happens_each_event_counts_once_and_is_told_once_first_share() {
    cases(1);
}

#[test]
fn whatever_happens_each_event_counts_once_and_is_told_once_second_share() {
    cases(2);
}

#[test]
fn whatever_happens_each_event_counts_once_and_is_told_once_third_share() {
    cases(3);
}

#[test]
fn whatever_happens_each_event_counts_once_and_is_told_once_fourth_share() {
    cases(4);
}
