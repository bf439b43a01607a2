//! The ways to a compiler for plugins, with a stand-in `rustup` and `rustc` on the PATH.
#![allow(clippy::unwrap_used, reason = "a test that can't go on stops with what went wrong")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// A PATH of its own: a `rustc` whose target folder is empty until `rustup` fills it.
fn machine(folder: &Path, rustup: &str) {
    let library = folder.join("library");
    fs::create_dir_all(&library).unwrap();
    program(folder, "rustc", &format!("echo '{}'", library.display()));
    program(folder, "rustup", &format!("echo \"$@\" >> '{}/asked'\n{rustup}", folder.display()));
}

fn program(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn prepare(folder: &Path, rustup_setting: Option<&str>) -> Output {
    let mut xtask = Command::new(env!("CARGO_BIN_EXE_xtask"));
    xtask.arg("wasm-target").env("PATH", folder).env("XDG_CACHE_HOME", folder.join("cache"));
    xtask.env_remove("RUSTC").env_remove("RELEVO_RUSTUP");
    if let Some(value) = rustup_setting {
        xtask.env("RELEVO_RUSTUP", value);
    }
    xtask.output().unwrap()
}

fn asked(folder: &Path) -> Option<String> {
    fs::read_to_string(folder.join("asked")).ok()
}

#[test]
fn a_target_that_is_there_needs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    machine(folder.path(), "exit 1");
    fs::write(folder.path().join("library/libstd-1.rlib"), "").unwrap();
    let output = prepare(folder.path(), None);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(asked(folder.path()), None);
}

#[test]
fn rustup_adds_the_target_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("library/libstd-1.rlib");
    machine(folder.path(), &format!(": > '{}'", library.display()));
    let output = prepare(folder.path(), None);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("the ordinary compiler"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("98 MB"), "the size is announced");
    assert_eq!(asked(folder.path()).as_deref(), Some("target add wasm32-wasip2\n"));
}

#[test]
fn rustup_is_left_alone_when_the_setting_says_so() {
    let folder = tempfile::tempdir().unwrap();
    machine(folder.path(), "exit 0");
    let output = prepare(folder.path(), Some("0"));
    assert_eq!(asked(folder.path()), None);
    assert!(!output.status.success());
}

#[test]
fn without_any_way_the_error_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    machine(folder.path(), "echo no network >&2; exit 1");
    let output = prepare(folder.path(), None);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(error.contains("rustup target add wasm32-wasip2") && error.contains("apt-get is missing"), "{error}");
}
