//! Reads single fields out of a JSON text without parsing the rest of it.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use crate::{Error, Micros};

mod scan;
#[cfg(test)]
mod tests;

/// A piece of JSON that is read on demand: a row, or a field of one.
///
/// Nothing is parsed until a method asks, and then only as far as it has to look. Text that is not
/// well-formed reads as if the field weren't there; it never panics. Of two fields with one name
/// the first counts.
///
/// A text that holds JSON (SQLite keeps its JSON columns so) is looked into by [`field`](Self::field)
/// and [`items`](Self::items) as if it were that JSON.
///
/// ```
/// use relevo_plugin::Json;
/// let row = Json::new(r#"{"id":7,"estado":"PAUSED","fin_real":null,"extra_data":"{\"zona\":{\"codigo\":3}}"}"#);
/// assert_eq!(row.integer("id")?, 7);
/// assert_eq!(row.text("estado")?, "PAUSED");
/// assert!(row.field("fin_real").is_null());
/// assert_eq!(row.path("extra_data.zona.codigo").as_integer(), Some(3));
/// assert_eq!(row.text("titulo").unwrap_err().to_string(), "poison: titulo: there is no such field");
/// # Ok::<(), relevo_plugin::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Json<'a>(Cow<'a, str>);

impl<'a> Json<'a> {
    /// Reads from this text. An empty text is the JSON that isn't there.
    pub fn new(text: &'a str) -> Self {
        Self(Cow::Borrowed(text.trim_ascii()))
    }

    /// Reads from this text, and keeps it.
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// assert_eq!(Json::owned("[1]".to_owned()).items().len(), 1);
    /// ```
    pub fn owned(text: String) -> Json<'static> {
        Json(Cow::Owned(if text.trim_ascii().len() == text.len() { text } else { text.trim_ascii().to_owned() }))
    }

    /// The text as it stands, like `"PAUSED"` with its quotes; empty where there is none.
    pub fn raw(&self) -> &str {
        &self.0
    }

    /// The member of this name; missing where this is no object or has none.
    ///
    /// Each call looks from the beginning: for more than two or three members use
    /// [`fields`](Self::fields).
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        let [field] = self.fields([name]);
        field
    }

    /// The members of these names, in one pass that ends when all are found.
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// let row = Json::new(r#"{"id":7,"estado":"PAUSED"}"#);
    /// let [estado, id, titulo] = row.fields(["estado", "id", "titulo"]);
    /// assert_eq!((estado.as_text().as_deref(), id.as_integer()), (Some("PAUSED"), Some(7)));
    /// assert!(titulo.is_missing());
    /// ```
    #[must_use]
    pub fn fields<const N: usize>(&self, names: [&str; N]) -> [Self; N] {
        match self.opened() {
            Cow::Borrowed(text) => scan::members(text, &names).map(|field| Self(Cow::Borrowed(field))),
            Cow::Owned(text) => scan::members(&text, &names).map(|field| Self(Cow::Owned(field.to_owned()))),
        }
    }

    /// The member at the end of these names, with dots between them.
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// assert_eq!(Json::new(r#"{"a":{"b":[true]}}"#).path("a.b").items()[0].as_boolean(), Some(true));
    /// ```
    #[must_use]
    pub fn path(&self, path: &str) -> Self {
        path.split('.').fold(self.clone(), |json, name| json.field(name))
    }

    /// The elements of a list; none where this is no list or not a well-formed one.
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// let row = Json::new(r#"{"efectivos_asignados":"[4, 9]"}"#);
    /// let ids: Vec<_> = row.field("efectivos_asignados").items().iter().filter_map(Json::as_integer).collect();
    /// assert_eq!(ids, [4, 9]);
    /// ```
    pub fn items(&self) -> Vec<Self> {
        match self.opened() {
            Cow::Borrowed(text) => scan::elements(text).into_iter().map(|e| Self(Cow::Borrowed(e))).collect(),
            Cow::Owned(text) => scan::elements(&text).into_iter().map(|e| Self(Cow::Owned(e.to_owned()))).collect(),
        }
    }

    /// There is no such field.
    pub fn is_missing(&self) -> bool {
        self.0.is_empty()
    }

    /// It is `null`, or there is no such field.
    pub fn is_null(&self) -> bool {
        self.0.is_empty() || self.0 == "null"
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<Cow<'a, str>> {
        match &self.0 {
            Cow::Borrowed(raw) => scan::text(raw),
            Cow::Owned(raw) => scan::text(raw).map(|t| Cow::Owned(t.into_owned())),
        }
    }

    /// The integer, if it is one; also from a text, since integers beyond 2^53 travel so.
    pub fn as_integer(&self) -> Option<i64> {
        self.number_text()?.parse().ok()
    }

    /// The number, if it is one; also from a text.
    pub fn as_float(&self) -> Option<f64> {
        // Rust also reads `inf` and `nan`, which are no numbers in JSON.
        let text = self.number_text()?;
        let number = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
        text.parse().ok().filter(|_| number)
    }

    /// The moment, if it is a text that tells one; see [`Micros`] for how it may be written.
    ///
    /// ```
    /// # use relevo_plugin::{Json, Micros};
    /// let row = Json::new(r#"{"fin_real":"1970-01-01T00:01:00Z"}"#);
    /// assert_eq!(row.field("fin_real").as_moment(), Some(Micros(60_000_000)));
    /// ```
    pub fn as_moment(&self) -> Option<Micros> {
        self.as_text()?.parse().ok()
    }

    /// The truth value, if it is one; also from 0 and 1, since SQLite has no other.
    pub fn as_boolean(&self) -> Option<bool> {
        match self.raw() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }
    }

    /// The text of a field.
    ///
    /// # Errors
    /// Poison, if it is missing, null or no text.
    pub fn text(&self, name: &str) -> Result<Cow<'a, str>, Error> {
        self.required(name, "a text", Self::as_text)
    }

    /// The integer of a field; see [`as_integer`](Self::as_integer).
    ///
    /// # Errors
    /// Poison, if it is missing, null or no integer.
    pub fn integer(&self, name: &str) -> Result<i64, Error> {
        self.required(name, "an integer", Self::as_integer)
    }

    /// The number of a field; see [`as_float`](Self::as_float).
    ///
    /// # Errors
    /// Poison, if it is missing, null or no number.
    pub fn float(&self, name: &str) -> Result<f64, Error> {
        self.required(name, "a number", Self::as_float)
    }

    /// The truth value of a field; see [`as_boolean`](Self::as_boolean).
    ///
    /// # Errors
    /// Poison, if it is missing, null or no truth value.
    pub fn boolean(&self, name: &str) -> Result<bool, Error> {
        self.required(name, "a boolean", Self::as_boolean)
    }

    /// The whole of it as a type of your own, by serde.
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// #[derive(serde::Deserialize)]
    /// struct Efectivo { id: i64, unidad: Option<String> }
    /// let row: Efectivo = Json::new(r#"{"id":3,"unidad":null,"rango":"Sargento"}"#).parse()?;
    /// assert_eq!((row.id, row.unidad), (3, None));
    /// # Ok::<(), relevo_plugin::Error>(())
    /// ```
    ///
    /// # Errors
    /// Poison, if it doesn't fit.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(serde_json::from_str(&self.0)?)
    }

    fn required<T>(&self, name: &str, what: &str, read: impl Fn(&Self) -> Option<T>) -> Result<T, Error> {
        let field = self.field(name);
        if let Some(value) = read(&field) {
            return Ok(value);
        }
        Err(Error::poison(match field.raw() {
            "" => format!("{name}: there is no such field"),
            "null" => format!("{name}: is null, not {what}"),
            _ => format!("{name}: is not {what}"),
        }))
    }

    /// A number's digits, whether or not quotes stand around them.
    fn number_text(&self) -> Option<Cow<'a, str>> {
        match &self.0 {
            raw if raw.starts_with('"') => self.as_text(),
            raw if raw.is_empty() => None,
            raw => Some(raw.clone()),
        }
    }

    /// What to look into: the text itself, or the JSON that a string holds.
    fn opened(&self) -> Cow<'a, str> {
        if self.0.starts_with('"') { self.as_text().unwrap_or_default() } else { self.0.clone() }
    }
}
