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
async fn a_large_value_is_written_once_whatever_it_is_made_of() {
    let mut db = Watched::new("create table t(id integer primary key, v)").await;
    // What the change table holds, and what the event says of it.
    for (value, enters, missing) in [
        ("printf('%.524288c', 'a')", 524_288, None),
        ("printf('%.524289c', 'a')", 38, Some(524_289)),
        ("replace(printf('%.262145c', 'a'), 'a', 'ñ')", 38, Some(524_290)),
        ("char(0) || printf('%.600000c', 'a')", 38, Some(600_001)),
        ("zeroblob(262144)", 262_144, None),
        ("zeroblob(262145)", 262_145, Some(262_145)),
        ("zeroblob(524289)", 38, Some(524_289)),
    ] {
        ok(&sqlite3(&db.path, &format!("delete from t; insert into t values (1, {value})")));
        let changes = db.new_changes().await;
        let change = changes.last().unwrap();
        let found: Vec<_> = change.missing.iter().map(|m| (&*m.column, m.bytes)).collect();
        assert_eq!(found, missing.map(|bytes| ("v", bytes)).into_iter().collect::<Vec<_>>(), "{value}");
        let raw = "select length(cast(c3 as blob)) from _relevo_changes order by seq desc limit 1";
        assert_eq!(ok(&sqlite3(&db.path, raw)), enters.to_string(), "{value}");
    }
}

#[tokio::test]
async fn a_large_value_that_is_replaced_is_compared() {
    let mut db = Watched::new("create table t(id integer primary key, a, b, c)").await;
    let large = |letter: char| format!("printf('%.600000c', '{letter}')");
    let row = |a, b, c: &str| format!("replace into t values (1, {}, {}, {c})", large(a), large(b));
    ok(&sqlite3(&db.path, &format!("{}; {}; {}", row('a', 'b', "1"), row('a', 'x', "1"), row('a', 'x', "1"))));
    let changes = db.new_changes().await;
    assert_eq!(changes.len(), 2, "nothing but the second one changed something");
    assert_eq!(changes[1].changed, ["b".into()]);
    assert_eq!(
        changes[1].missing.iter().map(|m| (&*m.column, m.bytes)).collect::<Vec<_>>(),
        [("a", 600_000), ("b", 600_000)]
    );
    assert_eq!(changes[1].after.as_deref(), Some(r#"{"id":1,"c":1}"#));
}

#[tokio::test]
async fn what_looks_like_a_mark_is_a_value() {
    let mut db = Watched::new("create table t(id integer primary key, v); create table mark(m)").await;
    ok(&sqlite3(&db.path, "insert into mark select value from _relevo_meta where key = 'mark'"));
    let mark = ok(&sqlite3(&db.path, "select m from mark"));
    db.new_changes().await;
    let changes = db.run(&format!("insert into t values (1, '{mark}600000'), (2, x'0000000000000000000000000000000001'), (3, cast('{mark}' as blob))")).await;
    assert!(changes[0].contains(&format!("{mark}600000")), "a text is none");
    assert!(changes[1].contains("00000000000000000000000000000001"));
    assert!(changes[2].contains("\"v\":\""), "{changes:?}");
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
async fn a_table_has_as_many_columns_as_the_change_table_holds_twice() {
    let columns = |n: usize| (1..n).map(|i| format!("c{i}")).collect::<Vec<_>>().join(", ");
    let schema = format!(
        "create table most(id integer primary key, {}); create table more(id integer primary key, {})",
        columns(997),
        columns(998)
    );
    let mut db = Watched::new(&schema).await;
    assert_eq!(db.installed.problems.len(), 1);
    let problem = &db.installed.problems[0];
    assert!(problem.contains("table more has 998 columns; at most 997") && problem.contains("`exclude`"), "{problem}");
    ok(&sqlite3(
        &db.path,
        "insert into most(id, c1, c996) values (1, 'a', 'z'); insert into more(id) values (1); update most set c996 = 'y'",
    ));
    let changes = db.new_changes().await;
    assert_eq!(changes.len(), 2);
    assert_eq!(changes[1].changed, ["c996".into()]);
    db.settings.exclude.insert("more".into(), vec!["c5".into()]);
    assert_eq!(db.install().await.problems, [""; 0]);
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
