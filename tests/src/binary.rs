//! Finds what the tests run: the binary `relevo` and the components of the plugins.

use std::path::{Path, PathBuf};

/// The binary: `RELEVO_BIN`, or `relevo` in the target folder that this test was built into.
pub fn relevo() -> PathBuf {
    if let Some(path) = std::env::var_os("RELEVO_BIN") {
        return PathBuf::from(path);
    }
    let beside = target_folder().join(profile()).join("relevo");
    assert!(beside.exists(), "there is no {}: run `cargo xtask test`, or set RELEVO_BIN", beside.display());
    beside
}

/// The program that runs a command with a throw-away PostgreSQL; it is built beside the server.
pub fn scratch_postgres() -> PathBuf {
    let path = relevo().with_file_name("scratch-postgres");
    assert!(path.exists(), "there is no {}: cargo build -p scratch-postgres", path.display());
    path
}

/// The workspace's root.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

/// Copies a plugin's component and manifest into a plugins folder.
pub fn install_plugin(name: &str, into: &Path) {
    std::fs::create_dir_all(into).expect("the plugins folder can be made");
    let component = components().join(format!("{name}.wasm"));
    assert!(
        component.exists(),
        "there is no {}: run `cargo xtask test`, or set RELEVO_TEST_PLUGINS to the folder of the components",
        component.display()
    );
    std::fs::copy(&component, into.join(format!("{name}.wasm"))).expect("a component can be copied");
    std::fs::copy(manifest(name), into.join(format!("{name}.toml"))).expect("a manifest can be copied");
}

/// A plugin's component as it was built.
pub fn component(name: &str) -> PathBuf {
    components().join(format!("{name}.wasm"))
}

/// Where a plugin's manifest is in the sources; the hostile plugin belongs to the tests.
pub fn manifest(name: &str) -> PathBuf {
    ["plugins", "tests/plugins"]
        .iter()
        .map(|folder| workspace().join(folder).join(name).join(format!("{name}.toml")))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("there is no manifest {name}.toml in plugins/{name} or tests/plugins/{name}"))
}

fn components() -> PathBuf {
    std::env::var_os("RELEVO_TEST_PLUGINS")
        .map_or_else(|| target_folder().join("plugins/wasm32-wasip2/release"), PathBuf::from)
}

/// `target/`, from `target/PROFILE/deps/e2e-…` or `target/PROFILE/load`.
pub fn target_folder() -> PathBuf {
    profile_folder().parent().expect("a profile's folder lies in the target folder").to_owned()
}

fn profile() -> String {
    profile_folder().file_name().expect("a profile has a name").to_string_lossy().into_owned()
}

fn profile_folder() -> PathBuf {
    let this = std::env::current_exe().expect("the test knows its own path");
    let folder = this.parent().expect("a file lies in a folder");
    let folder = if folder.ends_with("deps") { folder.parent().expect("deps lies in a profile") } else { folder };
    folder.to_owned()
}
