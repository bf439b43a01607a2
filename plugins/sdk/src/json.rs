//! Reads single fields out of a JSON text without parsing the rest of it.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{Error, Micros};

mod row;
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
/// assert_eq!(row.integer("extra_data.zona.codigo")?, 3);
/// let why = row.text("titulo").unwrap_err();
/// assert_eq!(why.to_string(), "poison: titulo: there is no such field; a text is wanted");
/// # Ok::<(), relevo_plugin::Error>(())
/// ```
///
/// [`text`](Self::text), [`integer`](Self::integer), [`float`](Self::float), [`boolean`](Self::boolean),
/// [`moment`](Self::moment) and [`get`](Self::get) take a name or a path, `extra_data.zona.codigo`; a
/// field whose name has dots comes before a path. What isn't there or is of another type is an error
/// that names the field, what was there and what was wanted.
#[derive(Clone, Debug)]
pub struct Json<'a> {
    text: Cow<'a, str>,
    /// Of a row: the event's list of changed columns, which names those that were left out of the row.
    changed: &'a str,
}

/// Written as it stands, so that a row or a field of one can be part of what is sent; what isn't there is null.
/// [`Draft::json`](crate::Draft::json) sends one alone.
///
/// ```
/// use relevo_plugin::{Error, Event, Messages};
/// #[derive(serde::Serialize)]
/// struct Moved<'a> { from: &'a relevo_plugin::Json<'a>, to: &'a relevo_plugin::Json<'a> }
/// fn tell(event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
///     out.send("moves").data(&Moved { from: &event.before().field("zona"), to: &event.after().field("zona") })
/// }
/// ```
///
/// A text that is no JSON is an error.
impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_missing() {
            return serializer.serialize_unit();
        }
        serde_json::from_str::<&RawValue>(&self.text).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'a> Json<'a> {
    /// Reads from this text. An empty text is the JSON that isn't there.
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// assert_eq!(Json::new("7").as_integer(), Some(7));
    /// assert!(Json::new("").is_missing());
    /// ```
    pub fn new(text: &'a str) -> Self {
        Self::borrowed(text.trim_ascii())
    }

    fn borrowed(text: &'a str) -> Self {
        Self { text: Cow::Borrowed(text), changed: "" }
    }

    fn kept(text: String) -> Self {
        Self { text: Cow::Owned(text), changed: "" }
    }

    /// A row, with the event's list of changed columns.
    pub(crate) fn row(text: &'a str, changed: &'a str) -> Self {
        Self { changed, ..Self::new(text) }
    }

    /// Reads from this text, and keeps it.
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// assert_eq!(Json::owned("[1]".to_owned()).items().len(), 1);
    /// ```
    pub fn owned(text: String) -> Json<'static> {
        Json::kept(if text.trim_ascii().len() == text.len() { text } else { text.trim_ascii().to_owned() })
    }

    /// The text as it stands, like `"PAUSED"` with its quotes; empty where there is none.
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// assert_eq!(Json::new(r#"{"estado":"PAUSED"}"#).field("estado").raw(), "\"PAUSED\"");
    /// ```
    pub fn raw(&self) -> &str {
        &self.text
    }

    /// The member of this name; missing where this is no object or has none.
    ///
    /// Each call looks from the beginning: for more than two or three members use
    /// [`fields`](Self::fields).
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// let row = Json::new(r#"{"fin_real":null}"#);
    /// assert!(row.field("fin_real").is_null() && !row.field("fin_real").is_missing());
    /// assert!(row.field("titulo").is_missing());
    /// ```
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
            Cow::Borrowed(text) => scan::members(text, &names).map(Self::borrowed),
            Cow::Owned(text) => scan::members(&text, &names).map(|field| Self::kept(field.to_owned())),
        }
    }

    /// What stands at the end of these names, with dots between them. Of a list a number names the
    /// element, from 0.
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// let row = Json::new(r#"{"a":{"b":[{"c":true}]}}"#);
    /// assert_eq!(row.path("a.b.0.c").as_boolean(), Some(true));
    /// assert!(row.path("a.z.0.c").is_missing());
    /// ```
    #[must_use]
    pub fn path(&self, path: &str) -> Self {
        path.split('.').fold(self.clone(), |json, name| json.step(name))
    }

    /// What stands at the end of a JSON pointer (RFC 6901), for names that have dots themselves.
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// let row = Json::new(r#"{"a.b":[{"c/d":7}]}"#);
    /// assert_eq!(row.pointer("/a.b/0/c~1d").as_integer(), Some(7));
    /// assert_eq!(row.pointer("").raw(), row.raw());
    /// ```
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Self {
        let unescape = |name: &str| name.replace("~1", "/").replace("~0", "~");
        match pointer.strip_prefix('/') {
            Some(names) => names.split('/').fold(self.clone(), |json, name| json.step(&unescape(name))),
            None if pointer.is_empty() => self.clone(),
            None => Self::new(""),
        }
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
            Cow::Borrowed(text) => scan::elements(text).into_iter().map(Self::borrowed).collect(),
            Cow::Owned(text) => scan::elements(&text).into_iter().map(|e| Self::kept(e.to_owned())).collect(),
        }
    }

    /// Whether this is a list that has this text.
    pub(crate) fn lists(&self, text: &str) -> bool {
        scan::elements(&self.text).into_iter().any(|element| scan::text(element).is_some_and(|found| found == text))
    }

    /// There is no such field.
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// assert!(Json::new("{}").field("id").is_missing());
    /// ```
    pub fn is_missing(&self) -> bool {
        self.text.is_empty()
    }

    /// It is `null`, or there is no such field.
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// assert!(Json::new("null").is_null() && Json::new("").is_null());
    /// ```
    pub fn is_null(&self) -> bool {
        self.text.is_empty() || self.text == "null"
    }

    /// Of a row: the size in bytes of a column that was too large for the journal, so that the row
    /// lacks it. To tell it from one that the table hasn't.
    ///
    /// ```
    /// use relevo_plugin::test::{insert, see};
    /// # use serde_json::json;
    /// see(insert("fotos", json!({ "id": 1 })).missing("imagen", 9_000_000), |event| {
    ///     let row = event.after();
    ///     assert!(row.field("imagen").is_missing());
    ///     assert_eq!((row.left_out("imagen"), row.left_out("id")), (Some(9_000_000), None));
    ///     let why = row.text("imagen").unwrap_err();
    ///     let told = "poison: imagen: its 9000000 bytes were too large, the row came without it; a text is wanted";
    ///     assert_eq!(why.to_string(), told);
    /// });
    /// ```
    pub fn left_out(&self, column: &str) -> Option<u64> {
        let list = Self::new(self.changed).items();
        list.last()?.field("missing").field(column).as_integer()?.try_into().ok()
    }

    /// The text, if it is one.
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// assert_eq!(Json::new(r#""a\u00f1o""#).as_text().as_deref(), Some("año"));
    /// assert_eq!(Json::new("7").as_text(), None);
    /// ```
    pub fn as_text(&self) -> Option<Cow<'a, str>> {
        match &self.text {
            Cow::Borrowed(raw) => scan::text(raw),
            Cow::Owned(raw) => scan::text(raw).map(|t| Cow::Owned(t.into_owned())),
        }
    }

    /// The integer, if it is one; also from a text, since integers beyond 2^53 travel so.
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// assert_eq!(Json::new(r#""9007199254740993""#).as_integer(), Some(9_007_199_254_740_993));
    /// assert_eq!(Json::new("1.5").as_integer(), None);
    /// ```
    pub fn as_integer(&self) -> Option<i64> {
        self.number_text()?.parse().ok()
    }

    /// The number, if it is one; also from a text.
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// assert_eq!(Json::new("-34.5").as_float(), Some(-34.5));
    /// ```
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
    ///
    /// ```
    /// # use relevo_plugin::Json;
    /// assert_eq!((Json::new("true").as_boolean(), Json::new("0").as_boolean()), (Some(true), Some(false)));
    /// ```
    pub fn as_boolean(&self) -> Option<bool> {
        match self.raw() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }
    }

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

    /// The field of this name or, where there is none, what stands at the end of the path.
    fn at(&self, path: &str) -> Self {
        let field = self.field(path);
        if field.is_missing() && path.contains('.') { self.path(path) } else { field }
    }

    /// The member of an object, or the element of a list.
    fn step(&self, name: &str) -> Self {
        match name.parse::<usize>() {
            Ok(index) if self.opened().starts_with('[') => {
                self.items().into_iter().nth(index).unwrap_or_else(|| Self::new(""))
            }
            _ => self.field(name),
        }
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

    /// A number's digits, whether or not quotes stand around them.
    fn number_text(&self) -> Option<Cow<'a, str>> {
        match &self.text {
            raw if raw.starts_with('"') => self.as_text(),
            raw if raw.is_empty() => None,
            raw => Some(raw.clone()),
        }
    }

    /// What to look into: the text itself, or the JSON that a string holds.
    fn opened(&self) -> Cow<'a, str> {
        if self.text.starts_with('"') { self.as_text().unwrap_or_default() } else { self.text.clone() }
    }
}

/// The beginning of what was there, for an error.
fn shown(raw: &str) -> Cow<'_, str> {
    match raw.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &raw[..end]).into(),
        None => raw.into(),
    }
}
