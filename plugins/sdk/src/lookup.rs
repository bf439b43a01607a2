//! Rows of the reference tables that the manifest names, as they were at this batch's place in the
//! journal, however far behind the pipeline is.

use crate::Json;
use crate::backend::lookup as host;

/// The row with this primary key (as text), with the columns that the manifest names.
///
/// ```
/// use relevo_plugin::{Error, lookup};
/// fn name(user: i64) -> Result<Option<String>, Error> {
///     let Some(row) = lookup::row("usuarios", &user.to_string()) else { return Ok(None) };
///     Ok(Some(row.text("nombre")?.into_owned()))
/// }
/// ```
pub fn row(table: &str, key: &str) -> Option<Json<'static>> {
    host::row(table, key).map(Json::owned)
}
