//! Where PostgreSQL's programs are, and who may run them.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::Error;

/// Names the folder of the programs, where another one is meant than would be found.
pub const VARIABLE: &str = "RELEVO_POSTGRES_BIN";

/// Where Debian keeps the programs of each version, off the PATH.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The folder of `initdb` and `postgres`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries(pub PathBuf);

impl Binaries {
    /// That of [`VARIABLE`]; else one on the PATH; else Debian's newest.
    ///
    /// # Errors
    /// Says what to install.
    pub fn find() -> Result<Self, Error> {
        if let Some(folder) = std::env::var_os(VARIABLE).map(PathBuf::from) {
            return if whole(&folder) { Ok(Self(folder)) } else { Err(Error::Empty(folder.display().to_string())) };
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders = std::env::split_paths(&path).chain(debian(Path::new(DEBIAN)));
        folders.find(|folder| whole(folder)).map(Self).ok_or(Error::NotFound)
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

fn whole(folder: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|program| folder.join(program).is_file())
}

/// The newest version first; by number, since 9 is not newer than 15.
fn debian(folder: &Path) -> Vec<PathBuf> {
    let versions = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let number = |name: &std::ffi::OsStr| name.to_str().and_then(|name| name.parse::<f32>().ok());
    let mut versions: Vec<_> =
        versions.filter_map(|version| Some((number(&version.file_name())?, version.path().join("bin")))).collect();
    versions.sort_by(|a, b| b.0.total_cmp(&a.0));
    versions.into_iter().map(|(_, bin)| bin).collect()
}

/// The account that runs the server where we are root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub user: u32,
    pub group: u32,
}

impl Account {
    /// None: we aren't root, and run it ourselves.
    ///
    /// # Errors
    /// If there is none.
    pub fn find() -> Result<Option<Self>, Error> {
        let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        if !root {
            return Ok(None);
        }
        let accounts = std::fs::read_to_string("/etc/passwd").map_err(Error::io("/etc/passwd"))?;
        let named = |name: &str| {
            let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut numbers = line.split(':').skip(2).map_while(|field| field.parse().ok());
            Some(Self { user: numbers.next()?, group: numbers.next()? })
        };
        named("postgres").or_else(|| named("nobody")).map(Some).ok_or(Error::Account)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't go on stops with what went wrong")]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        for version in ["9.6", "15", "18", "notes"] {
            std::fs::create_dir_all(folder.path().join(version).join("bin")).unwrap();
        }
        let found = debian(folder.path());
        let expected: Vec<PathBuf> = ["18", "15", "9.6"].map(|v| folder.path().join(v).join("bin")).into();
        assert_eq!(found, expected);
    }
}
