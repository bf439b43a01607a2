//! Whatever a row may hold, and whatever a name may look like, the user's write succeeds.

use super::{Watched, ok, sqlite3};

/// The row after an insert of one value.
async fn enters(value: &str) -> String {
    let mut db = Watched::new("create table t(v)").await;
    let changes = db.run(&format!("insert into t values ({value})")).await;
    assert_eq!(changes.len(), 1, "{value}");
    let row = changes[0].strip_prefix("insert t 1: - -> {\"v\":").and_then(|row| row.strip_suffix('}'));
    row.unwrap_or_else(|| panic!("{changes:?}")).to_owned()
}

#[tokio::test]
async fn every_kind_of_value_enters_as_json() {
    for (value, expected) in [
        ("null", "null"),
        ("x'00ff10'", "\"00FF10\""),
        ("9007199254740991", "9007199254740991"),
        ("9007199254740992", "\"9007199254740992\""),
        ("-9223372036854775808", "\"-9223372036854775808\""),
        ("0.1", "0.1"),
        ("0.1 + 0.2", "0.30000000000000004"),
        ("1.0", "1.0"),
        ("-34.6037", "-34.6037"),
        ("1e300", "1e+300"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("4.9e-324", "5e-324"),
        ("9e999", "\"Infinity\""),
        ("-9e999", "\"-Infinity\""),
        ("9e999 - 9e999", "null"),
        ("'it''s \"so\"' || char(10, 0, 9)", r#""it's \"so\"\n\u0000\t""#),
        ("'a' || char(0)", r#""a\u0000""#),
        ("json('{\"a\":[1]}')", r#""{\"a\":[1]}""#),
        ("'[1,2]'", "\"[1,2]\""),
        ("cast(x'66c3ff6f' as text)", "\"f\u{fffd}\u{fffd}o\""),
        ("'ñandú 🚓'", "\"ñandú 🚓\""),
        ("true", "1"),
    ] {
        assert_eq!(enters(value).await, expected, "{value}");
    }
}

#[tokio::test]
async fn a_value_too_large_for_a_record_is_left_out_and_named() {
    let mut db = Watched::new("create table t(id integer primary key, b, c)").await;
    db.run("insert into t values (1, zeroblob(300000), 'x'), (2, 'small', null)").await;
    ok(&sqlite3(&db.path, "update t set c = 'y' where id = 1; update t set b = randomblob(300000) where id = 1"));
    let changes = db.new_changes().await;
    assert_eq!(changes[0].changed, ["c".into()]);
    assert_eq!(changes[0].after.as_deref(), Some(r#"{"id":1,"c":"y"}"#));
    assert_eq!((changes[0].missing[0].column.as_ref(), changes[0].missing[0].bytes), ("b", 300_000));
    assert_eq!(changes[1].changed, ["b".into()], "as large as before, but another");
    // Beyond what SQLite itself can hold in a text once it is written as JSON.
    ok(&sqlite3(&db.path, "insert into t values (3, zeroblob(600000000), 'z')"));
    let changes = db.new_changes().await;
    assert_eq!(changes[0].missing[0].bytes, 600_000_000);
}

#[tokio::test]
async fn odd_names_are_only_names() {
    let schema = r#"create table "it's ""odd"" [t]"("a'b" integer primary key, "c""d" text, "é ñ", "select", "%s", "old", "new");
        create table "select"("from" text primary key, "seq", "tbl");
        create table "UPPER"(Id integer primary key, Name)"#;
    let mut db = Watched::new(schema).await;
    assert_eq!(db.installed.problems, [""; 0]);
    let changes = db
        .run(
            r#"replace into "it's ""odd"" [t]" values (1, 'x', 2, 3, 4, 5, 6);
               replace into "it's ""odd"" [t]" values (1, 'y', 2, 3, 4, 5, 6);
               insert into "select" values ('a', 1, 2); insert into upper values (1, 'n')"#,
        )
        .await;
    assert_eq!(
        changes,
        [
            r#"insert it's "odd" [t] 1: - -> {"a'b":1,"c\"d":"x","é ñ":2,"select":3,"%s":4,"old":5,"new":6}"#,
            r#"update it's "odd" [t] 1: {"a'b":1,"c\"d":"x","é ñ":2,"select":3,"%s":4,"old":5,"new":6} -> {"a'b":1,"c\"d":"y","é ñ":2,"select":3,"%s":4,"old":5,"new":6}"#,
            r#"insert select a: - -> {"from":"a","seq":1,"tbl":2}"#,
            r#"insert UPPER 1: - -> {"Id":1,"Name":"n"}"#,
        ]
    );
}

#[tokio::test]
async fn generated_columns_are_part_of_the_row() {
    let schema = "create table t(id integer primary key, a, b as (a * 2), c as (a || '!') stored unique)";
    let mut db = Watched::new(schema).await;
    let changes = db
        .run("insert into t(a) values (1), (2); replace into t(id, a) values (9, 1); update t set a = 5 where id = 2")
        .await;
    assert_eq!(
        changes,
        [
            r#"insert t 1: - -> {"id":1,"a":1,"b":2,"c":"1!"}"#,
            r#"insert t 2: - -> {"id":2,"a":2,"b":4,"c":"2!"}"#,
            r#"delete t 1: {"id":1,"a":1,"b":2,"c":"1!"} -> -"#,
            r#"insert t 9: - -> {"id":9,"a":1,"b":2,"c":"1!"}"#,
            r#"update t 2: {"id":2,"a":2,"b":4,"c":"2!"} -> {"id":2,"a":5,"b":10,"c":"5!"}"#,
        ]
    );
}

#[tokio::test]
async fn a_table_may_be_wide() {
    let columns: Vec<String> = (0..300).map(|i| format!("c{i}")).collect();
    let mut db = Watched::new(&format!("create table t(id integer primary key, {})", columns.join(", "))).await;
    ok(&sqlite3(
        &db.path,
        "insert into t(id, c0, c299) values (1, 'a', 'z'); replace into t(id, c299) values (1, 'y')",
    ));
    let changes = db.new_changes().await;
    assert_eq!(changes[1].changed, ["c0".into(), "c299".into()]);
    let after: serde_json::Value = serde_json::from_str(changes[1].after.as_deref().unwrap()).unwrap();
    assert_eq!((after.as_object().unwrap().len(), &after["c299"]), (301, &serde_json::json!("y")));
}

#[tokio::test]
async fn what_cant_be_watched_is_said() {
    let schema = "create table t(id integer primary key, secret); create view v as select * from t;
        create table hidden(rowid, _rowid_, oid); create virtual table f using fts5(x)";
    let db = Watched::with(
        schema,
        "tables = [\"t\", \"v\", \"hidden\", \"f\", \"missing\"]\nexclude = { t = [\"secrte\"] }",
    )
    .await;
    let problems = db.installed.problems.join("\n");
    for expected in [
        "v is a view",
        "f is a virtual",
        "table missing does not exist",
        "table hidden has no key",
        "table t has no column secrte",
    ] {
        assert!(problems.contains(expected), "{expected} in {problems}");
    }
    assert!(db.installed.tables.is_empty(), "a table whose exclusion is mistyped isn't watched");
}

#[tokio::test]
async fn a_cautious_writer_can_write_too() {
    let mut db = Watched::new("create table t(id integer primary key, v)").await;
    let changes = db.run("pragma trusted_schema = off; insert into t values (1, 1.5)").await;
    assert_eq!(changes, [r#"insert t 1: - -> {"id":1,"v":1.5}"#]);
}
