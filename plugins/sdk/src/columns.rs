//! For typed rows: values that databases write in their own way, as field types of your `struct`.
//!
//! SQLite has no booleans and keeps JSON as text, and integers beyond 2^53 travel as texts, since
//! JSON readers elsewhere would round them. These types take all of that, alone or within an `Option`.
//!
//! ```
//! use relevo_plugin::Json;
//! use relevo_plugin::columns::{Boolean, Integer, Nested};
//!
//! #[derive(serde::Deserialize)]
//! struct Task {
//!     id: Integer,
//!     urgente: Boolean,
//!     efectivos: Nested<Vec<i64>>,
//!     archivada: Option<Boolean>,
//! }
//!
//! let row = Json::new(r#"{"id":"9007199254740993","urgente":1,"efectivos":"[4,9]","archivada":null}"#);
//! let task: Task = row.parse()?;
//! assert_eq!((task.id.0, task.urgente.0), (9_007_199_254_740_993, true));
//! assert_eq!((task.efectivos.0, task.archivada), (vec![4, 9], None));
//! # Ok::<(), relevo_plugin::Error>(())
//! ```

use std::fmt;

use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::{Deserialize, Deserializer};

/// A truth value: `true`, `false`, 1 or 0.
///
/// ```
/// use relevo_plugin::{Json, columns::Boolean};
/// assert_eq!(Json::new(r#"{"activo":0}"#).get::<Boolean>("activo")?, Boolean(false));
/// # Ok::<(), relevo_plugin::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Boolean(pub bool);

/// An integer, as a number or as a text.
///
/// ```
/// use relevo_plugin::{Json, columns::Integer};
/// assert_eq!(Json::new(r#"{"id":"-5"}"#).get::<Integer>("id")?, Integer(-5));
/// # Ok::<(), relevo_plugin::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Integer(pub i64);

/// JSON, as it is or within a text.
///
/// ```
/// use relevo_plugin::{Json, columns::Nested};
/// assert_eq!(Json::new(r#"{"a":"[1]","b":[1]}"#).get::<Nested<Vec<u8>>>("a")?.0, [1]);
/// # Ok::<(), relevo_plugin::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nested<T>(pub T);

impl<'de> Deserialize<'de> for Boolean {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Boolean;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a boolean, or 0 or 1")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Boolean, E> {
                Ok(Boolean(value))
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Boolean, E> {
                if value > 1 {
                    return Err(E::invalid_value(serde::de::Unexpected::Unsigned(value), &self));
                }
                Ok(Boolean(value == 1))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Integer;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer, as a number or as a text")
            }
            fn visit_i64<E>(self, value: i64) -> Result<Integer, E> {
                Ok(Integer(value))
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Integer, E> {
                let unfit = |_| E::invalid_value(serde::de::Unexpected::Unsigned(value), &"an integer below 2^63");
                i64::try_from(value).map(Integer).map_err(unfit)
            }
            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Integer, E> {
                let unfit = |_| E::invalid_value(serde::de::Unexpected::Str(value), &self);
                value.parse().map(Integer).map_err(unfit)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Nested<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let read = match value.as_str() {
            Some(text) => serde_json::from_str(text),
            None => serde_json::from_value(value),
        };
        read.map(Self).map_err(D::Error::custom)
    }
}
