-- psql -d shop -v password=… -f postgres.sql, as a superuser: what Relevo needs to watch the table orders.
CREATE ROLE relevo LOGIN REPLICATION PASSWORD :'password';
GRANT CONNECT ON DATABASE shop TO relevo;
GRANT USAGE ON SCHEMA public TO relevo;
-- For each watched table:
GRANT SELECT ON orders TO relevo;
ALTER TABLE orders REPLICA IDENTITY FULL;
-- The name is that of the settings: relevo_ and the source's. Only the tables' owner or a superuser can make it.
CREATE PUBLICATION relevo_shop FOR TABLE orders WITH (publish_via_partition_root = true);
