//! The user's own triggers write to watched tables, and ours must tell of it in its order.

use super::{Watched, ok, sqlite3};

const TABLE: &str = "create table t(id integer primary key, u text, n default 0); insert into t values (1, 'a', 1)";

const AFTER_UPDATE: &str =
    "create trigger touch after update of u on t begin update t set n = n + 1 where id = new.id; end";
const AFTER_INSERT: &str = "create trigger touch after insert on t begin update t set n = n + 1 where id = new.id; end";
const BEFORE_INSERT: &str =
    "create trigger touch before insert on t begin update t set n = n + 1 where id = new.id; end";

/// What a write shows where the user's trigger is made before ours and where it is made after them.
async fn shows(trigger: &str, sql: &str, expected: &[&str]) {
    let mut db = Watched::new(&format!("{TABLE}; {trigger}")).await;
    assert_eq!(db.run(sql).await, expected, "theirs came first");
    for recursive in ["off", "on"] {
        let mut db = Watched::new(TABLE).await;
        ok(&sqlite3(&db.path, trigger));
        db.install().await;
        assert_eq!(
            db.run(&format!("pragma recursive_triggers = {recursive}; {sql}")).await,
            expected,
            "ours came first; recursive_triggers = {recursive}"
        );
    }
}

#[tokio::test]
async fn a_row_is_told_before_what_the_users_trigger_makes_of_it() {
    let expected = [
        r#"update t 1: {"id":1,"u":"a","n":1} -> {"id":1,"u":"b","n":1}"#,
        r#"update t 1: {"id":1,"u":"b","n":1} -> {"id":1,"u":"b","n":2}"#,
    ];
    shows(AFTER_UPDATE, "update t set u = 'b'", &expected).await;
    let expected = [
        r#"insert t 2: - -> {"id":2,"u":"b","n":0}"#,
        r#"update t 2: {"id":2,"u":"b","n":0} -> {"id":2,"u":"b","n":1}"#,
        r#"update t 1: {"id":1,"u":"a","n":1} -> {"id":1,"u":"c","n":7}"#,
        r#"update t 1: {"id":1,"u":"c","n":7} -> {"id":1,"u":"c","n":8}"#,
    ];
    shows(AFTER_INSERT, "insert into t(id, u) values (2, 'b'); replace into t values (1, 'c', 7)", &expected).await;
}

#[tokio::test]
async fn what_the_users_trigger_makes_before_a_row_comes_is_told_before_it() {
    let expected = [
        r#"update t 1: {"id":1,"u":"a","n":1} -> {"id":1,"u":"a","n":2}"#,
        r#"insert t 2: - -> {"id":2,"u":"a","n":5}"#,
    ];
    let trigger = BEFORE_INSERT.replace("new.id", "new.id - 1");
    shows(&trigger, "insert into t values (2, 'a', 5)", &expected).await;
    // Ours must run after it, so that they see the row as it is when it is replaced.
    let mut db = Watched::new(TABLE).await;
    ok(&sqlite3(&db.path, BEFORE_INSERT));
    db.install().await;
    assert_eq!(
        db.run("replace into t values (1, 'b', 5)").await,
        [
            r#"update t 1: {"id":1,"u":"a","n":1} -> {"id":1,"u":"a","n":2}"#,
            r#"update t 1: {"id":1,"u":"a","n":2} -> {"id":1,"u":"b","n":5}"#,
        ]
    );
}

#[tokio::test]
async fn a_trigger_that_writes_to_its_own_table_before_ours_are_the_newest_again_is_a_gap() {
    let others = "create table log(what); create table o(id integer primary key, n)";
    for (trigger, gap) in [
        (AFTER_UPDATE, true),
        ("create trigger x after delete on t begin insert or ignore into [T] values (old.id, 'x', 1); end", true),
        ("create trigger x after insert on t begin delete from \"t\" where id = new.id - 10; end", true),
        (
            "create trigger y after insert on o begin update or ignore t set n = 1; end; create trigger x after insert on t begin replace into o values (1, 1); end",
            true,
        ),
        (BEFORE_INSERT, false),
        ("create trigger x after insert on t begin insert into log select count(*) from t; end", false),
        ("create trigger x after insert on o begin update t set n = 1; end", false),
    ] {
        let mut db = Watched::new(&format!("{TABLE}; {others}")).await;
        ok(&sqlite3(&db.path, trigger));
        assert_eq!(db.install().await.gap.is_some(), gap, "{trigger}");
    }
    let mut db = Watched::new(TABLE).await;
    ok(&sqlite3(&db.path, AFTER_UPDATE));
    let gap = db.install().await.gap.clone().unwrap();
    assert!(gap.contains("trigger touch of table t"), "{gap}");
    let version = ok(&sqlite3(&db.path, "pragma schema_version; delete from _relevo_meta where key = 'gap'"));
    assert_eq!(db.install().await.gap, None, "once");
    assert_eq!(ok(&sqlite3(&db.path, "pragma schema_version")), version, "nothing to do is nothing done");
}
