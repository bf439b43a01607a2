-- The people: everybody who has an account. Rows are soft-deleted by deleted_at.
create table usuarios (
  id                integer primary key,
  uuid              text    not null unique,
  dni               text    not null unique,
  nombre            text    not null,
  apellido          text    not null,
  email             text    unique,
  telefono          text,
  telegram_id       integer unique,
  nivel             text    not null default 'LEVEL_1' check (nivel in ('LEVEL_1', 'LEVEL_2', 'LEVEL_3')),
  hashed_password   text    not null,
  verificado        integer not null default 0 check (verificado in (0, 1)),
  ultimo_acceso     text,
  intentos_fallidos integer not null default 0 check (intentos_fallidos >= 0),
  bloqueado_hasta   text,
  extra_data        text    check (extra_data is null or json_valid(extra_data)),
  created_at        text    not null default (strftime('%Y-%m-%dT%H:%M:%fZ')),
  updated_at        text    not null default (strftime('%Y-%m-%dT%H:%M:%fZ')),
  deleted_at        text
) strict;

create index usuarios_nivel on usuarios (nivel) where deleted_at is null;
