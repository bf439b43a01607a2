//! A task as clients see it: the API's labels, and people with their names.

use std::borrow::Cow;
use std::collections::BTreeSet;

use relevo_plugin::{Error, Json, lookup};
use serde::Serialize;

/// A task. Fields of a status change and of an assignment are there only where they say something.
#[derive(Default, Serialize)]
pub(crate) struct Task<'a> {
    id: Option<i64>,
    uuid: Option<Cow<'a, str>>,
    codigo: Option<Cow<'a, str>>,
    titulo: Option<Cow<'a, str>>,
    descripcion: Option<Cow<'a, str>>,
    tipo: Option<String>,
    /// 1 (low) to 5 (critical).
    prioridad: Option<u8>,
    estado: Option<Cow<'a, str>>,
    inicio_programado: Option<Cow<'a, str>>,
    fin_programado: Option<Cow<'a, str>>,
    inicio_real: Option<Cow<'a, str>>,
    fin_real: Option<Cow<'a, str>>,
    delegado: Option<Person>,
    creado_por: Option<Person>,
    ubicacion: Place<'a>,
    efectivos: Vec<Efectivo>,
    created_at: Option<Cow<'a, str>>,
    updated_at: Option<Cow<'a, str>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<Status<'a>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) assigned: Option<&'a Assigned>,
}

/// Old and new state of a status change.
#[derive(Serialize)]
pub(crate) struct Status<'a> {
    old_status: Cow<'a, str>,
    new_status: Cow<'a, str>,
}

/// Who has the task now and had not before.
#[derive(Default, Serialize)]
pub(crate) struct Assigned {
    nuevo_delegado: Option<i64>,
    nuevos_efectivos: Vec<i64>,
}

/// A user. The name is null where the reference tables don't know them.
#[derive(Serialize)]
struct Person {
    usuario_id: i64,
    nombre: Option<String>,
}

#[derive(Serialize)]
struct Efectivo {
    efectivo_id: i64,
    usuario_id: Option<i64>,
    codigo_interno: Option<String>,
    nombre: Option<String>,
}

#[derive(Default, Serialize)]
struct Place<'a> {
    lat: Option<f64>,
    lon: Option<f64>,
    descripcion: Option<Cow<'a, str>>,
}

impl<'a> Task<'a> {
    /// Reads a row.
    pub(crate) fn read(row: &Json<'a>) -> Result<Self, Error> {
        let text = |column: &str| row.field(column).as_text();
        let person = |column: &str| row.field(column).as_integer().map(Person::of);
        Ok(Self {
            id: Some(row.integer("id")?),
            uuid: text("uuid"),
            codigo: text("codigo"),
            titulo: text("titulo"),
            descripcion: text("descripcion"),
            tipo: text("tipo").map(|tipo| tipo.to_lowercase()),
            prioridad: text("prioridad").and_then(|label| priority(&label)),
            estado: text("estado").map(state),
            inicio_programado: text("inicio_programado"),
            fin_programado: text("fin_programado"),
            inicio_real: text("inicio_real"),
            fin_real: text("fin_real"),
            delegado: person("delegado_usuario_id"),
            creado_por: person("creado_por_usuario_id"),
            ubicacion: Place {
                lat: row.field("ubicacion_lat").as_float(),
                lon: row.field("ubicacion_lon").as_float(),
                descripcion: text("ubicacion_descripcion"),
            },
            efectivos: ids(row).into_iter().map(Efectivo::of).collect(),
            created_at: text("created_at"),
            updated_at: text("updated_at"),
            status: None,
            assigned: None,
        })
    }
}

impl<'a> Status<'a> {
    /// The states, if they differ.
    pub(crate) fn changed(before: &Json<'a>, after: &Json<'a>) -> Option<Self> {
        let old = before.field("estado").as_text()?;
        let new = after.field("estado").as_text()?;
        (old != new).then(|| Self { old_status: state(old), new_status: state(new) })
    }
}

impl Assigned {
    /// Who is in `after` and not in `before`.
    pub(crate) fn between(before: &Json<'_>, after: &Json<'_>) -> Self {
        let delegate = |row: &Json<'_>| row.field("delegado_usuario_id").as_integer();
        let former = ids(before);
        Self {
            nuevo_delegado: delegate(after).filter(|id| delegate(before) != Some(*id)),
            nuevos_efectivos: ids(after).into_iter().filter(|id| !former.contains(id)).collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nuevo_delegado.is_none() && self.nuevos_efectivos.is_empty()
    }

    /// The users: the delegate first, each once. An efectivo that the reference tables don't know
    /// has none.
    pub(crate) fn users(&self) -> Vec<i64> {
        let efectivos = self
            .nuevos_efectivos
            .iter()
            .filter_map(|id| lookup::row("efectivos", &id.to_string())?.field("usuario_id").as_integer());
        let mut seen = BTreeSet::new();
        self.nuevo_delegado.into_iter().chain(efectivos).filter(|user| seen.insert(*user)).collect()
    }
}

impl Person {
    fn of(usuario_id: i64) -> Self {
        Self { usuario_id, nombre: name(usuario_id) }
    }
}

impl Efectivo {
    fn of(efectivo_id: i64) -> Self {
        let row = lookup::row("efectivos", &efectivo_id.to_string()).unwrap_or_else(|| Json::new(""));
        let usuario_id = row.field("usuario_id").as_integer();
        let codigo_interno = row.field("codigo_interno").as_text().map(Into::into);
        Self { efectivo_id, usuario_id, codigo_interno, nombre: usuario_id.and_then(name) }
    }
}

/// First name and surname of a user.
fn name(usuario_id: i64) -> Option<String> {
    let row = lookup::row("usuarios", &usuario_id.to_string())?;
    let parts = [row.field("nombre").as_text(), row.field("apellido").as_text()];
    let name = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    Some(name).filter(|name| !name.is_empty())
}

/// The efectivos of a row, each once.
fn ids(row: &Json<'_>) -> Vec<i64> {
    let mut seen = BTreeSet::new();
    let items = row.field("efectivos_asignados").items();
    items.iter().filter_map(Json::as_integer).filter(|id| seen.insert(*id)).collect()
}

/// The API's name of a state; one that it doesn't know is shown as it stands.
fn state(label: Cow<'_, str>) -> Cow<'_, str> {
    match label.as_ref() {
        "PROGRAMMED" => "programada".into(),
        "IN_PROGRESS" => "en_curso".into(),
        "COMPLETED" => "finalizada".into(),
        "CANCELLED" => "cancelada".into(),
        "PAUSED" => "pausada".into(),
        _ => label,
    }
}

fn priority(label: &str) -> Option<u8> {
    ["LOW", "MEDIUM", "HIGH", "URGENT", "CRITICAL"].iter().zip(1..).find_map(|(l, n)| (*l == label).then_some(n))
}
