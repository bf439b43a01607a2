//! Tables come, go and change while they are watched.

use super::{Watched, ok, sqlite3};

#[tokio::test]
async fn a_new_column_enters() {
    let mut db = Watched::new("create table t(id integer primary key, a)").await;
    ok(&sqlite3(&db.path, "insert into t values (1, 'x'); alter table t add column b"));
    assert_eq!(db.install().await.gap, None, "no row has a value that wasn't told of");
    db.changes().await;
    assert_eq!(
        db.run("update t set b = 2").await,
        [r#"update t 1: {"id":1,"a":"x","b":null} -> {"id":1,"a":"x","b":2}"#]
    );
}

#[tokio::test]
async fn a_renamed_column_is_a_gap_and_enters_under_its_new_name() {
    let mut db = Watched::new("create table t(id integer primary key, a); insert into t values (1, 'x')").await;
    ok(&sqlite3(&db.path, "alter table t rename column a to c"));
    assert!(db.install().await.gap.is_some(), "what pipelines know is under the old name");
    assert_eq!(db.run("update t set c = 'y'").await, [r#"update t 1: {"id":1,"c":"x"} -> {"id":1,"c":"y"}"#]);
}

#[tokio::test]
async fn a_column_that_was_filled_before_it_was_watched_is_a_gap() {
    let mut db = Watched::new("create table t(id integer primary key, a); insert into t values (1, 1)").await;
    ok(&sqlite3(&db.path, "alter table t add column b default 5"));
    let gap = db.install().await.gap.clone().unwrap();
    assert!(gap.contains("column b of table t"), "{gap}");
    assert_eq!(db.install().await.gap, Some(gap), "it is told again until the journal knows");
}

#[tokio::test]
async fn a_column_can_be_dropped_once_capture_is_detached() {
    let mut db = Watched::new("create table t(id integer primary key, a, b)").await;
    assert!(!sqlite3(&db.path, "alter table t drop column b").status.success(), "the trap that this is about");
    let incarnation = db.installed.incarnation.clone();
    db.detach().await;
    assert_eq!(
        ok(&sqlite3(
            &db.path,
            "alter table t drop column b; select count(*) from sqlite_schema where name like '%relevo%'"
        )),
        "0"
    );
    assert_ne!(db.install().await.incarnation, incarnation);
}

#[tokio::test]
async fn a_table_that_appears_is_told_with_its_rows() {
    let mut db = Watched::new("create table t(id integer primary key)").await;
    ok(&sqlite3(&db.path, "create table n(id integer primary key, a); insert into n values (1, 'x')"));
    assert_eq!(db.install().await.gap, None);
    assert_eq!(
        db.run("update n set a = 'y'").await,
        [r#"insert n 1: - -> {"id":1,"a":"x"}"#, r#"update n 1: {"id":1,"a":"x"} -> {"id":1,"a":"y"}"#,]
    );
    ok(&sqlite3(
        &db.path,
        "create table big(id integer primary key);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 1001) insert into big select i from n",
    ));
    assert!(db.install().await.gap.is_some(), "too many rows to tell one by one");
}

#[tokio::test]
async fn a_table_that_goes_is_empty() {
    let mut db = Watched::new("create table t(id integer primary key); insert into t values (1)").await;
    ok(&sqlite3(&db.path, "drop table t"));
    db.install().await;
    assert_eq!(db.changes().await, ["truncate t : - -> -"]);
}

#[tokio::test]
async fn a_table_that_is_made_anew_is_a_gap() {
    let mut db = Watched::new("create table t(id integer primary key, a); insert into t values (1, 1)").await;
    ok(&sqlite3(
        &db.path,
        "begin; create table new_t(id integer primary key, a text); insert into new_t select * from t;
        drop table t; alter table new_t rename to t; commit",
    ));
    let gap = db.install().await.gap.clone().unwrap();
    assert!(gap.contains("table t was made anew"), "{gap}");
    assert_eq!(db.run("update t set a = 'z'").await, [r#"update t 1: {"id":1,"a":"1"} -> {"id":1,"a":"z"}"#]);
}

#[tokio::test]
async fn a_renamed_table_is_told_under_its_new_name() {
    let mut db = Watched::new("create table t(id integer primary key); insert into t values (1)").await;
    ok(&sqlite3(&db.path, "alter table t rename to u"));
    db.install().await;
    db.changes().await;
    assert_eq!(db.run("insert into u values (2)").await, [r#"insert u 2: - -> {"id":2}"#]);
    assert_eq!(ok(&sqlite3(&db.path, "select count(*) from sqlite_schema where type = 'trigger'")), "6");
}

#[tokio::test]
async fn an_excluded_column_that_is_renamed_never_enters() {
    let mut db =
        Watched::with("create table t(id integer primary key, secret)", "exclude = { t = [\"secret\"] }").await;
    ok(&sqlite3(&db.path, "alter table t rename column secret to password"));
    assert_eq!(db.install().await.problems.len(), 1);
    assert_eq!(
        db.run("insert into t values (1, 'hunter2')").await,
        [r#"insert t 1: - -> {"id":1}"#],
        "it goes on as before"
    );
}

#[tokio::test]
async fn a_table_that_is_no_longer_wanted_is_let_go() {
    let mut db = Watched::new("create table t(id integer primary key); create table u(id integer primary key)").await;
    db.settings.tables = vec!["u".into()];
    db.install().await;
    assert_eq!(db.run("insert into t values (1); insert into u values (1)").await, [r#"insert u 1: - -> {"id":1}"#]);
    let before = ok(&sqlite3(&db.path, "pragma schema_version"));
    db.install().await;
    assert_eq!(ok(&sqlite3(&db.path, "pragma schema_version")), before, "nothing to do is nothing done");
}

#[tokio::test]
async fn what_was_written_before_the_table_changed_is_read_as_it_was() {
    let mut db =
        Watched::new("create table t(id integer primary key, a); create table wide(id integer primary key)").await;
    ok(&sqlite3(
        &db.path,
        "insert into t values (1, 'x'); alter table t add column b; insert into t values (2, 'y', 'unseen')",
    ));
    ok(&sqlite3(
        &db.path,
        "alter table wide add column c; alter table wide add column d; alter table wide add column e",
    ));
    assert!(db.install().await.gap.is_some(), "a row came with the column before it was watched");
    let forms = "select group_concat(form, ',') from _relevo_changes where seq > 1";
    ok(&sqlite3(&db.path, "alter table t rename column a to c; insert into t values (3, 'z', 5)"));
    db.install().await;
    ok(&sqlite3(&db.path, "insert into t values (4, 'z', 6); insert into wide values (1, 2, 3, 4)"));
    assert_eq!(ok(&sqlite3(&db.path, forms)), "1,1,3,5,4", "each by its own form");
    assert_eq!(
        db.changes().await,
        [
            r#"insert t 1: - -> {"id":1,"a":"x"}"#,
            r#"insert t 2: - -> {"id":2,"a":"y"}"#,
            r#"insert t 3: - -> {"id":3,"a":"z","b":5}"#,
            r#"insert t 4: - -> {"id":4,"c":"z","b":6}"#,
            r#"insert wide 1: - -> {"id":1,"c":2,"d":3,"e":4}"#,
        ]
    );
    let before = ok(&sqlite3(&db.path, "select count(*) from _relevo_forms"));
    db.install().await;
    assert_eq!(ok(&sqlite3(&db.path, "select count(*) from _relevo_forms")), before, "a form is kept once");
}

#[tokio::test]
async fn another_key_is_another_form() {
    let mut db = Watched::new("create table t(a integer primary key, b); insert into t values (1, 'x')").await;
    ok(&sqlite3(&db.path, "update t set b = 'y'; begin; drop table t; create table t(a, b text primary key); commit"));
    db.install().await;
    assert_eq!(
        db.run("insert into t values (1, 'x')").await,
        [r#"update t 1: {"a":1,"b":"x"} -> {"a":1,"b":"y"}"#, r#"insert t x: - -> {"a":1,"b":"x"}"#]
    );
}

#[tokio::test]
async fn a_table_that_was_let_go_and_is_wanted_again_is_a_gap() {
    let mut db = Watched::new(
        "create table t(id integer primary key); create table u(id integer primary key); insert into t values (1), (2)",
    )
    .await;
    db.settings.tables = vec!["u".into()];
    assert_eq!(db.install().await.gap, None);
    ok(&sqlite3(&db.path, "delete from t where id = 1"));
    db.settings.tables = vec!["u".into(), "T".into()];
    let gap = db.install().await.gap.clone().unwrap();
    assert!(gap.contains("table t was not watched for a while"), "{gap}");
    ok(&sqlite3(&db.path, "delete from _relevo_meta where key = 'gap'"));
    assert_eq!(db.changes().await, [""; 0], "its rows come with the rebuild, not once more as inserts");
    assert_eq!(db.run("delete from t").await, [r#"delete t 2: {"id":2} -> -"#]);
    assert_eq!(db.install().await.gap, None, "told once");
    db.settings.tables = vec!["u".into()];
    db.install().await;
    ok(&sqlite3(&db.path, "drop table t; create table t(id integer primary key); insert into t values (3)"));
    db.settings.tables = vec![];
    assert!(db.install().await.gap.is_some(), "what pipelines know of the dropped one is still there");
}

#[tokio::test]
async fn a_table_that_is_dropped_and_comes_back_later_is_no_gap() {
    let mut db = Watched::new("create table t(id integer primary key); insert into t values (1)").await;
    ok(&sqlite3(&db.path, "drop table t"));
    db.install().await;
    ok(&sqlite3(&db.path, "create table t(id integer primary key); insert into t values (2)"));
    assert_eq!(db.install().await.gap, None);
    assert_eq!(db.changes().await, ["truncate t : - -> -", r#"insert t 2: - -> {"id":2}"#]);
}

#[tokio::test]
async fn a_table_for_rows_put_aside_of_an_older_relevo_is_made_anew() {
    let mut db = Watched::new("create table t(id integer primary key, u unique); insert into t values (1, 'a')").await;
    ok(&sqlite3(
        &db.path,
        "drop table _relevo_peek; create table _relevo_peek(form integer not null, rid, seq, c0, c1)",
    ));
    assert!(!sqlite3(&db.path, "replace into t values (2, 'a')").status.success(), "the trap that this is about");
    assert_eq!(db.install().await.gap, None);
    assert_eq!(
        db.run("replace into t values (2, 'a')").await,
        [r#"delete t 1: {"id":1,"u":"a"} -> -"#, r#"insert t 2: - -> {"id":2,"u":"a"}"#]
    );
}
