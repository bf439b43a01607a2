//! An efectivo as clients see it: the API's labels, and the person's name.

use std::borrow::Cow;

use relevo_plugin::{Error, Json, lookup};
use serde::Serialize;

/// An efectivo. The states of a status change are there only where there was one.
#[derive(Default, Serialize)]
pub(crate) struct Efectivo<'a> {
    pub(crate) id: Option<i64>,
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

/// What has to be known of a row to tell what happened to it.
pub(crate) struct Brief<'a> {
    pub(crate) id: Option<i64>,
    pub(crate) deleted: bool,
    estado: Option<Cow<'a, str>>,
    place: [Option<f64>; 2],
}

impl<'a> Efectivo<'a> {
    /// Reads a row.
    pub(crate) fn read(row: &Json<'a>) -> Result<Self, Error> {
        let [id, uuid, usuario_id, codigo_interno, rango, unidad, especialidad] =
            row.fields(["id", "uuid", "usuario_id", "codigo_interno", "rango", "unidad", "especialidad"]);
        let [estado, since, lat, lon, updated_at] =
            row.fields(["estado_disponibilidad", "ultima_actualizacion_estado", "lat", "lon", "updated_at"]);
        let usuario_id = usuario_id.as_integer();
        Ok(Self {
            id: Some(id.as_integer().ok_or_else(|| Error::poison("an efectivo without an id"))?),
            uuid: uuid.as_text(),
            usuario_id,
            nombre: usuario_id.and_then(name),
            codigo_interno: codigo_interno.as_text(),
            rango: rango.as_text(),
            unidad: unidad.as_text(),
            especialidad: especialidad.as_text(),
            estado: estado.as_text().map(state),
            ultima_actualizacion_estado: since.as_text(),
            lat: lat.as_float(),
            lon: lon.as_float(),
            updated_at: updated_at.as_text(),
            status: None,
        })
    }
}

impl<'a> Brief<'a> {
    pub(crate) fn read(row: &Json<'a>) -> Self {
        let [id, deleted_at, estado, lat, lon] =
            row.fields(["id", "deleted_at", "estado_disponibilidad", "lat", "lon"]);
        Self {
            id: id.as_integer(),
            deleted: !deleted_at.is_null(),
            estado: estado.as_text(),
            place: [lat.as_float(), lon.as_float()],
        }
    }

    pub(crate) fn moved_from(&self, before: &Self) -> bool {
        self.place != before.place
    }

    /// Both states, if they differ.
    pub(crate) fn status_since(&self, before: &Self) -> Option<Status<'a>> {
        let (old, new) = (before.estado.clone()?, self.estado.clone()?);
        (old != new).then(|| Status { old_status: state(old), new_status: state(new) })
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
