//! A newcomer's way to a plugin: `relevo plugin new`, `cargo test`, `relevo plugin build`, `check`.

use std::path::Path;
use std::process::{Command, Output};

use relevo_tests::binary;

/// A command without what cargo told this test about itself.
fn command(program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_") || text.starts_with("RELEVO_") {
            command.env_remove(&name);
        }
    }
    command
}

fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs it to a good end.
fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    text(&output)
}

/// What it says when it refuses.
fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{command:?}: {}", text(&output));
    text(&output)
}

#[test]
fn a_new_project_of_each_role_passes_its_test_is_built_and_passes_check() {
    let folder = tempfile::tempdir().unwrap();
    // What was compiled for the other plugins need not be compiled again.
    let target = binary::target_folder();
    for role in ["route", "enrich", "aggregate"] {
        let name = format!("first-{role}");
        let relevo = || command(binary::relevo(), folder.path());
        done(relevo().args(["plugin", "new", &name, "--role", role]));
        let project = folder.path().join(&name);
        let readme = std::fs::read_to_string(project.join("README.md")).unwrap();
        assert!(readme.contains("relevo plugin check") && readme.lines().count() <= 10, "{readme}");
        // The versions that are here already, so that no registry is asked.
        std::fs::copy(binary::workspace().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();

        let tested = done(
            command(cargo(), &project)
                .args(["test", "--offline", "--lib"])
                .env("CARGO_TARGET_DIR", target.join("newcomer")),
        );
        assert!(tested.contains("test result: ok."), "{tested}");

        let out = folder.path().join("plugins");
        let mut build = relevo();
        build.args(["plugin", "build", &name, "--offline", "--out", "plugins"]).env("CARGO_TARGET_DIR", &target);
        let built = done(&mut build);
        assert!(built.contains("KiB, sha256 "), "{built}");
        assert!(out.join(format!("{name}.toml")).exists());

        let component = format!("plugins/{name}.wasm");
        let report = done(relevo().args(["plugin", "check", &component, "--count", "200", "--seed", "7"]));
        assert!(report.contains(&format!("{name} passed")), "{report}");
        assert!(!report.contains("it sent nothing"), "generated rows reach its code: {report}");
    }
}

#[test]
fn what_stands_in_a_newcomers_way_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let relevo = |arguments: &[&str]| {
        let mut relevo = command(binary::relevo(), folder.path());
        relevo.arg("plugin").args(arguments);
        relevo
    };
    let said = refused(&mut relevo(&["new", "Bad Name"]));
    assert!(said.contains("1 to 64 of a-z"), "{said}");
    let said = refused(&mut relevo(&["new", "p", "--sdk", "."]));
    assert!(said.contains("holds no crate relevo-plugin"), "{said}");
    std::fs::create_dir_all(folder.path().join("full/src")).unwrap();
    let said = refused(&mut relevo(&["new", "full"]));
    assert!(said.contains("there already, and not empty"), "{said}");
    let said = refused(&mut relevo(&["build", "full"]));
    assert!(said.contains("`relevo plugin new` makes a project"), "{said}");
    let said = refused(&mut relevo(&["check", "none.wasm"]));
    assert!(said.contains("`relevo plugin build` makes it"), "{said}");

    done(&mut relevo(&["new", "p"]));
    // A compiler that lacks the target, and a home without the private one.
    std::fs::write(folder.path().join("rustc"), "#!/bin/sh\necho /nowhere\n").unwrap();
    std::fs::set_permissions(folder.path().join("rustc"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let said = refused(relevo(&["build", "p"]).env("PATH", folder.path()).env("XDG_CACHE_HOME", folder.path()));
    assert!(said.contains("rustup target add wasm32-wasip2") && said.contains("cargo xtask wasm-target"), "{said}");
}
