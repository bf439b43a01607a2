//! Tables of other schemas: settings, manifests and events name them alike, and tables of one name aren't mixed.

use relevo_tests::client::{Client, Connect};
use relevo_tests::postgres::Postgres;
use relevo_tests::wait::SOON;
use relevo_tests::world::World;

const CHANNELS: [&str; 2] =
    ["pattern = \"ledger\"\nread = [\"*\"]", "pattern = \"ledger:board\"\nkind = \"state\"\nread = [\"*\"]"];
const PIPELINE: &str = r#"
[[pipeline]]
name = "ledger"
plugins = ["ledger"]

[plugin.ledger.grant]
tables = ["TABLE"]
published = ["news:notes"]
channels = ["ledger", "ledger:board"]
lookup = { people = ["name"] }
capabilities = ["state"]"#;

/// The same names and keys in two schemas and in `public`.
const TABLES: &str = "
    create table people (id int primary key, name text); alter table people replica identity full;
    create table accounts (id int primary key, n int, owner int); alter table accounts replica identity full;
    create schema bank; create table bank.accounts (like accounts including all); alter table bank.accounts replica identity full;
    create schema other; create table other.accounts (like accounts including all); alter table other.accounts replica identity full;
    insert into people values (1, 'Ana');
    insert into accounts values (1, 1000, 1); insert into other.accounts values (1, 100, 1); insert into bank.accounts values (1, 5, 1)";

/// The plugin, with its table called so; over a source with these tables.
fn world(called: &str, tables: &str) -> World {
    let world = World::over(Postgres::start(), |world| {
        let world = CHANNELS.into_iter().fold(world, World::channel);
        world.append(&PIPELINE.replace("TABLE", called)).source(&format!("tables = {tables}"))
    });
    world.install("ledger");
    let manifest = world.data().join("plugins/ledger.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(manifest, text.replace("{ accounts =", &format!("{{ \"{called}\" ="))).unwrap();
    world.sql(TABLES);
    world
}

#[test]
fn a_plugin_names_a_table_as_the_settings_do_and_gets_no_other_of_that_name() {
    let named = r#"["usuarios", "efectivos", "tareas", "people", "bank.accounts"]"#;
    for tables in [named, "[]"] {
        let world = world("bank.accounts", tables);
        let server = world.serve();
        let mut client = Client::connect(server.address, &Connect::admin().to("ledger").to("ledger:board"));
        let row = client.expect("the row that was there", |frame| frame.is_of("ledger:board"));
        assert_eq!((row.data()["n"].as_i64(), row.data()["owner"].as_str()), (Some(5), Some("Ana")), "{}", row.raw);
        world.sql("update other.accounts set n = 200; update accounts set n = 2000; delete from other.accounts");
        world.sql("update bank.accounts set n = 7");
        let change = client.expect("the change", |frame| frame.is_of("ledger"));
        let (sum, changes) = (change.data()["sum"].as_i64(), change.data()["changes"].as_i64());
        assert_eq!((sum, changes), (Some(7), Some(2)), "{tables}: {}", change.raw);
        assert!(server.stop(SOON).status.success());
    }
}

#[test]
fn a_name_that_no_event_has_is_refused_with_what_to_do() {
    for (called, tables) in [
        // The settings say where it is, the manifest doesn't; and `public`, which is no part of a name.
        ("accounts", r#"["usuarios", "efectivos", "tareas", "people", "bank.accounts"]"#),
        ("public.accounts", "[]"),
    ] {
        let world = world(called, tables);
        let ended = world.run(&["doctor"]);
        assert!(ended.log.contains(called) && ended.log.contains("no source watches"), "{called}: {}", ended.log);
    }
}
