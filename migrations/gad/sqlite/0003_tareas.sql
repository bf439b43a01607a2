-- The work. efectivos_asignados is a JSON list of ids of efectivos, as in the original system.
create table tareas (
  id                     integer primary key,
  uuid                   text    not null unique,
  codigo                 text    not null unique,
  titulo                 text    not null,
  descripcion            text,
  tipo                   text    not null check (tipo in
    ('PATRULLAJE', 'INVESTIGACION', 'VIGILANCIA', 'INTERVENCION', 'ADMINISTRATIVA', 'ENTRENAMIENTO')),
  prioridad              text    not null default 'MEDIUM'
    check (prioridad in ('LOW', 'MEDIUM', 'HIGH', 'URGENT', 'CRITICAL')),
  inicio_programado      text,
  fin_programado         text,
  inicio_real            text,
  fin_real               text,
  estado                 text    not null default 'PROGRAMMED'
    check (estado in ('PROGRAMMED', 'IN_PROGRESS', 'COMPLETED', 'CANCELLED', 'PAUSED')),
  delegado_usuario_id    integer references usuarios (id),
  creado_por_usuario_id  integer references usuarios (id),
  ubicacion_lat          real    check (ubicacion_lat between -90 and 90),
  ubicacion_lon          real    check (ubicacion_lon between -180 and 180),
  ubicacion_descripcion  text,
  efectivos_asignados    text    not null default '[]' check (json_type(efectivos_asignados) = 'array'),
  notas                  text    check (notas is null or json_valid(notas)),
  extra_data             text    check (extra_data is null or json_valid(extra_data)),
  created_at             text    not null default (strftime('%Y-%m-%dT%H:%M:%fZ')),
  updated_at             text    not null default (strftime('%Y-%m-%dT%H:%M:%fZ')),
  deleted_at             text
) strict;

create index tareas_estado on tareas (estado) where deleted_at is null;
create index tareas_prioridad on tareas (prioridad) where deleted_at is null;
create index tareas_delegado on tareas (delegado_usuario_id) where deleted_at is null;
create index tareas_inicio on tareas (inicio_programado);
