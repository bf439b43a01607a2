//! Reads single fields out of a JSON text without parsing the rest of it.

use std::borrow::Cow;

use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::Micros;

mod row;
mod scan;
mod search;
#[cfg(test)]
mod tests;
mod wanted;

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
    /// The host wrote it; what that says, `search` has.
    sound: bool,
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
        Self { text: Cow::Borrowed(text), changed: "", sound: false }
    }

    fn kept(text: String) -> Self {
        Self { text: Cow::Owned(text), changed: "", sound: false }
    }

    /// A row, with the event's list of changed columns.
    pub(crate) fn row(text: &'a str, changed: &'a str) -> Self {
        Self { changed, sound: true, ..Self::new(text) }
    }

    /// A row that the host looked up.
    pub(crate) fn looked_up(text: String) -> Json<'static> {
        Json { sound: true, ..Json::owned(text) }
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

    /// The members of these names, looked for together.
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
        let kept = |field: &str| Self::kept(field.to_owned());
        match (self.within(), &self.text) {
            (Some(Cow::Borrowed(text)), _) => scan::members(text, &names).map(Self::borrowed),
            (Some(Cow::Owned(text)), _) => scan::members(&text, &names).map(kept),
            (None, Cow::Borrowed(text)) => self.members(text, &names).map(Self::borrowed),
            (None, Cow::Owned(text)) => self.members(text, &names).map(kept),
        }
    }

    /// The members of these names in the text itself.
    fn members<'t, const N: usize>(&self, text: &'t str, names: &[&str; N]) -> [&'t str; N] {
        let found = if self.sound { search::members(text, names) } else { None };
        found.unwrap_or_else(|| scan::members(text, names))
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
        self.within().unwrap_or_else(|| self.text.clone())
    }

    /// The JSON that a string holds, if this is a string.
    fn within(&self) -> Option<Cow<'a, str>> {
        self.text.starts_with('"').then(|| self.as_text().unwrap_or_default())
    }
}
