//! What can't be a plugin is refused at loading, with its file, what was found, and what is allowed.

use super::*;

const MANIFEST: &str = "name = 'p'\nversion = '1'\nticks = true\ncapabilities = ['state', 'lookup']\n";

fn refused(wasm: &[u8]) -> String {
    let error = Bench::new().load("p", wasm, MANIFEST).unwrap_err().to_string();
    assert!(error.contains("p.wasm: "), "{error}");
    error
}

#[test]
fn garbage_is_refused() {
    assert!(refused(b"garbage").contains("not a component"));
    assert!(refused(b"").contains("not a component"));
    let wasm = std::fs::read(built().join("hostile.wasm")).unwrap();
    assert!(refused(&wasm[..wasm.len() / 2]).contains("not a component"));
}

#[test]
fn a_core_module_and_features_that_are_off_are_refused() {
    let module = wat::parse_str("(module)").unwrap();
    assert!(refused(&module).contains("not a component"));
    let shared = wat::parse_str("(component (core module (memory 1 1 shared)))").unwrap();
    assert!(refused(&shared).contains("threads"), "{}", refused(&shared));
    for (core, feature) in [
        ("(memory i64 1)", "memory64"),
        ("(memory 1) (memory 1)", "multiple memories"),
        ("(type (struct))", "gc types"),
        ("(func (export \"f\") return_call 0)", "tail calls"),
        ("(tag)", "exceptions"),
        ("(func (param v128 v128) (result v128) local.get 0 local.get 1 i8x16.relaxed_swizzle)", "relaxed SIMD"),
    ] {
        let error = refused(&wat::parse_str(format!("(component (core module {core}))")).unwrap());
        assert!(error.contains(feature), "{feature}: {error}");
    }
}

#[test]
fn text_is_not_taken_for_a_component() {
    assert!(refused(b"(component)").contains("not a component"));
}

#[test]
fn an_export_with_another_type_is_refused_at_loading() {
    let text = r#"
        (component
            (core module $m (func (export "init")))
            (core instance $m (instantiate $m))
            (func $f (canon lift (core func $m "init")))
            (instance $lifecycle (export "init" (func $f)))
            (instance $route (export "route" (func $f)))
            (export "relevo:plugin/lifecycle@0.1.0" (instance $lifecycle))
            (export "relevo:plugin/route@0.1.0" (instance $route)))"#;
    let error = refused(&wat::parse_str(text).unwrap());
    assert!(error.contains("does not fit the plugin contract"), "{error}");
    let empty = r#"
        (component (instance $i)
            (export "relevo:plugin/lifecycle@0.1.0" (instance $i))
            (export "relevo:plugin/route@0.1.0" (instance $i)))"#;
    let error = refused(&wat::parse_str(empty).unwrap());
    assert!(error.contains("init"), "{error}");
}

#[test]
fn an_import_that_is_missing_from_an_offered_interface_is_refused() {
    let text = r#"
        (component
            (import "relevo:plugin/log@0.1.9" (instance (export "shout" (func))))
            (instance $i)
            (export "relevo:plugin/lifecycle@0.1.0" (instance $i))
            (export "relevo:plugin/route@0.1.0" (instance $i)))"#;
    let error = refused(&wat::parse_str(text).unwrap());
    assert!(error.contains("shout"), "{error}");
}

#[test]
fn an_instance_that_needs_more_memory_than_it_may_have_is_refused() {
    let bench = Bench::new();
    let wasm = std::fs::read(built().join("hostile.wasm")).unwrap();
    let big = r#"
        (component
            (core module $m (memory 100))
            (core instance $m (instantiate $m))
            (instance $i)
            (export "relevo:plugin/lifecycle@0.1.0" (instance $i))
            (export "relevo:plugin/route@0.1.0" (instance $i)))"#;
    let manifest = format!("{MANIFEST}[limits]\nmemory = '4MiB'\n");
    let error = bench.load("p", &wat::parse_str(big).unwrap(), &manifest).unwrap_err().to_string();
    assert!(error.contains("does not start") && error.contains("limits.memory is 4194304"), "{error}");
    bench.load("p", &wasm, &manifest).unwrap();
}

#[test]
fn a_loop_while_starting_is_stopped() {
    let text = r#"
        (component
            (core module $m (func $loop (loop (br 0))) (start $loop))
            (core instance $m (instantiate $m))
            (instance $i)
            (export "relevo:plugin/lifecycle@0.1.0" (instance $i))
            (export "relevo:plugin/route@0.1.0" (instance $i)))"#;
    let error = refused(&wat::parse_str(text).unwrap());
    assert!(error.contains("does not start: used"), "{error}");
}

#[test]
fn missing_files_are_named() {
    let bench = Bench::new();
    let load = |name: &str| bench.sandbox.load(bench.folder.path(), &name.into(), &Terms::default());
    let error = load("absent").unwrap_err().to_string();
    assert!(error.contains("absent.wasm") && error.contains("plugins folder"), "{error}");
    std::fs::write(bench.folder.path().join("half.wasm"), "").unwrap();
    assert!(load("half").unwrap_err().to_string().contains("half.toml"));
    assert!(load("../p").unwrap_err().to_string().contains("no plugin name"));
}

#[test]
fn the_version_tells_apart_components_of_the_same_number() {
    let bench = Bench::new();
    let version = bench.hostile("").version().clone();
    assert_eq!(&*version.plugin, "hostile");
    assert!(version.version.starts_with("0.1.0+") && version.version.len() == 6 + 12, "{}", version.version);
    assert_ne!(bench.built("enricher", "").version().version, version.version);
}

#[test]
fn an_enricher_sees_all_updates_and_is_refused_where_it_wants_only_some() {
    let bench = Bench::new();
    let wasm = std::fs::read(built().join("enricher.wasm")).unwrap();
    let manifest = "name = 'p'\nversion = '1'\nevents = { t = ['update'] }\n";
    bench.load("p", &wasm, manifest).unwrap();
    let error = bench.load("p", &wasm, &format!("{manifest}[changed]\nt = ['c']\n")).unwrap_err().to_string();
    assert!(error.contains("p.toml: changed: events would pass the enricher by"), "{error}");
}

#[test]
fn what_a_component_uses_its_manifest_has_to_ask_for() {
    let bench = Bench::new();
    let wasm = std::fs::read(built().join("hostile.wasm")).unwrap();
    let silent = "name = 'p'\nversion = '1'\nticks = true\n";
    let error = bench.load("p", &wasm, silent).unwrap_err().to_string();
    assert!(error.contains("p.wasm: uses state, lookup of the host"), "{error}");
    let line = "capabilities = [\"state\", \"lookup\"]";
    assert!(error.contains(&format!("above its first [table]: {line}")), "{error}");
    bench.load("p", &wasm, &format!("{silent}{line}\n")).unwrap();
    // A table that is looked up says as much; log and metrics, which it uses too, need no word.
    let error = bench.load("p", &wasm, &format!("{silent}[lookup]\nt = ['c']\n")).unwrap_err().to_string();
    assert!(error.contains("uses state of the host"), "{error}");
    bench.load("p", &wasm, &format!("{silent}capabilities = ['state']\n[lookup]\nt = ['c']\n")).unwrap();
}

#[test]
fn what_is_not_granted_does_not_load_and_the_lines_that_are_shown_make_it_load() {
    let bench = Bench::new();
    let wasm = std::fs::read(built().join("hostile.wasm")).unwrap();
    std::fs::write(bench.folder.path().join("p.wasm"), wasm).unwrap();
    std::fs::write(bench.folder.path().join("p.toml"), format!("{MANIFEST}channels = ['a']\n")).unwrap();
    let load = |settings: &str| {
        let text = format!("[[pipeline]]\nname = 'p'\nplugins = ['p']\n{settings}");
        let config: crate::config::Config = toml::from_str(&text).unwrap();
        bench.sandbox.load(bench.folder.path(), &"p".into(), &config.terms("p"))
    };
    let error = load("").unwrap_err();
    assert!(error.is_of_settings(), "{error}");
    let told = error.to_string();
    let (_, lines) = told.split_once("restart the server:\n").unwrap();
    load(lines).unwrap();
}
