//! Statements that run together.

use sqlx::{Connection as _, SqliteConnection};

use crate::journal::script::Script;

async fn table() -> SqliteConnection {
    let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    sqlx::raw_sql("CREATE TABLE t (a INTEGER, b TEXT, UNIQUE (a))").execute(&mut conn).await.unwrap();
    conn
}

async fn rows(conn: &mut SqliteConnection) -> Vec<(i64, String)> {
    sqlx::query_as("SELECT a, b FROM t ORDER BY rowid").fetch_all(conn).await.unwrap()
}

#[tokio::test]
async fn any_number_of_rows_arrives_once_and_in_order_among_other_statements() {
    for count in (0..40).chain([63, 64, 65, 255, 256, 257, 341, 600]) {
        let mut conn = table().await;
        let wanted: Vec<(i64, String)> = (0..count).map(|n| (n, format!("row {n}"))).collect();
        let mut script = Script::new(&mut conn);
        script.add("BEGIN IMMEDIATE");
        script.add("INSERT INTO t (a, b) VALUES (?, ?)").bind(-2_i64).bind("first");
        let bind = |values: &mut crate::journal::script::Values, (a, b): &(i64, String)| {
            values.bind(*a).bind(b.as_str());
        };
        script.rows("INSERT INTO t (a, b)", 2, "ON CONFLICT (a) DO NOTHING", &wanted, bind).await.unwrap();
        script.add("INSERT INTO t (a, b) VALUES (?, ?)").bind(-1_i64).bind("last");
        script.add("COMMIT");
        script.run().await.unwrap();
        let found = rows(&mut conn).await;
        assert_eq!(found.first(), Some(&(-2, "first".into())));
        assert_eq!(found.last(), Some(&(-1, "last".into())));
        assert_eq!(found[1..found.len() - 1], wanted, "{count} rows");
    }
}

#[tokio::test]
async fn a_statement_that_fails_keeps_those_behind_it_from_running_and_what_never_ran_is_not_there() {
    let mut conn = table().await;
    let mut script = Script::new(&mut conn);
    for (a, b) in [(1, "one"), (1, "again"), (2, "two")] {
        script.add("INSERT INTO t (a, b) VALUES (?, ?)").bind(a).bind(b);
    }
    script.run().await.unwrap_err();
    // It is empty now, and can be used.
    script.add("INSERT INTO t (a, b) VALUES (?, ?)").bind(3).bind("three");
    let known: i64 =
        sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(script.conn().await.unwrap()).await.unwrap();
    assert_eq!(known, 2, "what was added before a question has run");
    script.add("INSERT INTO t (a, b) VALUES (?, ?)").bind(4).bind("four");
    drop(script);
    assert_eq!(rows(&mut conn).await, [(1, "one".into()), (3, "three".into())]);
}
