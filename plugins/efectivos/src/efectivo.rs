//! An efectivo as clients see it: the API's labels, and the person's name.

use std::borrow::Cow;

use relevo_plugin::{Error, Json, lookup};
use serde::Serialize;

/// An efectivo. The states of a status change are there only where there was one.
#[derive(Default, Serialize)]
pub(crate) struct Efectivo<'a> {
    id: Option<i64>,
    uuid: Option<Cow<'a, str>>,
    usuario_id: Option<i64>,
    /// Null where the reference table doesn't know the user.
    nombre: Option<String>,
    codigo_interno: Option<Cow<'a, str>>,
    rango: Option<Cow<'a, str>>,
    unidad: Option<Cow<'a, str>>,
    especialidad: Option<Cow<'a, str>>,
    estado: Option<Cow<'a, str>>,
    ultima_actualizacion_estado: Option<Cow<'a, str>>,
    lat: Option<f64>,
    lon: Option<f64>,
    updated_at: Option<Cow<'a, str>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<Status<'a>>,
}

/// Old and new state of a status change.
#[derive(Serialize)]
pub(crate) struct Status<'a> {
    old_status: Cow<'a, str>,
    new_status: Cow<'a, str>,
}

impl<'a> Efectivo<'a> {
    /// Reads a row.
    pub(crate) fn read(row: &Json<'a>) -> Result<Self, Error> {
        let text = |column: &str| row.field(column).as_text();
        let usuario_id = row.field("usuario_id").as_integer();
        Ok(Self {
            id: Some(row.integer("id")?),
            uuid: text("uuid"),
            usuario_id,
            nombre: usuario_id.and_then(name),
            codigo_interno: text("codigo_interno"),
            rango: text("rango"),
            unidad: text("unidad"),
            especialidad: text("especialidad"),
            estado: text("estado_disponibilidad").map(state),
            ultima_actualizacion_estado: text("ultima_actualizacion_estado"),
            lat: row.field("lat").as_float(),
            lon: row.field("lon").as_float(),
            updated_at: text("updated_at"),
            status: None,
        })
    }
}

impl<'a> Status<'a> {
    /// The states, if they differ.
    pub(crate) fn changed(before: &Json<'a>, after: &Json<'a>) -> Option<Self> {
        let old = before.field("estado_disponibilidad").as_text()?;
        let new = after.field("estado_disponibilidad").as_text()?;
        (old != new).then(|| Self { old_status: state(old), new_status: state(new) })
    }
}

/// First name and surname of a user.
fn name(usuario_id: i64) -> Option<String> {
    let row = lookup::row("usuarios", &usuario_id.to_string())?;
    let parts = [row.field("nombre").as_text(), row.field("apellido").as_text()];
    let name = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    Some(name).filter(|name| !name.is_empty())
}

/// The API's name of a state; one that it doesn't know is shown as it stands.
fn state(label: Cow<'_, str>) -> Cow<'_, str> {
    match label.as_ref() {
        "DISPONIBLE" => "disponible".into(),
        "EN_TAREA" => "en_tarea".into(),
        "FUERA_SERVICIO" => "fuera_servicio".into(),
        "NO_DISPONIBLE" => "no_disponible".into(),
        _ => label,
    }
}
