//! Without a Python that the tests can use, they don't begin: with stand-ins on the PATH.
#![allow(clippy::unwrap_used, reason = "a test that can't go on stops with what went wrong")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// What `cargo xtask test` says where only this folder is on the PATH.
fn refusal(path: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("test").env("PATH", path).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn without_python_it_says_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let said = refusal(folder.path());
    assert!(said.contains("python3 is missing; install it (Debian: apt-get install python3-venv)"), "{said}");
}

#[test]
fn with_a_python_that_lacks_venv_it_says_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let python = folder.path().join("python3");
    fs::write(&python, "#!/bin/sh\necho 'No module named ensurepip' >&2\nexit 1\n").unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    let said = refusal(folder.path());
    assert!(said.contains("(Debian: apt-get install python3-venv)"), "{said}");
    assert!(said.contains("No module named ensurepip"), "{said}");
}
