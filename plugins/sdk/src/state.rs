//! The plugin's state: committed together with the messages that came of it, or not at all.
//!
//! Values are JSON. Keys are ordered as bytes.
//!
//! ```
//! use relevo_plugin::{Error, state};
//! fn seen(user: &str, at: u64) -> Result<Option<u64>, Error> {
//!     let before = state::get(&format!("seen/{user}"))?;
//!     state::set(&format!("seen/{user}"), &at)?;
//!     Ok(before)
//! }
//! assert_eq!(seen("ana", 5)?, None);
//! assert_eq!(seen("ana", 9)?, Some(5));
//! # Ok::<(), Error>(())
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::backend::state as host;

/// How many entries [`scan`] asks the host for at once.
const PAGE: u32 = 256;

/// The value of a key.
///
/// ```
/// use relevo_plugin::state;
/// assert_eq!(state::get::<Vec<u32>>("nothing there")?, None);
/// # Ok::<(), relevo_plugin::Error>(())
/// ```
///
/// # Errors
/// Fatal, if the value is not of this type: an earlier version wrote another.
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Error> {
    host::get(key).map(|value| decode(key, &value)).transpose()
}

/// Sets a key, to whatever serde can write.
///
/// ```
/// use relevo_plugin::state;
/// state::set("last/7", &("PAUSED", 12))?;
/// assert_eq!(state::get::<(String, u32)>("last/7")?, Some(("PAUSED".to_owned(), 12)));
/// # Ok::<(), relevo_plugin::Error>(())
/// ```
///
/// # Errors
/// Poison, if the value can't be written as JSON.
pub fn set<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<(), Error> {
    host::set(key, &serde_json::to_vec(value)?);
    Ok(())
}

/// Deletes a key; it need not be there.
///
/// ```
/// use relevo_plugin::state;
/// state::set("a", &1)?;
/// state::delete("a");
/// assert_eq!(state::get::<u8>("a")?, None);
/// # Ok::<(), relevo_plugin::Error>(())
/// ```
pub fn delete(key: &str) {
    host::delete(key);
}

/// Adds to an integer (absent = 0) and returns the sum; saturates. [`get`] reads it as a number.
///
/// ```
/// use relevo_plugin::state;
/// assert_eq!(state::add("tasks", 2), 2);
/// assert_eq!(state::add("tasks", -1), 1);
/// assert_eq!(state::get("tasks")?, Some(1));
/// # Ok::<(), relevo_plugin::Error>(())
/// ```
pub fn add(key: &str, by: i64) -> i64 {
    host::add(key, by)
}

/// What [`add`] made of a key; 0 where it never did.
///
/// ```
/// use relevo_plugin::state;
/// assert_eq!(state::count("rows")?, 0);
/// # Ok::<(), relevo_plugin::Error>(())
/// ```
///
/// # Errors
/// Fatal, if the key holds something else.
pub fn count(key: &str) -> Result<i64, Error> {
    Ok(get(key)?.unwrap_or(0))
}

/// All entries whose key begins with `prefix`, in the order of keys.
///
/// It reads in pages, so it may be left early; entries that are deleted on the way are fine.
///
/// ```
/// use relevo_plugin::state;
/// state::set("open/1", "a")?;
/// state::set("open/2", "b")?;
/// for entry in state::scan::<String>("open/") {
///     let (key, _) = entry?;
///     state::delete(&key);
/// }
/// assert_eq!(state::scan::<String>("open/").count(), 0);
/// # Ok::<(), relevo_plugin::Error>(())
/// ```
pub fn scan<T: DeserializeOwned>(prefix: &str) -> Scan<T> {
    Scan {
        prefix: prefix.to_owned(),
        page: Vec::new().into_iter(),
        after: None,
        done: false,
        value: Default::default(),
    }
}

/// The entries that [`scan`] finds, one after the other.
///
/// ```
/// use relevo_plugin::state::{Scan, scan};
/// let entries: Scan<u32> = scan("open/");
/// assert_eq!(entries.count(), 0);
/// ```
#[derive(Debug)]
pub struct Scan<T> {
    prefix: String,
    page: std::vec::IntoIter<(String, Vec<u8>)>,
    /// The last key that was given out.
    after: Option<String>,
    done: bool,
    value: std::marker::PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Iterator for Scan<T> {
    type Item = Result<(String, T), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.len() == 0 && !self.done {
            let page = host::scan(&self.prefix, self.after.as_deref(), PAGE);
            // The host may give less than asked for; only an empty page is the end.
            self.done = page.is_empty();
            self.after = page.last().map(|(key, _)| key.clone());
            self.page = page.into_iter();
        }
        let (key, value) = self.page.next()?;
        let value = decode(&key, &value);
        Some(value.map(|value| (key, value)))
    }
}

fn decode<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(value).map_err(|why| Error::fatal(format!("state {key}: {why}")))
}
