//! What a batch costs. Run by hand: `cargo nextest run -p relevo sandbox::tests::speed --run-ignored all
//! --no-capture`.

use std::hint::black_box;

use super::*;

#[test]
#[ignore = "a measurement, not a test"]
fn nanoseconds_for_each_event_of_a_batch_of_64() {
    let bench = Bench::new();
    let lookup = Lookup::default();
    for (what, action) in [("echo", ""), ("state, lookup, metrics and log", "work")] {
        // Built without optimisation, the host takes more time than the tight limit grants.
        let more = format!("[lookup]\nusuarios = ['nombre']\n[config]\ndo = '{action}'\n");
        let plugin = bench.built("hostile", &more);
        let mut instance = plugin.instantiate(&pipeline()).unwrap();
        let mut state = state(&plugin);
        let events = inserts(1..=64);
        let mut rounds: Vec<u64> = (0..21)
            .map(|_| {
                let began = engine::thread_cpu_time();
                for _ in 0..100 {
                    black_box(instance.call(&events, &mut state, &lookup).unwrap());
                    state.keep();
                }
                ((engine::thread_cpu_time() - began).as_nanos() / 6400) as u64
            })
            .collect();
        rounds.sort_unstable();
        println!("{what}: {} ns an event (median of {} rounds, CPU time)", rounds[10], rounds.len());
    }
    let plugin = bench.hostile("");
    let began = engine::thread_cpu_time();
    for _ in 0..100 {
        black_box(plugin.instantiate(&pipeline()).unwrap());
    }
    println!("an instance with its init: {} µs", (engine::thread_cpu_time() - began).as_micros() / 100);
}
