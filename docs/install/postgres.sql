-- psql -d shop -v password=… -f postgres.sql, as a superuser: what Relevo needs to watch the table orders.
\set ON_ERROR_STOP on
-- The role is the whole server's: it may be there already, for another database or after a first try.
SELECT 'CREATE ROLE relevo' WHERE to_regrole('relevo') IS NULL \gexec
ALTER ROLE relevo LOGIN REPLICATION PASSWORD :'password';
GRANT CONNECT ON DATABASE shop TO relevo;
GRANT USAGE ON SCHEMA public TO relevo;
-- For each watched table:
GRANT SELECT ON orders TO relevo;

-- The name is that of the settings: relevo_ and the source's. Only the tables' owner or a superuser can make it.
-- From PostgreSQL 18 on a publication has to carry generated columns: without them the server refuses the application's own
-- UPDATEs of a table that has a stored one and a full replica identity.
SELECT current_setting('server_version_num')::int >= 180000 AS carries_generated,
    EXISTS (SELECT FROM pg_publication WHERE pubname = 'relevo_shop') AS is_there \gset
BEGIN;
\if :is_there
-- As a first try left it.
\elif :carries_generated
CREATE PUBLICATION relevo_shop FOR TABLE orders
    WITH (publish_via_partition_root = true, publish_generated_columns = stored);
\else
CREATE PUBLICATION relevo_shop FOR TABLE orders WITH (publish_via_partition_root = true);
\endif
-- Not before the publication stands, and not without it. For each watched table, and each partition of one:
ALTER TABLE orders REPLICA IDENTITY FULL;
COMMIT;
