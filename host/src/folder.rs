//! Folders and files for what only the server's user may see: rows, messages and secrets.

use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Makes the folder, with those above it that are missing, for this user alone. One that is there is left as it is.
///
/// # Errors
/// The file system's.
pub(crate) fn private(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes an empty file for this user alone, whatever the folder lets others do. One that is there is left as it is.
///
/// # Errors
/// The file system's.
pub(crate) fn private_file(path: &Path) -> std::io::Result<()> {
    // Not opened if it is there: to close it would drop SQLite's locks on it.
    match File::options().create_new(true).write(true).mode(0o600).open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{metadata, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::{private, private_file};

    #[test]
    fn a_new_folder_is_this_users_alone_and_one_that_is_there_is_left_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        private(&folder).unwrap();
        let mode = |path| metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        set_permissions(&folder, PermissionsExt::from_mode(0o750)).unwrap();
        private(&folder).unwrap();
        assert_eq!(mode(&folder), 0o750);
        let file = folder.join("f");
        private_file(&file).unwrap();
        assert_eq!(mode(&file), 0o600);
        std::fs::write(&file, "kept").unwrap();
        set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
        private_file(&file).unwrap();
        assert_eq!((mode(&file), std::fs::read(&file).unwrap()), (0o640, b"kept".to_vec()));
    }
}
