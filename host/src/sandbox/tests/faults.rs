//! What a plugin does wrong stops it, is told by name, and harms nothing else.

use super::*;

/// The fault of a hostile plugin, and that a good one beside it still works.
fn fault(action: &str) -> Fault {
    let bench = Bench::new();
    let good = bench.hostile("");
    let mut neighbour = good.instantiate(&pipeline()).unwrap();
    let mut its_state = state(&good);
    let bad = bench.hostile(action);
    let fault = once(&bad, &inserts(1..=3)).unwrap_err();
    let sent = drafts(neighbour.call(&inserts(1..=3), &mut its_state, &Lookup::default()).unwrap());
    assert_eq!(sent.len(), 3, "the neighbour goes on");
    fault
}

fn assert_fault(action: &str, name: &str, text: &str) {
    let fault = fault(action);
    assert!(fault.name() == name && fault.to_string().contains(text), "{action}: {}: {fault}", fault.name());
}

#[test]
fn a_panic_is_a_trap_that_tells_the_panics_message() {
    assert_fault("trap", "trap", "as configured");
    assert_fault("init-trap", "trap", "in init");
}

#[test]
fn a_stack_overflow_an_exit_and_a_wild_write_are_traps() {
    assert_fault("stack", "trap", "trapped");
    assert_fault("exit", "trap", "called exit with failure");
    assert_fault("wild-write", "trap", "out of bounds memory access");
}

#[test]
fn an_endless_loop_is_stopped_by_its_cpu_time() {
    for action in ["loop", "init-loop"] {
        let Fault::Cpu { used, limit } = fault(action) else { panic!("{action}: no cpu fault") };
        assert_eq!(limit.as_millis(), 50);
        // A tick is a tenth of the limit; the rest is the thread being looked at late.
        assert!(used > limit && used < limit * 3, "{used:?}");
    }
}

#[test]
fn cpu_time_of_others_does_not_count() {
    let bench = Bench::new();
    let plugin = bench.hostile("");
    let mut instance = plugin.instantiate(&pipeline()).unwrap();
    // This thread has used more than the limit before the call; the call itself is short.
    let began = engine::thread_cpu_time();
    while (engine::thread_cpu_time() - began) < plugin.manifest().limits.cpu * 2 {}
    instance.call(&inserts(1..=3), &mut state(&plugin), &Lookup::default()).unwrap();
}

#[test]
fn memory_without_bound_is_refused_and_named() {
    let Fault::Memory { wanted, limit } = fault("allocate") else { panic!("no memory fault") };
    assert_eq!(limit, 16 << 20);
    assert!(wanted > limit && wanted <= limit + (4 << 20), "asked for 1 MiB at a time: {wanted} of {limit}");
}

#[test]
fn too_much_output_is_refused_before_it_is_copied() {
    assert_fault("big-output", "output", "limits.output_bytes is 1048576");
    assert_fault("many-messages", "output", "limits.output");
    assert_fault("overlapping", "output", "limits.output_bytes is 1048576");
}

#[test]
fn an_arena_that_is_larger_than_the_limit_is_refused() {
    let bench = Bench::new();
    let more = "[limits]\noutput_bytes = '1MiB'\n[config]\ndo = 'huge-output'\n";
    let fault = once(&bench.built("hostile", more), &inserts(1..=1)).unwrap_err();
    assert_eq!(fault.name(), "output", "{fault}");
}

#[test]
fn state_beyond_its_limits_is_refused_and_named() {
    assert_fault("state-overflow", "state", "limits.state_bytes is 1048576");
    assert_fault("state-value", "state", "the largest value is 262144");
    assert_fault("add-to-text", "bad_output", "which is no integer");
    assert_fault("init-state", "bad_output", "state used in init");
}

#[test]
fn what_breaks_the_contract_is_told_with_its_reason() {
    for (action, text) in [
        ("bad-span", "data: bytes"),
        ("bad-event", "names event 3 of a batch of 3"),
        ("bad-order", "out of order"),
        ("bad-utf8", "key: invalid utf-8"),
        ("bad-json", "is no JSON"),
        ("bad-channel", "channel \"no spaces, please\""),
        ("bad-lookup", "\"secrets\", which its manifest does not name"),
        ("bad-metric", "metric \"No Such Name\""),
        ("poison-nobody", "says that event 4294967295 is poison"),
    ] {
        assert_fault(action, "bad_output", text);
    }
}

#[test]
fn what_a_plugin_says_is_passed_on() {
    assert_fault("transient", "transient", "not now");
    assert_fault("fatal", "fatal", "never again");
    assert_fault("init-config", "config", "hostile can't work with this");
    let bench = Bench::new();
    let fault = once(&bench.hostile_at("poison", Some("2")), &inserts(1..=3)).unwrap_err();
    assert_eq!(fault, Fault::Poison { event: 1, reason: "bad to eat".into() });
}

#[test]
fn an_instance_with_a_fault_is_not_entered_again() {
    let bench = Bench::new();
    let plugin = bench.hostile_at("trap", Some("2"));
    let mut instance = plugin.instantiate(&pipeline()).unwrap();
    let mut state = state(&plugin);
    let lookup = Lookup::default();
    instance.call(&inserts(1..=1), &mut state, &lookup).unwrap();
    instance.call(&inserts(2..=2), &mut state, &lookup).unwrap_err();
    let again = instance.call(&inserts(3..=3), &mut state, &lookup).unwrap_err();
    assert!(again.to_string().contains("has to be replaced"), "{again}");
    let mut fresh = plugin.instantiate(&pipeline()).unwrap();
    fresh.call(&inserts(3..=3), &mut state, &lookup).unwrap();
}

#[test]
fn a_thousand_crashes_leak_no_slot() {
    let bench = Bench::new();
    let plugin = bench.hostile("exit");
    // There are 256 slots; each crash gives its own back.
    for _ in 0..1000 {
        assert_eq!(once(&plugin, &inserts(1..=1)).unwrap_err().name(), "trap");
    }
}

#[test]
fn floods_of_log_lines_do_no_harm() {
    let bench = Bench::new();
    for action in ["log-flood", "stdout-flood"] {
        let more = format!("[limits]\nlog_lines = 3\n[config]\ndo = '{action}'\nat = '1'\n");
        let plugin = bench.built("hostile", &more);
        match once(&plugin, &inserts(1..=3)) {
            Ok(output) => assert_eq!(drafts(output).len(), 3),
            // On a slow machine the flood may take more CPU time than the limit.
            Err(fault) => assert_eq!(fault.name(), "cpu"),
        }
    }
}
