//! How many messages may wait between the connection and the session. The client counts them, and doesn't weigh them: so
//! wide rows, as the server's statistics have them, make room for fewer.

use sqlx::PgConnection;
use sqlx::postgres::types::Oid;

use super::super::error::CaptureError;
use super::catalog::Table;

/// Of ordinary rows. Measured with rows of 1 KB, ten a transaction: of 64 or 24 messages the stream was read a tenth slower.
/// More wait in the socket, which is read again as soon as these are taken.
const MOST: usize = 256;

/// One is on its way in, and one out.
const LEAST: usize = 4;

/// What they may take, in bytes, about.
const BYTES: u64 = 128 << 20;

/// How many may wait, for the widest of these tables.
pub(super) async fn messages(db: &mut PgConnection, tables: &[Table]) -> Result<usize, CaptureError> {
    // What the last VACUUM or ANALYZE counted, and no function that looks at the files: those wait for locks. A row is in one
    // page, and what it has out of line in pieces of about 2,000 bytes; so what dead rows have left doesn't count.
    let sql = "SELECT coalesce(max(least(c.relpages::float8 * current_setting('block_size')::float8 / c.reltuples, \
                 current_setting('block_size')::float8) + greatest(coalesce(t.reltuples, 0), 0) * 2000 / c.reltuples), 0) \
               FROM pg_class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid WHERE c.oid = ANY ($1) AND c.reltuples >= 1";
    let parts: Vec<Oid> = tables.iter().flat_map(|table| &table.parts).map(|part| Oid(part.oid)).collect();
    let width: f64 = sqlx::query_scalar(sql).bind(parts).fetch_one(db).await?;
    Ok(of_width(width as u64))
}

/// An update has the old row and the new one, and bytea is sent as twice as many digits.
fn of_width(row: u64) -> usize {
    usize::try_from(BYTES / row.saturating_mul(4).max(1)).unwrap_or(MOST).clamp(LEAST, MOST)
}

#[cfg(test)]
mod tests {
    use relevo_tests::postgres::{DATABASE, Postgres};

    use super::super::catalog;
    use super::super::connect::Address;
    use super::*;

    #[test]
    fn wide_rows_make_room_for_fewer() {
        assert_eq!([0, 1_000, 131_072].map(of_width), [MOST; 3]);
        assert_eq!([1 << 20, 8 << 20, u64::MAX].map(of_width), [32, 4, 4]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_widest_table_counts_as_the_server_knows_it() {
        let database = Postgres::start();
        database.sql("create table narrow (id int primary key, v text); insert into narrow select n, 'v' from generate_series(1, 1000) n");
        database.sql("create table empty (id int primary key, v text); alter table empty set (autovacuum_enabled = off); insert into empty select n, repeat('v', 500) from generate_series(1, 20000) n; delete from empty where id < 20000");
        database.sql("create table wide (id int, b bytea) partition by range (id); create table part partition of wide for values from (0) to (100); alter table part alter b set storage external");
        database.sql("insert into wide select n, decode(repeat('ab', 2000000), 'hex') from generate_series(1, 5) n");
        let mut db = Address::parse(&database.url(DATABASE)).unwrap().connect().await.unwrap();
        database.sql("vacuum analyze empty");
        for (analyzed, at_most) in [(false, MOST), (true, 20)] {
            if analyzed {
                database.sql("vacuum analyze");
            }
            let tables = catalog::tables(&mut db).await.unwrap();
            let messages = messages(&mut db, &tables).await.unwrap();
            assert!(messages <= at_most && (analyzed || messages == MOST), "{messages}");
        }
    }
}
