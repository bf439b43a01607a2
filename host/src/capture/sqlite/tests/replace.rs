//! Every way in which SQLite removes or changes a row without saying so.

use super::{Watched, ok, sqlite3};

const UNIQUE: &str = "create table t(id integer primary key, u text unique, v);
    insert into t values (1, 'a', 'one'), (2, 'b', 'two'), (3, 'c', 'three')";

/// What each statement shows, with `recursive_triggers` off (as everywhere by default) and on.
async fn shows(schema: &str, sql: &str, expected: &[&str]) {
    for recursive in ["off", "on"] {
        let mut db = Watched::new(schema).await;
        let changes = db.run(&format!("pragma recursive_triggers = {recursive}; {sql}")).await;
        assert_eq!(changes, expected, "recursive_triggers = {recursive}: {sql}");
    }
}

#[tokio::test]
async fn insert_or_replace_of_the_same_key_is_an_update() {
    for schema in [
        "create table t(id integer primary key, v); insert into t values (1, 'old')",
        "create table t(id text primary key, v); insert into t values (1, 'old')",
        "create table t(id int primary key desc, v); insert into t values (1, 'old')",
        "create table t(id integer primary key on conflict replace, v); insert into t values (1, 'old')",
        "create table t(id integer primary key, v) strict, without rowid; insert into t values (1, 'old')"
            .replace("v)", "v text)")
            .as_str(),
    ] {
        let id = if schema.contains("text primary") { "\"1\"" } else { "1" };
        let update = format!(r#"update t 1: {{"id":{id},"v":"old"}} -> {{"id":{id},"v":"new"}}"#);
        let insert = format!(r#"insert t 2: - -> {{"id":{},"v":"new"}}"#, id.replace('1', "2"));
        shows(
            schema,
            "insert or replace into t values (1, 'new'); replace into t values (2, 'new')",
            &[&update, &insert],
        )
        .await;
    }
}

#[tokio::test]
async fn a_row_with_another_key_that_a_replace_removes_is_deleted() {
    let both = [
        r#"delete t 2: {"id":2,"u":"b","v":"two"} -> -"#,
        r#"update t 1: {"id":1,"u":"a","v":"one"} -> {"id":1,"u":"b","v":"new"}"#,
    ];
    shows(UNIQUE, "insert or replace into t values (1, 'b', 'new')", &both).await;
    let other = [r#"delete t 2: {"id":2,"u":"b","v":"two"} -> -"#, r#"insert t 9: - -> {"id":9,"u":"b","v":"new"}"#];
    shows(UNIQUE, "insert or replace into t values (9, 'b', 'new')", &other).await;
    let without_id = [r#"delete t 3: {"id":3,"u":"c","v":"three"} -> -"#, r#"insert t 4: - -> {"id":4,"u":"c","v":1}"#];
    shows(UNIQUE, "insert or replace into t(u, v) values ('c', 1)", &without_id).await;
}

#[tokio::test]
async fn one_transaction_may_replace_again_and_again() {
    let sql = "begin; replace into t values (1, 'x', 1); replace into t values (1, 'x', 2); delete from t where id = 1;
        replace into t values (1, 'b', 3); savepoint s; replace into t values (1, 'c', 4); rollback to s;
        insert into t values (2, 'z', 5); commit";
    let expected = [
        r#"update t 1: {"id":1,"u":"a","v":"one"} -> {"id":1,"u":"x","v":1}"#,
        r#"update t 1: {"id":1,"u":"x","v":1} -> {"id":1,"u":"x","v":2}"#,
        r#"delete t 1: {"id":1,"u":"x","v":2} -> -"#,
        r#"delete t 2: {"id":2,"u":"b","v":"two"} -> -"#,
        r#"insert t 1: - -> {"id":1,"u":"b","v":3}"#,
        r#"insert t 2: - -> {"id":2,"u":"z","v":5}"#,
    ];
    shows(UNIQUE, sql, &expected).await;
}

#[tokio::test]
async fn many_rows_in_one_statement_are_each_exact() {
    let sql =
        "replace into t select id, u, v || '!' from t order by id; replace into t values (1, 'b', 1), (1, 'c', 2)";
    let expected = [
        r#"update t 1: {"id":1,"u":"a","v":"one"} -> {"id":1,"u":"a","v":"one!"}"#,
        r#"update t 2: {"id":2,"u":"b","v":"two"} -> {"id":2,"u":"b","v":"two!"}"#,
        r#"update t 3: {"id":3,"u":"c","v":"three"} -> {"id":3,"u":"c","v":"three!"}"#,
        r#"delete t 2: {"id":2,"u":"b","v":"two!"} -> -"#,
        r#"update t 1: {"id":1,"u":"a","v":"one!"} -> {"id":1,"u":"b","v":1}"#,
        r#"delete t 3: {"id":3,"u":"c","v":"three!"} -> -"#,
        r#"update t 1: {"id":1,"u":"b","v":1} -> {"id":1,"u":"c","v":2}"#,
    ];
    shows(UNIQUE, sql, &expected).await;
}

#[tokio::test]
async fn an_insert_that_is_ignored_shows_nothing_then_or_later() {
    let sql =
        "insert or ignore into t values (1, 'x', 0), (7, 'b', 0); insert into t(u) values ('b') on conflict do nothing;
        delete from t where id = 2; insert into t values (2, 'q', 1); update t set v = 2 where id = 1";
    let expected = [
        r#"delete t 2: {"id":2,"u":"b","v":"two"} -> -"#,
        r#"insert t 2: - -> {"id":2,"u":"q","v":1}"#,
        r#"update t 1: {"id":1,"u":"a","v":"one"} -> {"id":1,"u":"a","v":2}"#,
    ];
    shows(UNIQUE, sql, &expected).await;
}

#[tokio::test]
async fn an_upsert_is_an_update() {
    let sql = "insert into t values (1, 'q', 'new') on conflict(id) do update set v = excluded.v;
        insert into t values (8, 'b', 'new') on conflict(u) do update set v = excluded.v, u = 'bb';
        insert into t values (8, 'b', 'new') on conflict(u) do update set v = excluded.v";
    let expected = [
        r#"update t 1: {"id":1,"u":"a","v":"one"} -> {"id":1,"u":"a","v":"new"}"#,
        r#"update t 2: {"id":2,"u":"b","v":"two"} -> {"id":2,"u":"bb","v":"new"}"#,
        r#"insert t 8: - -> {"id":8,"u":"b","v":"new"}"#,
    ];
    shows(UNIQUE, sql, &expected).await;
}

#[tokio::test]
async fn update_or_replace_deletes_what_stood_in_its_way() {
    let unique = [
        r#"delete t 2: {"id":2,"u":"b","v":"two"} -> -"#,
        r#"update t 1: {"id":1,"u":"a","v":"one"} -> {"id":1,"u":"b","v":"one"}"#,
    ];
    shows(
        UNIQUE,
        "update or replace t set u = 'b' where id = 1; update or replace t set u = 'b' where id = 1",
        &unique,
    )
    .await;
    let key = [
        r#"delete t 3: {"id":3,"u":"c","v":"three"} -> -"#,
        r#"delete t 1: {"id":1,"u":"a","v":"one"} -> -"#,
        r#"insert t 3: - -> {"id":3,"u":"a","v":"one"}"#,
    ];
    shows(UNIQUE, "update or replace t set id = 3 where id = 1", &key).await;
    shows(UNIQUE, "update or ignore t set u = 'b' where id = 1; update or fail t set v = 1 where id = 4", &[]).await;
}

#[tokio::test]
async fn a_row_that_gets_another_key_goes_and_comes() {
    let expected =
        [r#"delete t 1: {"id":1,"u":"a","v":"one"} -> -"#, r#"insert t 10: - -> {"id":10,"u":"a","v":"one"}"#];
    shows(UNIQUE, "update t set id = 10 where id = 1", &expected).await;
}

#[tokio::test]
async fn indexes_with_collations_expressions_and_conditions_count_as_sqlite_counts_them() {
    let schema = "create table t(id integer primary key, email text, \"odd name\" text, gone int);
        create unique index e on t(lower(email) desc);
        create unique index o on t(\"odd name\" collate nocase) where gone = 0; -- (
        insert into t values (1, 'A@x', 'One', 0), (2, 'b@x', 'Two', 1), (3, null, null, 0)";
    let by_expression = [
        r#"delete t 1: {"id":1,"email":"A@x","odd name":"One","gone":0} -> -"#,
        r#"insert t 5: - -> {"id":5,"email":"a@X","odd name":"x","gone":0}"#,
    ];
    shows(schema, "replace into t values (5, 'a@X', 'x', 0)", &by_expression).await;
    let by_collation = [
        r#"delete t 1: {"id":1,"email":"A@x","odd name":"One","gone":0} -> -"#,
        r#"insert t 5: - -> {"id":5,"email":"n","odd name":"ONE","gone":0}"#,
    ];
    shows(schema, "replace into t values (5, 'n', 'ONE', 0)", &by_collation).await;
    let outside = [
        r#"insert t 5: - -> {"id":5,"email":"n","odd name":"TWO","gone":0}"#,
        r#"insert t 6: - -> {"id":6,"email":null,"odd name":"one","gone":1}"#,
    ];
    shows(schema, "replace into t values (5, 'n', 'TWO', 0), (6, null, 'one', 1)", &outside).await;
    let updated = [
        r#"delete t 1: {"id":1,"email":"A@x","odd name":"One","gone":0} -> -"#,
        r#"update t 2: {"id":2,"email":"b@x","odd name":"Two","gone":1} -> {"id":2,"email":"a@x","odd name":"Two","gone":1}"#,
    ];
    shows(schema, "update or replace t set email = 'a@x' where id = 2", &updated).await;
}

#[tokio::test]
async fn tables_without_a_simple_key_are_exact_too() {
    let composite =
        "create table t(a, b text, v, primary key(b, a)) without rowid; insert into t values (1, 'x', 1), (2, 'x', 2)";
    let expected = [
        r#"update t ["x",1]: {"a":1,"b":"x","v":1} -> {"a":1,"b":"x","v":9}"#,
        r#"delete t ["x",2]: {"a":2,"b":"x","v":2} -> -"#,
        r#"insert t ["y",2]: - -> {"a":2,"b":"y","v":2}"#,
        r#"delete t ["x",1]: {"a":1,"b":"x","v":9} -> -"#,
    ];
    let sql = "replace into t values (1, 'x', 9); update t set b = 'y' where a = 2; delete from t where a = 1";
    shows(composite, sql, &expected).await;

    let without_key = "create table t(rowid text, v unique); insert into t values ('r', 1), ('s', 2)";
    let expected = [
        r#"delete t 1: {"rowid":"r","v":1} -> -"#,
        r#"insert t 3: - -> {"rowid":"q","v":1}"#,
        r#"update t 2: {"rowid":"s","v":2} -> {"rowid":"p","v":7}"#,
        r#"delete t 3: {"rowid":"q","v":1} -> -"#,
    ];
    let sql = "replace into t values ('q', 1); replace into t(_rowid_, rowid, v) values (2, 'p', 7); delete from t where v = 1";
    shows(without_key, sql, &expected).await;

    let null_key = "create table t(k text primary key, v); insert into t values (null, 1), (null, 2), ('a', 3)";
    let expected = [
        r#"update t rowid:2: {"k":null,"v":2} -> {"k":null,"v":5}"#,
        r#"update t a: {"k":"a","v":3} -> {"k":"a","v":6}"#,
        r#"insert t rowid:5: - -> {"k":null,"v":7}"#,
    ];
    let sql = "update t set v = 5 where v = 2; replace into t values ('a', 6), (null, 7)";
    shows(null_key, sql, &expected).await;
}

#[tokio::test]
async fn a_key_is_another_one_if_it_reads_otherwise() {
    // SQLite takes 1 and 1.0 for the same here, and 'a' and 'A'.
    let schema = "create table t(k primary key, v); insert into t values (1, 'x')";
    let expected = [r#"delete t 1: {"k":1,"v":"x"} -> -"#, r#"insert t 1.0: - -> {"k":1.0,"v":"y"}"#];
    shows(schema, "replace into t values (1.0, 'y')", &expected).await;
    let expected = [r#"delete t 1: {"k":1,"v":"x"} -> -"#, r#"insert t 1.0: - -> {"k":1.0,"v":"x"}"#];
    shows(schema, "update t set k = 1.0", &expected).await;
    for schema in [
        "create table t(k text collate nocase primary key, v); insert into t values ('a', 'x')",
        "create table t(k text, v, primary key(k collate nocase)) without rowid; insert into t values ('a', 'x')",
        "create table t(k text, v unique, primary key(k collate nocase)) without rowid; insert into t values ('a', 'x')",
    ] {
        let expected = [r#"delete t a: {"k":"a","v":"x"} -> -"#, r#"insert t A: - -> {"k":"A","v":"y"}"#];
        shows(schema, "replace into t values ('A', 'y')", &expected).await;
    }
}

#[tokio::test]
async fn a_row_that_stands_in_the_way_twice_is_deleted_once() {
    let expected = [
        r#"delete t 2: {"id":2,"u":"b","v":"two"} -> -"#,
        r#"delete t 1: {"id":1,"u":"a","v":"one"} -> -"#,
        r#"insert t 2: - -> {"id":2,"u":"b","v":"one"}"#,
    ];
    shows(UNIQUE, "update or replace t set id = 2, u = 'b' where id = 1", &expected).await;
    let schema = "create table t(a, b, v unique, w unique, primary key(a, b)) without rowid;
        insert into t values (1, 1, 'x', 'y'), (1, 2, 'p', 'q')";
    let expected = [
        r#"delete t [1,1]: {"a":1,"b":1,"v":"x","w":"y"} -> -"#,
        r#"update t [1,2]: {"a":1,"b":2,"v":"p","w":"q"} -> {"a":1,"b":2,"v":"x","w":"y"}"#,
        r#"delete t [1,2]: {"a":1,"b":2,"v":"x","w":"y"} -> -"#,
        r#"insert t [2,2]: - -> {"a":2,"b":2,"v":"x","w":"y"}"#,
    ];
    shows(schema, "replace into t values (1, 2, 'x', 'y'); replace into t values (2, 2, 'x', 'y')", &expected).await;
}

#[tokio::test]
async fn whatever_an_update_calls_the_rowid_it_is_the_key() {
    for name in ["id", "rowid", "_rowid_", "OID"] {
        let expected =
            [r#"delete t 1: {"id":1,"u":"a","v":"one"} -> -"#, r#"insert t 10: - -> {"id":10,"u":"a","v":"one"}"#];
        shows(UNIQUE, &format!("update t set {name} = 10 where id = 1"), &expected).await;
    }
    let schema = "create table t(v); insert into t values ('x'), ('y')";
    let expected = [r#"delete t 2: {"v":"y"} -> -"#, r#"delete t 1: {"v":"x"} -> -"#, r#"insert t 2: - -> {"v":"x"}"#];
    shows(schema, "update or replace t set oid = 2 where v = 'x'", &expected).await;
    // The key's own name is the only one that is left for the rowid.
    let schema =
        "create table t(id integer primary key, rowid, _rowid_, oid unique); insert into t values (1, 2, 3, 4)";
    let expected = [
        r#"update t 1: {"id":1,"rowid":2,"_rowid_":3,"oid":4} -> {"id":1,"rowid":2,"_rowid_":3,"oid":5}"#,
        r#"delete t 1: {"id":1,"rowid":2,"_rowid_":3,"oid":5} -> -"#,
        r#"insert t 9: - -> {"id":9,"rowid":0,"_rowid_":0,"oid":5}"#,
    ];
    shows(schema, "replace into t values (1, 2, 3, 5); replace into t values (9, 0, 0, 5)", &expected).await;
}

#[tokio::test]
async fn a_null_key_is_its_rowid_until_it_has_a_value() {
    let schema = "create table t(k text primary key, v); insert into t values (null, 1), ('a', 2)";
    let expected = [
        r#"delete t rowid:1: {"k":null,"v":1} -> -"#,
        r#"insert t rowid:7: - -> {"k":null,"v":1}"#,
        r#"delete t rowid:7: {"k":null,"v":1} -> -"#,
        r#"insert t b: - -> {"k":"b","v":1}"#,
        r#"update t a: {"k":"a","v":2} -> {"k":"a","v":3}"#,
    ];
    let sql = "update t set rowid = 7 where k is null; update t set k = 'b' where k is null; \
        update t set rowid = 99, v = 3 where k = 'a'";
    shows(schema, sql, &expected).await;
    let schema = "create table t(a, b, v, primary key(a, b)); insert into t values (1, null, 'x'), (1, null, 'y')";
    let expected = [
        r#"update t rowid:2: {"a":1,"b":null,"v":"y"} -> {"a":1,"b":null,"v":"z"}"#,
        r#"delete t rowid:2: {"a":1,"b":null,"v":"z"} -> -"#,
        r#"insert t [1,2]: - -> {"a":1,"b":2,"v":"z"}"#,
    ];
    shows(schema, "update t set v = 'z' where v = 'y'; update t set b = 2 where v = 'z'", &expected).await;
}

#[tokio::test]
async fn a_generated_column_moves_though_no_statement_names_it() {
    let schema = "create table t(id integer primary key, a, g as (lower(a)) unique); insert into t(id, a) values (1, 'A'), (2, 'b')";
    let expected = [
        r#"delete t 1: {"id":1,"a":"A","g":"a"} -> -"#,
        r#"update t 2: {"id":2,"a":"b","g":"b"} -> {"id":2,"a":"a","g":"a"}"#,
    ];
    shows(schema, "update or replace t set a = 'a' where id = 2", &expected).await;
}

#[tokio::test]
async fn a_row_that_a_foreign_key_renames_goes_and_comes() {
    let schema = "create table p(id integer primary key); create table c(p integer primary key references p(id) on update cascade, v);
        insert into p values (1); insert into c values (1, 'x')";
    let mut db = Watched::new(schema).await;
    let changes = db.run("pragma foreign_keys = on; update p set id = 2").await;
    assert_eq!(
        changes.iter().filter(|change| change.contains(" c ")).collect::<Vec<_>>(),
        [r#"delete c 1: {"p":1,"v":"x"} -> -"#, r#"insert c 2: - -> {"p":2,"v":"x"}"#]
    );
}

#[tokio::test]
async fn a_row_that_the_users_trigger_takes_out_of_the_way_is_not_deleted() {
    let schema = "create table t(id integer primary key, u unique);
        create trigger clear before insert on t begin update t set u = null where u = new.u; end;
        insert into t values (1, 'a')";
    let mut db = Watched::new(schema).await;
    let mut changes = db.run("insert into t values (2, 'a')").await;
    changes.sort();
    assert_eq!(
        changes,
        [r#"insert t 2: - -> {"id":2,"u":"a"}"#, r#"update t 1: {"id":1,"u":"a"} -> {"id":1,"u":null}"#]
    );
}

#[tokio::test]
async fn statements_that_leave_keys_alone_do_not_pay_for_them() {
    let db = Watched::new(UNIQUE).await;
    let fires = |sql: &str| {
        let program = ok(&sqlite3(&db.path, &format!("explain {sql}")));
        ["before_update", "update", "moved"].map(|kind| program.contains(&format!("-- TRIGGER _relevo_{kind}_t")))
    };
    assert_eq!(fires("update t set v = 1"), [false, true, false]);
    for column in ["u", "id", "rowid", "_rowid_", "oid"] {
        assert_eq!(fires(&format!("update t set v = 1, {column} = 2")), [true, true, true], "{column}");
    }
}

#[tokio::test]
async fn triggers_in_another_order_lose_no_row() {
    let mut db = Watched::new(UNIQUE).await;
    let sql = "select sql from sqlite_schema where name = '_relevo_update_t'";
    let update = ok(&sqlite3(&db.path, sql));
    // It is the newest now, and fires first.
    ok(&sqlite3(&db.path, &format!("drop trigger _relevo_update_t; {update}")));
    let changes = db
        .run("update or replace t set id = 3 where id = 1; update t set id = 10 where id = 2; update or replace t set u = 'b' where id = 3")
        .await;
    assert_eq!(
        changes,
        [
            r#"insert t 3: - -> {"id":3,"u":"a","v":"one"}"#,
            r#"delete t 1: {"id":1,"u":"a","v":"one"} -> -"#,
            r#"insert t 10: - -> {"id":10,"u":"b","v":"two"}"#,
            r#"delete t 2: {"id":2,"u":"b","v":"two"} -> -"#,
            r#"update t 3: {"id":3,"u":"a","v":"one"} -> {"id":3,"u":"b","v":"one"}"#,
            r#"delete t 10: {"id":10,"u":"b","v":"two"} -> -"#,
        ]
    );
}

#[tokio::test]
async fn a_row_whose_number_is_minus_one_is_left_alone() {
    let schema = "create table t(id integer primary key, v); insert into t values (-1, 'x')";
    shows(
        schema,
        "insert into t(v) values ('y'); insert or replace into t(v) values ('z')",
        &[r#"insert t 0: - -> {"id":0,"v":"y"}"#, r#"insert t 1: - -> {"id":1,"v":"z"}"#],
    )
    .await;
}

#[tokio::test]
async fn what_foreign_keys_do_is_seen() {
    let schema = "create table p(id integer primary key, n); create table c(id integer primary key, p references p(id) on delete cascade);
        create table s(id integer primary key, p references p(id) on delete set null on update cascade);
        insert into p values (1, 'a'); insert into c values (10, 1); insert into s values (20, 1)";
    let sql = "pragma foreign_keys = on; delete from c; update p set id = 2 where id = 1; insert into c values (11, 2);
        delete from p where id = 2";
    let mut db = Watched::new(schema).await;
    let mut changes = db.run(sql).await;
    changes.sort();
    assert_eq!(
        changes,
        [
            r#"delete c 10: {"id":10,"p":1} -> -"#,
            r#"delete c 11: {"id":11,"p":2} -> -"#,
            r#"delete p 1: {"id":1,"n":"a"} -> -"#,
            r#"delete p 2: {"id":2,"n":"a"} -> -"#,
            r#"insert c 11: - -> {"id":11,"p":2}"#,
            r#"insert p 2: - -> {"id":2,"n":"a"}"#,
            r#"update s 20: {"id":20,"p":1} -> {"id":20,"p":2}"#,
            r#"update s 20: {"id":20,"p":2} -> {"id":20,"p":null}"#,
        ]
    );
    let mut db = Watched::new(schema).await;
    let mut changes = db.run("pragma foreign_keys = on; replace into p values (1, 'b')").await;
    changes.sort();
    assert_eq!(
        changes,
        [
            r#"delete c 10: {"id":10,"p":1} -> -"#,
            r#"update p 1: {"id":1,"n":"a"} -> {"id":1,"n":"b"}"#,
            r#"update s 20: {"id":20,"p":1} -> {"id":20,"p":null}"#,
        ]
    );
}

#[tokio::test]
async fn the_users_own_triggers_and_counters_are_left_alone() {
    let schema = "create table t(id integer primary key, v, touched); create table log(n integer primary key, what);
        create trigger mine after insert on t begin update t set touched = 1 where id = new.id; insert into log(what) values ('i'); end";
    let mut db = Watched::new(schema).await;
    let said = ok(&sqlite3(&db.path, "insert into t(v) values ('a'); select last_insert_rowid(), changes()"));
    assert_eq!(said, "1|1");
    let changes = db.changes().await;
    assert_eq!(changes.len(), 3, "{changes:?}");
    // The user's trigger may run before ours: then the update is told first, and then the row as it
    // is inserted. All that a reader needs is that the last one shows the row as it is.
    assert!(changes.contains(&r#"insert log 1: - -> {"n":1,"what":"i"}"#.to_owned()));
}

#[tokio::test]
async fn a_row_that_came_by_an_earlier_insert_is_replaced_all_the_same() {
    let expected = [
        r#"insert t 1: - -> {"id":1,"u":"a","v":1}"#,
        r#"insert t 2: - -> {"id":2,"u":"b","v":1}"#,
        r#"delete t 2: {"id":2,"u":"b","v":1} -> -"#,
        r#"delete t 1: {"id":1,"u":"a","v":1} -> -"#,
        r#"insert t 2: - -> {"id":2,"u":"a","v":1}"#,
    ];
    let empty = "create table t(id integer primary key, u text unique, v)";
    let sql = "insert into t values (1, 'a', 1); insert into t values (2, 'b', 1); update or replace t set id = 2 where id = 1";
    shows(empty, sql, &expected).await;
    let expected = [
        r#"delete t 1: {"id":1,"u":"a","v":"one"} -> -"#,
        r#"insert t 4: - -> {"id":4,"u":"a","v":"one"}"#,
        r#"delete t 4: {"id":4,"u":"a","v":"one"} -> -"#,
        r#"delete t 2: {"id":2,"u":"b","v":"two"} -> -"#,
        r#"insert t 4: - -> {"id":4,"u":"b","v":"two"}"#,
        r#"delete t 4: {"id":4,"u":"b","v":"two"} -> -"#,
        r#"delete t 3: {"id":3,"u":"c","v":"three"} -> -"#,
        r#"insert t 4: - -> {"id":4,"u":"c","v":"three"}"#,
    ];
    shows(UNIQUE, "update or replace t set id = 4", &expected).await;
}

#[tokio::test]
async fn what_a_default_takes_the_place_of_a_null_replaces_too() {
    for default in ["'x'", "\"x\"", "x", "(lower('X'))", "(substr('xyz', 1, 1))"] {
        let schema = format!(
            "create table t(id integer primary key, u text not null default {default} unique); insert into t values (1, 'x')"
        );
        let expected = [r#"delete t 1: {"id":1,"u":"x"} -> -"#, r#"insert t 2: - -> {"id":2,"u":"x"}"#];
        shows(&schema, "insert or replace into t(id, u) values (2, null)", &expected).await;
        let expected = [
            r#"insert t 2: - -> {"id":2,"u":"y"}"#,
            r#"delete t 1: {"id":1,"u":"x"} -> -"#,
            r#"update t 2: {"id":2,"u":"y"} -> {"id":2,"u":"x"}"#,
        ];
        shows(&schema, "insert into t values (2, 'y'); update or replace t set u = null where id = 2", &expected).await;
    }
    let schema = "create table t(id integer primary key, u not null default 'X', n not null default 1);
        create unique index i on t(lower(u)) where n > 0; insert into t values (1, 'x', 1)";
    let expected = [r#"delete t 1: {"id":1,"u":"x","n":1} -> -"#, r#"insert t 2: - -> {"id":2,"u":"X","n":1}"#];
    shows(schema, "insert or replace into t values (2, null, null)", &expected).await;
}

#[tokio::test]
async fn an_update_by_the_users_trigger_does_not_hide_what_an_insert_replaces() {
    let schema = "create table t(id integer primary key, u text unique, v);
        create trigger x before insert on t begin update t set u = u || '-' where u > new.u; end;
        insert into t values (1, 'a', 'one'), (2, 'b', 'two')";
    let expected = [
        r#"update t 2: {"id":2,"u":"b","v":"two"} -> {"id":2,"u":"b-","v":"two"}"#,
        r#"update t 1: {"id":1,"u":"a","v":"one"} -> {"id":1,"u":"a","v":"new"}"#,
    ];
    shows(schema, "insert or replace into t values (1, 'a', 'new')", &expected).await;
}

#[tokio::test]
async fn what_a_foreign_key_changes_in_the_same_table_does_not_hide_what_an_insert_replaces() {
    let schema = "create table t(id integer primary key, up unique references t(id) on delete set null);
        insert into t values (1, null), (2, 1), (3, 2)";
    let mut db = Watched::new(schema).await;
    let mut changes = db.run("pragma foreign_keys = on; replace into t values (1, 2)").await;
    changes.sort();
    assert_eq!(
        changes,
        [
            r#"delete t 3: {"id":3,"up":2} -> -"#,
            r#"update t 1: {"id":1,"up":null} -> {"id":1,"up":2}"#,
            r#"update t 2: {"id":2,"up":1} -> {"id":2,"up":null}"#,
        ]
    );
}
