//! The folder of compiled code, so that a restart needs no compiler.
//!
//! What lies there is run as native code. So the folder is this user's alone (0700), and a file is
//! used only if it is ours, nobody else can write to it, and it begins with the hash of its own name and
//! the rest; else the component is compiled again.

use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::error::LoadError;

/// How many compiled components are kept; the oldest go first.
const KEPT: usize = 64;
const EXTENSION: &str = "cwasm";

pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Makes the folder, or checks that the one that is there is private.
    pub(super) fn open(folder: &Path) -> Result<Self, LoadError> {
        let refuse = |reason: String| LoadError::Setup {
            reason: format!("folder for compiled plugins {}: {reason}", folder.display()),
        };
        crate::folder::private(folder).map_err(|e| refuse(e.to_string()))?;
        let found = std::fs::symlink_metadata(folder).map_err(|e| refuse(e.to_string()))?;
        if !found.is_dir() {
            return Err(refuse("is no folder; remove it".into()));
        }
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(refuse(format!("belongs to user {}; remove it, or run as that user", found.uid())));
        }
        let cache = Self { folder: folder.into() };
        if found.mode() & 0o077 != 0 {
            // Others could have put files there.
            tracing::warn!(folder = %folder.display(), "was open to others: emptied and made private");
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
                .map_err(|e| refuse(e.to_string()))?;
            for file in cache.files() {
                std::fs::remove_file(file).map_err(|e| refuse(e.to_string()))?;
            }
        }
        Ok(cache)
    }

    /// The compiled form of a component, from the folder or from the compiler.
    ///
    /// # Errors
    /// The compiler's, if the bytes are no component.
    pub(super) fn component(&self, engine: &Engine, wasm: &[u8], hash: &str) -> wasmtime::Result<Component> {
        let mut engine_hash = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut engine_hash);
        let path = self.folder.join(format!("{hash}-{:016x}.{EXTENSION}", engine_hash.finish()));
        if let Some(code) = read(&path) {
            match deserialize(engine, &code) {
                Ok(component) => return Ok(component),
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "compiled plugin can't be used; compiling again");
                }
            }
        }
        let code = engine.precompile_component(wasm)?;
        if let Err(error) = self.write(&path, &code) {
            tracing::warn!(file = %path.display(), %error, "compiled plugin not kept; it will be compiled again");
        }
        deserialize(engine, &code)
    }

    /// Written beside and renamed, so that a crash leaves no half file under the name.
    fn write(&self, path: &Path, code: &[u8]) -> std::io::Result<()> {
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        let result = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
            .open(&beside)
            .and_then(|mut file| {
                file.write_all(&digest(path, code))?;
                file.write_all(code)
            })
            .and_then(|()| std::fs::rename(&beside, path));
        if result.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        self.forget_the_oldest();
        result
    }

    fn forget_the_oldest(&self) {
        let mut files: Vec<_> =
            self.files().filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path))).collect();
        files.sort();
        let too_many = files.len().saturating_sub(KEPT);
        for (_, path) in &files[..too_many] {
            let _ = std::fs::remove_file(path);
        }
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == EXTENSION))
    }
}

/// A file's code, if the file is ours alone and whole.
fn read(path: &Path) -> Option<Vec<u8>> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut file: File = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let found = file.metadata().ok()?;
    let ours = found.is_file() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0;
    let mut content = Vec::new();
    file.read_to_end(&mut content).ok()?;
    let (hash, code) = content.split_at_checked(32)?;
    if !ours || digest(path, code)[..] != *hash {
        tracing::warn!(file = %path.display(), "compiled plugin is damaged or not ours alone; compiling again");
        return None;
    }
    Some(code.to_vec())
}

/// Of a file's name and its code: a file under another's name is not that one.
fn digest(path: &Path, code: &[u8]) -> [u8; 32] {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let mut hash = Sha256::new();
    hash.update((name.len() as u64).to_le_bytes());
    hash.update(name);
    hash.update(code);
    hash.finalize().into()
}

#[expect(unsafe_code, reason = "the one place where compiled code is taken in; see SAFETY")]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` was made by `Engine::precompile_component`: either just now by the caller, or it
    // comes from a file that only this user could write, in a folder that only this user can enter,
    // whose hash is right. The engine refuses code of another version or with other settings.
    unsafe { Component::deserialize(engine, code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o777
    }

    fn only_file(cache: &Cache) -> PathBuf {
        let files: Vec<_> = cache.files().collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }

    #[test]
    fn compiled_code_is_kept_privately_and_a_damaged_file_is_made_again() {
        let data = tempfile::tempdir().unwrap();
        let cache = Cache::open(&data.path().join("compiled")).unwrap();
        let engine = crate::sandbox::engine::build().unwrap();
        let wasm = wat::parse_str("(component)").unwrap();
        cache.component(&engine, &wasm, "abc").unwrap();
        let file = only_file(&cache);
        assert_eq!((mode(&cache.folder), mode(&file)), (0o700, 0o600));
        let good = std::fs::read(&file).unwrap();

        for damage in
            [good[..good.len() / 2].to_vec(), vec![], { [&good[..100], &[!good[100]], &good[101..]].concat() }]
        {
            std::fs::write(&file, damage).unwrap();
            assert!(read(&file).is_none());
            cache.component(&engine, &wasm, "abc").unwrap();
            assert_eq!(std::fs::read(&file).unwrap().len(), good.len());
        }
        assert!(read(&file).is_some());

        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(read(&file).is_none(), "others can write to it");
        cache.component(&engine, &wasm, "abc").unwrap();
        assert_eq!(mode(&file), 0o600, "replaced");
    }

    #[test]
    fn a_file_under_the_name_of_another_component_is_not_used() {
        let data = tempfile::tempdir().unwrap();
        let cache = Cache::open(data.path()).unwrap();
        let engine = crate::sandbox::engine::build().unwrap();
        let component =
            |text: &str, hash: &str| cache.component(&engine, &wat::parse_str(text).unwrap(), hash).unwrap();
        component("(component)", "abc");
        let file = only_file(&cache);
        let other = PathBuf::from(file.to_str().unwrap().replace("abc-", "def-"));
        std::fs::copy(&file, &other).unwrap();
        assert!(read(&file).is_some() && read(&other).is_none());
        let right = component("(component (import \"other\" (func)))", "def");
        assert_eq!(right.component_type().imports(&engine).count(), 1, "it was compiled, not taken from the file");
    }

    #[test]
    fn what_belongs_to_another_user_is_not_used() {
        if !rustix::process::geteuid().is_root() {
            // Only root can give a file away; in CI it is.
            return;
        }
        let data = tempfile::tempdir().unwrap();
        let cache = Cache::open(&data.path().join("compiled")).unwrap();
        let engine = crate::sandbox::engine::build().unwrap();
        cache.component(&engine, &wat::parse_str("(component)").unwrap(), "abc").unwrap();
        let file = only_file(&cache);
        std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
        assert!(read(&file).is_none());
        std::os::unix::fs::chown(&cache.folder, Some(65534), None).unwrap();
        let error = Cache::open(&cache.folder).err().unwrap().to_string();
        assert!(error.contains("belongs to user 65534"), "{error}");
        let link = data.path().join("link");
        std::os::unix::fs::symlink(data.path(), &link).unwrap();
        assert!(Cache::open(&link).err().unwrap().to_string().contains("is no folder"));
    }

    #[test]
    fn code_of_another_engine_is_not_even_tried() {
        let data = tempfile::tempdir().unwrap();
        let cache = Cache::open(data.path()).unwrap();
        let wasm = wat::parse_str("(component)").unwrap();
        let engine = crate::sandbox::engine::build().unwrap();
        cache.component(&engine, &wasm, "abc").unwrap();
        let other = Engine::new(wasmtime::Config::new().epoch_interruption(false)).unwrap();
        cache.component(&other, &wasm, "abc").unwrap();
        assert_eq!(cache.files().count(), 2);
        // Even under the other's name, the engine itself refuses it.
        let code = read(&only_of(&cache, &engine)).unwrap();
        assert!(deserialize(&other, &code).is_err());
    }

    fn only_of(cache: &Cache, engine: &Engine) -> PathBuf {
        let mut hash = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hash);
        cache.folder.join(format!("abc-{:016x}.cwasm", hash.finish()))
    }

    #[test]
    fn a_folder_that_was_open_to_others_is_emptied() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("compiled");
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
        std::fs::write(folder.join("planted.cwasm"), "evil").unwrap();
        let cache = Cache::open(&folder).unwrap();
        assert_eq!((mode(&folder), cache.files().count()), (0o700, 0));
    }

    #[test]
    fn only_so_many_are_kept() {
        let data = tempfile::tempdir().unwrap();
        let cache = Cache::open(data.path()).unwrap();
        for n in 0..KEPT + 3 {
            cache.write(&cache.folder.join(format!("{n}.cwasm")), b"code").unwrap();
        }
        assert_eq!(cache.files().count(), KEPT);
    }

    #[test]
    fn a_file_where_the_folder_should_be_is_refused_by_name() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("compiled");
        std::fs::write(&path, "").unwrap();
        let error = Cache::open(&path).err().unwrap().to_string();
        assert!(error.contains("compiled"), "{error}");
    }
}
