-- The personnel in the field: each belongs to one user.
create table efectivos (
  id                          integer primary key,
  uuid                        text    not null unique,
  usuario_id                  integer not null unique references usuarios (id),
  codigo_interno              text    not null unique,
  rango                       text,
  unidad                      text,
  especialidad                text,
  estado_disponibilidad       text    not null default 'DISPONIBLE'
    check (estado_disponibilidad in ('DISPONIBLE', 'EN_TAREA', 'FUERA_SERVICIO', 'NO_DISPONIBLE')),
  ultima_actualizacion_estado text,
  metadata                    text    check (metadata is null or json_valid(metadata)),
  lat                         real    check (lat between -90 and 90),
  lon                         real    check (lon between -180 and 180),
  created_at                  text    not null default (strftime('%Y-%m-%dT%H:%M:%fZ')),
  updated_at                  text    not null default (strftime('%Y-%m-%dT%H:%M:%fZ')),
  deleted_at                  text
) strict;

create index efectivos_unidad on efectivos (unidad) where deleted_at is null;
create index efectivos_estado on efectivos (estado_disponibilidad) where deleted_at is null;
