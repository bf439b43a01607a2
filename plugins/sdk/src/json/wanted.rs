//! Fields that must be there: what is missing or of another type is an error that says what was wanted.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use super::{Json, row};
use crate::{Error, Micros};

impl<'a> Json<'a> {
    /// The text of a field.
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// let row = Json::new(r#"{"estado":"PAUSED","extra_data":{"zona":"Norte"}}"#);
    /// assert_eq!(row.text("estado")?, "PAUSED");
    /// assert_eq!(row.text("extra_data.zona")?, "Norte");
    /// # Ok::<(), relevo_plugin::Error>(())
    /// ```
    ///
    /// # Errors
    /// Poison, if it is missing, null or no text.
    pub fn text(&self, path: &str) -> Result<Cow<'a, str>, Error> {
        self.required(path, "a text", Self::as_text)
    }

    /// The integer of a field; see [`as_integer`](Self::as_integer).
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// let row = Json::new(r#"{"id":7,"grado":"alto"}"#);
    /// assert_eq!(row.integer("id")?, 7);
    /// let why = row.integer("grado").unwrap_err();
    /// assert_eq!(why.to_string(), r#"poison: grado: is "alto"; an integer is wanted"#);
    /// # Ok::<(), relevo_plugin::Error>(())
    /// ```
    ///
    /// # Errors
    /// Poison, if it is missing, null or no integer.
    pub fn integer(&self, path: &str) -> Result<i64, Error> {
        self.required(path, "an integer", Self::as_integer)
    }

    /// The number of a field; see [`as_float`](Self::as_float).
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// assert_eq!(Json::new(r#"{"lat":-34.5}"#).float("lat")?, -34.5);
    /// # Ok::<(), relevo_plugin::Error>(())
    /// ```
    ///
    /// # Errors
    /// Poison, if it is missing, null or no number.
    pub fn float(&self, path: &str) -> Result<f64, Error> {
        self.required(path, "a number", Self::as_float)
    }

    /// The truth value of a field; see [`as_boolean`](Self::as_boolean).
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// assert_eq!(Json::new(r#"{"activo":1}"#).boolean("activo")?, true);
    /// # Ok::<(), relevo_plugin::Error>(())
    /// ```
    ///
    /// # Errors
    /// Poison, if it is missing, null or no truth value.
    pub fn boolean(&self, path: &str) -> Result<bool, Error> {
        self.required(path, "a boolean", Self::as_boolean)
    }

    /// The moment of a field; see [`as_moment`](Self::as_moment).
    ///
    /// ```
    /// # use relevo_plugin::{Json, Micros};
    /// assert_eq!(Json::new(r#"{"inicio":"1970-01-01 00:00:01"}"#).moment("inicio")?, Micros(1_000_000));
    /// # Ok::<(), relevo_plugin::Error>(())
    /// ```
    ///
    /// # Errors
    /// Poison, if it is missing, null or no moment since 1970.
    pub fn moment(&self, path: &str) -> Result<Micros, Error> {
        self.required(path, "a moment", Self::as_moment)
    }

    /// A field as a type of your own, by serde. A field that may be null or missing is an `Option`.
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// let row = Json::new(r#"{"unidad":null,"extra_data":{"zonas":["N","S"]}}"#);
    /// assert_eq!(row.get::<Option<String>>("unidad")?, None);
    /// assert_eq!(row.get::<Vec<String>>("extra_data.zonas")?, ["N", "S"]);
    /// let why = row.get::<Vec<u32>>("extra_data.zonas").unwrap_err();
    /// assert!(why.to_string().starts_with(r#"poison: extra_data.zonas[0]: invalid type: string "N""#), "{why}");
    /// # Ok::<(), relevo_plugin::Error>(())
    /// ```
    ///
    /// # Errors
    /// Poison, if it doesn't fit.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let field = self.at(path);
        // Only what can be null accepts this one: an `Option`, mostly.
        let text = if field.is_missing() { "null" } else { field.raw() };
        row::read(text, path).map_err(|why| if field.is_missing() { self.lacks(path, "a value") } else { why })
    }

    /// The whole of it as a type of your own, by serde: a row with its columns. [`columns`](crate::columns)
    /// has helpers for what databases write in their own way.
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// #[derive(Debug, serde::Deserialize)]
    /// struct Efectivo { id: i64, unidad: Option<String> }
    /// let row: Efectivo = Json::new(r#"{"id":3,"unidad":null,"rango":"Sargento"}"#).parse()?;
    /// assert_eq!((row.id, row.unidad), (3, None));
    /// let why = Json::new(r#"{"id":"x"}"#).parse::<Efectivo>().unwrap_err();
    /// assert!(why.to_string().starts_with(r#"poison: id: invalid type: string "x", expected i64"#), "{why}");
    /// # Ok::<(), relevo_plugin::Error>(())
    /// ```
    ///
    /// # Errors
    /// Poison, if it doesn't fit.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        row::read(&self.text, "")
    }

    fn required<T>(&self, path: &str, what: &str, read: impl Fn(&Self) -> Option<T>) -> Result<T, Error> {
        let field = self.at(path);
        if let Some(value) = read(&field) {
            return Ok(value);
        }
        if field.is_missing() {
            return Err(self.lacks(path, what));
        }
        Err(Error::poison(format!("{path}: is {}; {what} is wanted", shown(field.raw()))))
    }

    /// Why a field isn't there.
    fn lacks(&self, path: &str, what: &str) -> Error {
        let column = path.split('.').next().unwrap_or(path);
        Error::poison(match self.left_out(path).or_else(|| self.left_out(column)) {
            Some(bytes) => {
                format!("{path}: its {bytes} bytes were too large, the row came without it; {what} is wanted")
            }
            None if self.is_missing() => format!("{path}: there is no row; {what} is wanted"),
            None => format!("{path}: there is no such field; {what} is wanted"),
        })
    }
}

/// The beginning of what was there, for an error.
fn shown(raw: &str) -> Cow<'_, str> {
    match raw.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &raw[..end]).into(),
        None => raw.into(),
    }
}
