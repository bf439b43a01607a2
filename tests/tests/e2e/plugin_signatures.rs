//! Signed plugins: keys are made, versions are signed, and only those of trusted keys run, however they come.

use std::path::{Path, PathBuf};
use std::process::Command;

use relevo_tests::binary;
use relevo_tests::server::{Process, Server};
use relevo_tests::token::token;
use relevo_tests::wait::SOON;
use relevo_tests::world::World;

fn world() -> World {
    World::configured(|world| {
        let world = world
            .set("plugins.folder_rest = \"50ms\"")
            .append("[[pipeline]]\nname = \"stamp\"\nplugins = [\"stamp\"]")
            .append("[[channel]]\npattern = \"stamped\"\nread = [\"*\"]");
        world.install("stamp");
        world
    })
}

/// Makes a key; gives its file, and the lines that have it trusted.
fn key(world: &World, name: &str) -> (String, String) {
    let file = world.data().join(format!("{name}.key")).display().to_string();
    let made = world.run(&["plugin", "keygen", &file]);
    assert!(made.status.success(), "{}", made.log);
    let (_, lines) = made.log.split_once("relevo.toml:\n").unwrap();
    (file, lines.to_owned())
}

fn sign(world: &World, component: &Path, key: &str) {
    let signed = world.run(&["plugin", "sign", &component.display().to_string(), "--key", key]);
    assert!(signed.status.success(), "{}", signed.log);
}

fn plugins(world: &World) -> PathBuf {
    world.data().join("plugins")
}

/// The files of a version of `stamp`, in a folder of its own.
fn version(world: &World, stamp: &str) -> PathBuf {
    let folder = world.data().join("next").join(stamp);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(binary::component("stamp"), folder.join("stamp.wasm")).unwrap();
    let manifest = std::fs::read_to_string(binary::manifest("stamp")).unwrap();
    std::fs::write(folder.join("stamp.toml"), manifest.replace("v0", stamp).replace("0.1.0", stamp)).unwrap();
    folder.join("stamp.wasm")
}

/// Brings a version in each of the three ways; gives what is said, if it does not serve.
fn bring(world: &World, server: &mut Server, component: &Path) -> [Option<String>; 3] {
    let url = format!("http://{}", server.address);
    let deployed = world.run(&["plugin", "deploy", "--url", &url, &component.display().to_string()]);
    let by_command = (!deployed.status.success()).then_some(deployed.log);

    let mut put = Command::new("curl");
    put.args(["-sS", "-X", "PUT", &format!("{url}/api/v1/plugins/stamp")]);
    put.args(["-H", &format!("Authorization: Bearer {}", token("900", "ADMIN"))]);
    for (field, ending) in [("component", "wasm"), ("manifest", "toml"), ("signature", "sig")] {
        let file = component.with_extension(ending);
        if file.exists() {
            put.args(["-F", &format!("{field}=@{}", file.display())]);
        }
    }
    let answer = String::from_utf8(put.output().expect("curl").stdout).unwrap();
    let by_http = answer.contains("\"error\"").then_some(answer);

    // Another version, so that the folder's is new; whatever was in the folder goes.
    let folder = plugins(world);
    let before = server.process.log.lines().len();
    let _ = std::fs::remove_file(folder.join("stamp.sig"));
    for ending in ["sig", "wasm", "toml"] {
        let file = component.with_extension(ending);
        if file.exists() {
            std::fs::copy(file, folder.join(format!("stamp.{ending}"))).unwrap();
        }
    }
    let mut told = None;
    relevo_tests::wait::until("what becomes of the folder's version", SOON, || {
        let lines = server.process.log.lines();
        told = lines[before..].iter().find(|l| l.contains("plugins folder") && l.contains("stamp")).cloned();
        told.as_ref().map(|_| ())
    });
    let by_folder = told.filter(|line| !line.contains("brought from"));
    [by_command, by_http, by_folder]
}

#[test]
fn where_signatures_are_required_only_those_of_trusted_keys_run() {
    let world = world();
    let ((release, trust_release), (other, trust_other)) = (key(&world, "release"), key(&world, "other"));
    let world = world.set("plugins.require_signature = true").append(&trust_release);
    let server = Server::listening(Process::start(world.command(&["serve"])));
    server.wait_readyz("that nothing is signed", |status, body| status == 503 && body.contains("it is not signed"));
    assert!(server.stop(SOON).status.success());
    for plugin in ["tareas", "efectivos", "panel", "stamp"] {
        sign(&world, &plugins(&world).join(format!("{plugin}.wasm")), &release);
    }
    let mut server = world.serve();

    let unsigned = version(&world, "v1");
    for told in bring(&world, &mut server, &unsigned) {
        assert!(told.as_ref().is_some_and(|told| told.contains("it is not signed")), "{told:?}");
    }
    let tampered = version(&world, "v2");
    sign(&world, &tampered, &release);
    let manifest = std::fs::read_to_string(tampered.with_extension("toml")).unwrap();
    std::fs::write(tampered.with_extension("toml"), manifest.replace("\"update\"", "\"update\", \"truncate\""))
        .unwrap();
    for told in bring(&world, &mut server, &tampered) {
        assert!(told.as_ref().is_some_and(|told| told.contains("changed after it was signed")), "{told:?}");
    }
    let untrusted = version(&world, "v3");
    sign(&world, &untrusted, &other);
    for told in bring(&world, &mut server, &untrusted) {
        assert!(told.as_ref().is_some_and(|told| told.contains("a key that relevo.toml does not trust")), "{told:?}");
    }
    let good = version(&world, "v4");
    sign(&world, &good, &release);
    assert_eq!(bring(&world, &mut server, &good), [None, None, None]);
    let url = format!("http://{}", server.address);
    for (command, line) in [(["plugin", "versions", "stamp"].as_slice(), "serves"), (&["plugin", "list"], "stamp ")] {
        let shown = world.run(&[command, &["--url", &url]].concat());
        let found = shown.log.lines().find(|l| l.contains("v4+") && l.contains(line)).map(str::to_owned);
        assert!(found.is_some_and(|line| line.contains("release")), "{}", shown.log);
    }
    assert!(server.stop(SOON).status.success());

    // A key that is no longer trusted takes with it what it signed, also what served.
    let world = world.replace(&trust_release, &trust_other);
    let server = Server::listening(Process::start(world.command(&["serve"])));
    let lost =
        server.wait_readyz("that the key is gone", |status, body| status == 503 && body.contains("does not trust"));
    assert!(lost.contains("[[plugins.trusted_key]]"), "{lost}");
    // Signed by another and deployed, the same versions serve again.
    let url = format!("http://{}", server.address);
    for plugin in ["tareas", "efectivos", "panel", "stamp"] {
        let component = plugins(&world).join(format!("{plugin}.wasm"));
        sign(&world, &component, &other);
        let deployed = world.run(&["plugin", "deploy", "--url", &url, &component.display().to_string()]);
        assert!(deployed.status.success(), "{}", deployed.log);
    }
    assert!(server.ready().stop(SOON).status.success());
    drop(world.serve());
}

#[test]
fn a_signature_that_is_there_has_to_be_good_even_where_none_is_required() {
    let world = world();
    let (release, trust) = key(&world, "release");
    let mut server = world.serve();
    let version_of = |stamp: &str| version(&world, stamp);
    assert_eq!(bring(&world, &mut server, &version_of("v1")), [None, None, None]);
    let signed = version_of("v2");
    sign(&world, &signed, &release);
    let told = bring(&world, &mut server, &signed);
    for told in &told {
        assert!(told.as_ref().is_some_and(|told| told.contains("a key that relevo.toml does not trust")), "{told:?}");
    }
    // The lines that are shown make it run; the folder's version then comes by itself.
    let (_, lines) = told[0].as_ref().unwrap().split_once("restart the server:\n").unwrap();
    let lines: Vec<&str> = lines.lines().take_while(|line| line.starts_with("  ")).collect();
    assert_eq!(lines.join("\n").replace("  ", "").replace("NAME", "release"), trust.trim_end());
    std::fs::write(signed.with_extension("sig"), "nonsense").unwrap();
    for told in bring(&world, &mut server, &signed) {
        assert!(told.as_ref().is_some_and(|told| told.contains("its signature is damaged")), "{told:?}");
    }
    sign(&world, &plugins(&world).join("stamp.wasm"), &release);
    assert!(server.stop(SOON).status.success());
    let world = world.append(&trust);
    let mut server = world.serve();
    let came = server.process.wait_for_line("brought from the plugins folder", SOON);
    assert!(came.is_some_and(|line| line.contains("v2+")), "{}", server.process.log.text());
}

#[test]
fn check_says_whether_the_server_would_take_the_signature() {
    let world = world();
    let ((release, trust), (other, _)) = (key(&world, "release"), key(&world, "other"));
    let world = world.set("plugins.require_signature = true").append(&trust);
    let component = version(&world, "v1");
    let checked = |outcome: &str, found: &str| {
        let report =
            world.run(&["plugin", "check", "--seed", "5", "--count", "20", &component.display().to_string()]).log;
        let line = report.lines().find(|line| line.contains(" is signed ")).unwrap_or_else(|| panic!("{report}"));
        assert!(line.starts_with(outcome) && report.contains(found), "{report}");
    };
    checked("note", "it is not signed, and plugins.require_signature is on");
    sign(&world, &component, &other);
    checked("note", "a key that relevo.toml does not trust");
    sign(&world, &component, &release);
    checked("ok", "with the trusted key release");
    let manifest = std::fs::read_to_string(component.with_extension("toml")).unwrap();
    std::fs::write(component.with_extension("toml"), manifest + "\n# changed\n").unwrap();
    checked("FAILED", "changed after it was signed");
}
