//! A task as clients see it: the API's labels, and people with their names.

use std::borrow::Cow;
use std::collections::BTreeSet;

use relevo_plugin::{Json, lookup};
use serde::Serialize;

/// A task.
#[derive(Default, Serialize)]
pub(crate) struct Task<'a> {
    pub(crate) id: Option<i64>,
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

/// What has to be known of a row to tell what happened to it.
#[derive(Default)]
pub(crate) struct Brief<'a> {
    pub(crate) id: Option<i64>,
    pub(crate) deleted: bool,
    estado: Option<Cow<'a, str>>,
    delegado: Option<i64>,
    efectivos: Vec<i64>,
}

/// A row's columns, found in one pass over it.
pub(crate) struct Row<'a>([Json<'a>; COLUMNS.len()]);

/// In the order of the table, in which rows come.
#[rustfmt::skip]
const COLUMNS: [&str; 21] = [
    "id", "uuid", "codigo", "titulo", "descripcion", "tipo", "prioridad", "inicio_programado", "fin_programado",
    "inicio_real", "fin_real", "estado", "delegado_usuario_id", "creado_por_usuario_id", "ubicacion_lat",
    "ubicacion_lon", "ubicacion_descripcion", "efectivos_asignados", "created_at", "updated_at", "deleted_at",
];

impl<'a> Row<'a> {
    pub(crate) fn read(row: &Json<'a>) -> Self {
        Self(row.fields(COLUMNS))
    }

    pub(crate) fn brief(&self) -> Brief<'a> {
        let Self([id, .., estado, delegate, _, _, _, _, efectivos, _, _, deleted_at]) = self;
        Brief::of(id, deleted_at, estado, delegate, efectivos)
    }

    pub(crate) fn task(&self) -> Task<'a> {
        #[rustfmt::skip]
        let Self([
            id, uuid, codigo, titulo, descripcion, tipo, prioridad, planned_from, planned_to, began, ended, estado,
            delegate, creator, lat, lon, place, efectivos, created_at, updated_at, _,
        ]) = self;
        Task {
            id: id.as_integer(),
            uuid: uuid.as_text(),
            codigo: codigo.as_text(),
            titulo: titulo.as_text(),
            descripcion: descripcion.as_text(),
            tipo: tipo.as_text().map(|tipo| tipo.to_lowercase()),
            prioridad: prioridad.as_text().and_then(|label| priority(&label)),
            estado: estado.as_text().map(state),
            inicio_programado: planned_from.as_text(),
            fin_programado: planned_to.as_text(),
            inicio_real: began.as_text(),
            fin_real: ended.as_text(),
            delegado: delegate.as_integer().map(Person::of),
            creado_por: creator.as_integer().map(Person::of),
            ubicacion: Place { lat: lat.as_float(), lon: lon.as_float(), descripcion: place.as_text() },
            efectivos: ids(efectivos).into_iter().map(Efectivo::of).collect(),
            created_at: created_at.as_text(),
            updated_at: updated_at.as_text(),
        }
    }
}

impl<'a> Brief<'a> {
    pub(crate) fn read(row: &Json<'a>) -> Self {
        let [id, estado, delegate, efectivos, deleted_at] =
            row.fields(["id", "estado", "delegado_usuario_id", "efectivos_asignados", "deleted_at"]);
        Self::of(&id, &deleted_at, &estado, &delegate, &efectivos)
    }

    fn of(id: &Json<'a>, deleted_at: &Json<'a>, estado: &Json<'a>, delegate: &Json<'a>, efectivos: &Json<'a>) -> Self {
        Self {
            id: id.as_integer(),
            deleted: !deleted_at.is_null(),
            estado: estado.as_text(),
            delegado: delegate.as_integer(),
            efectivos: ids(efectivos),
        }
    }

    /// Neither finished nor cancelled nor deleted.
    pub(crate) fn is_open(&self) -> bool {
        !self.deleted && !matches!(self.estado.as_deref(), Some("COMPLETED" | "CANCELLED"))
    }

    /// Both states, if they differ.
    pub(crate) fn status_since(&self, before: &Self) -> Option<Status<'a>> {
        let (old, new) = (before.estado.clone()?, self.estado.clone()?);
        (old != new).then(|| Status { old_status: state(old), new_status: state(new) })
    }

    /// Who has the task now and had not before.
    pub(crate) fn assigned_since(&self, before: &Self) -> Assigned {
        let new = self.efectivos.iter().filter(|id| !before.efectivos.contains(id));
        Assigned {
            nuevo_delegado: self.delegado.filter(|_| self.delegado != before.delegado),
            nuevos_efectivos: new.copied().collect(),
        }
    }
}

impl Assigned {
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
        let [usuario_id, codigo] = row.fields(["usuario_id", "codigo_interno"]);
        let (usuario_id, codigo_interno) = (usuario_id.as_integer(), codigo.as_text().map(Into::into));
        Self { efectivo_id, usuario_id, codigo_interno, nombre: usuario_id.and_then(name) }
    }
}

/// First name and surname of a user.
fn name(usuario_id: i64) -> Option<String> {
    let row = lookup::row("usuarios", &usuario_id.to_string())?;
    let parts = row.fields(["nombre", "apellido"]);
    let name = parts.iter().filter_map(Json::as_text).collect::<Vec<_>>().join(" ");
    Some(name).filter(|name| !name.is_empty())
}

/// The ids of a list, each once.
fn ids(list: &Json<'_>) -> Vec<i64> {
    let mut seen = BTreeSet::new();
    list.items().iter().filter_map(Json::as_integer).filter(|id| seen.insert(*id)).collect()
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
