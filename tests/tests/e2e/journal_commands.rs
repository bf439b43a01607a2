//! `relevo journal check`, `export` and `compact` over the binary: exit codes and what they print.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Stdio;

use relevo_tests::client::{Client, Connect};
use relevo_tests::frame::Place;
use relevo_tests::server::Server;
use relevo_tests::wait::SOON;
use relevo_tests::world::World;
use serde_json::Value;

/// What a command printed, each output by itself, and its exit code.
fn run(world: &World, arguments: &[&str]) -> (i32, String, String) {
    let output = world.command(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

/// A server that has told of a change, and a client's place after it.
fn with_changes(world: &World) -> (Server, Place) {
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks"));
    for n in 0..20 {
        world.sql(&format!("update tareas set titulo = 'change {n}' where id = 1"));
        // The last one has an append of its own, which is too small to be compressed.
        if n >= 18 {
            let title = format!("change {n}");
            client.expect("it", |f| f.is_of("tasks") && f.data()["task_data"]["titulo"] == title.as_str());
        }
    }
    (server, client.place)
}

/// Writes other bytes into the records of the last change, as a bad disk would: wherever it stands in the file, since SQLite
/// leaves old copies in pages whose rows it moved, and has a large record in several pieces.
fn damage(world: &World) {
    let file = world.data().join("journal.db");
    let wal = world.journal_file("journal.db-wal");
    assert!(!wal.exists() || sized(&wal) == 0, "what is in the file would not be read");
    let whole = std::fs::read(&file).unwrap();
    let last = b"change 19";
    let places: Vec<usize> = (0..whole.len() - last.len()).filter(|at| whole[*at..].starts_with(last)).collect();
    assert!(!places.is_empty(), "it isn't compressed");
    let mut open = std::fs::File::options().write(true).open(&file).unwrap();
    for at in places {
        open.seek(SeekFrom::Start(at as u64)).unwrap();
        open.write_all(b"CHANGE").unwrap();
    }
}

fn sized(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

#[test]
fn an_export_of_a_channel_without_a_message_names_those_that_have_some() {
    let world = World::new();
    let (server, _) = with_changes(&world);
    let (code, out, err) = run(&world, &["journal", "export", "--channel", "task"]);
    assert_eq!((code, &*out), (1, ""), "{err}");
    assert!(
        err.contains("no message of channel \"task\" (did you mean tasks?)") && err.contains("tasks:board"),
        "{err}"
    );
    let (code, out, err) = run(&world, &["journal", "export", "--channel", "tasks", "--to", "1"]);
    assert!(code == 0 && out.is_empty() && err.contains("nothing of channel tasks is in what"), "{err}");
    assert_eq!(run(&world, &["journal", "export", "--channel", "tasks"]).0, 0);
    drop(server);
}

#[test]
fn check_says_by_its_exit_code_whether_the_journal_is_sound() {
    let world = World::new();
    let (code, _, err) = run(&world, &["journal", "check"]);
    assert_eq!(code, 2, "there is none yet: {err}");
    assert!(err.contains("there is no journal in"), "{err}");

    let (server, place) = with_changes(&world);
    let (code, out, err) = run(&world, &["journal", "check", "--json"]);
    assert_eq!(code, 0, "{out}{err}");
    let report = &lines(&out)[0];
    assert_eq!((&report["sound"], &report["running"]), (&true.into(), &true.into()), "{out}");
    assert_eq!(report["epoch"], place.epoch);
    assert!(report["head"].as_u64().unwrap() >= place.offset, "{out}");
    assert!(report["parts"].as_array().unwrap().iter().all(|part| part["problems"].as_array().unwrap().is_empty()));
    assert!(server.stop(SOON).status.success());
    let (code, out, _) = run(&world, &["journal", "check"]);
    assert_eq!(code, 0);
    let text: Vec<&str> = out.lines().collect();
    let journal = world.data().join("journal.db");
    let head = format!("{}: format 4, epoch {}, newest record 20", journal.display(), place.epoch);
    assert!(text[0].starts_with(&head) && text[0].ends_with("Z; no server has it open"), "{out}");
    assert!(
        text[1].starts_with("numbers up to ") && text[1].contains("; events and controls are kept after "),
        "{out}"
    );
    let (parts, rest) = text[2..].split_at(text.len() - 4);
    assert!(parts.len() > 3 && parts.iter().all(|part| part.starts_with("ok       ") && part.contains(": ")), "{out}");
    assert_eq!(rest, ["", "the journal is sound"]);

    damage(&world);
    let (code, out, _) = run(&world, &["journal", "check", "--json"]);
    assert_eq!((code, &lines(&out)[0]["sound"]), (1, &false.into()), "{out}");
    let (code, out, _) = run(&world, &["journal", "check"]);
    assert_eq!(code, 1);
    let damaged = out.lines().filter(|line| line.starts_with("DAMAGED  ")).count();
    assert!(damaged > 0 && out.contains(&format!("\n\n{damaged} problems: the journal is damaged. Stop")), "{out}");
    for what_to_do in ["\n-> `relevo restore` a backup", "\n-> move journal.db and journal.db-wal away"] {
        assert!(out.contains(what_to_do), "{out}");
    }
}

#[test]
fn export_prints_lines_of_json_and_fails_where_a_record_can_t_be_read() {
    let world = World::new();
    let (code, _, err) = run(&world, &["journal", "export"]);
    assert_eq!(code, 1);
    assert!(err.contains("there is no journal in"), "{err}");
    let (server, place) = with_changes(&world);
    let (code, out, err) = run(&world, &["journal", "export"]);
    assert_eq!(code, 0, "{err}");
    let all = lines(&out);
    let numbers: Vec<u64> = all.iter().map(|line| line["record"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    for kind in ["append", "event", "commit", "message"] {
        assert!(all.iter().any(|line| line["kind"] == kind), "there is a {kind}");
    }
    let (code, out, _) = run(&world, &["journal", "export", "--kind", "message", "--channel", "tasks"]);
    let messages = lines(&out);
    assert_eq!((code, messages.len()), (0, 20), "{out}");
    assert!(messages.iter().all(|m| m["channel"] == "tasks"));
    let last = messages.last().unwrap();
    assert_eq!(
        (last["number"].as_u64(), &last["data"]["task_data"]["titulo"]),
        (Some(place.offset), &"change 19".into())
    );
    let from = place.offset.to_string();
    let (_, out, _) = run(&world, &["journal", "export", "--kind", "message", "--channel", "tasks", "--from", &from]);
    assert_eq!(lines(&out).len(), 1, "{out}");
    let (code, out, err) = run(&world, &["journal", "export", "--from", "1000000"]);
    assert!(
        code == 0 && out.is_empty() && err.contains("nothing is from 1000000 on yet: the newest number is "),
        "{err}"
    );
    let (code, _, err) = run(&world, &["journal", "export", "--from", "3", "--to", "2"]);
    assert!(code == 1 && err.contains("--from 3 is behind --to 2"), "{err}");
    let (code, _, err) = run(&world, &["journal", "export", "--kind", "nonsense"]);
    assert_eq!(code, 2);
    assert!(err.contains("possible values"), "{err}");

    assert!(server.stop(SOON).status.success());
    damage(&world);
    let (code, out, err) = run(&world, &["journal", "export"]);
    assert_eq!(code, 1, "{err}");
    assert!(lines(&out).iter().any(|line| line["kind"] == "damaged"), "the rest is printed all the same");
    assert!(err.contains("run `relevo journal check`"), "{err}");
}

#[test]
fn compact_waits_for_no_server_and_clients_notice_nothing() {
    let world = World::new();
    let (code, _, err) = run(&world, &["journal", "compact"]);
    assert_eq!(code, 1);
    assert!(err.contains("there is no journal in"), "{err}");
    let (server, place) = with_changes(&world);
    let (code, _, err) = run(&world, &["journal", "compact"]);
    assert_eq!(code, 1);
    assert!(err.contains("in use by another relevo process"), "{err}");
    assert!(server.stop(SOON).status.success());
    let (code, out, err) = run(&world, &["journal", "compact"]);
    assert_eq!(code, 0, "{err}");
    let after = sized(&world.data().join("journal.db"));
    assert!(out.contains(&format!("{after} after; ")) && out.contains("given back"), "{out}");
    assert_eq!(run(&world, &["journal", "check"]).0, 0);

    world.sql("update tareas set titulo = 'after it' where id = 1");
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks").after(&place));
    client.expect("the change", |f| f.is_of("tasks") && f.data()["task_data"]["titulo"] == "after it");
    assert!(client.frames.iter().all(|f| f.kind() != "gap"), "{:?}", client.frames);
    assert_eq!((&client.place.epoch, client.messages("tasks").len()), (&place.epoch, 1));
}
