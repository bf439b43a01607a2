//! Messages of a real PostgreSQL, damaged in every way: the decoder, and what makes rows of its messages, never
//! panic, and a row that comes out is JSON.
//!
//! `RELEVO_FUZZ_ROUNDS` has it go on for longer.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use relevo_tests::postgres::Postgres;
use relevo_tests::random::Random;

use super::decode::{Datum, Message, RelationMessage, decode};
use super::relation::{Column, Relation};
use super::value::Kind;
use crate::event::{Change, Operation};

const ROUNDS: u64 = 100_000;

/// One column of each kind, and rows that an update leaves alone or moves.
const STATEMENTS: [&str; 12] = [
    "create type mood as enum ('calm', 'so')",
    "create table wide (id bigint primary key, yes boolean, f float8, n numeric, j jsonb, b bytea, at timestamptz,
       local timestamp, ints int[], texts text[], js jsonb[], m mood, ats timestamptz[], bs bytea[], fs float8[],
       bigs bigint[], v text)",
    "create table narrow (id int, part text, v text, primary key (part, id))",
    "alter table wide replica identity full",
    "alter table wide alter column v set storage external",
    "create publication p for all tables",
    "select pg_create_logical_replication_slot('s', 'pgoutput')",
    "insert into wide values (9007199254740993, true, 'NaN', 1.50, '{\"a\": [1, null]}', '\\x00ff',
       '2026-11-25 01:02:03.456-03', 'infinity', '{1,null,3}', '{a,\"b,\\\"c\\\"\",null}', '{\"{\\\"a\\\": 1}\"}', 'so',
       '{2026-11-25 01:02:03-03,null,-infinity}', array['\\x00ff'::bytea, '', null], '{NaN,-Infinity,0.1,null}',
       '{9007199254740993,-9223372036854775808,null}', repeat('ñ', 3000)), (1, null, 0.1, 'NaN', 'null', '', null, '2026-11-25', '[0:1]={1,2}', '{}', '{{1,2},{3,4}}', 'calm',
       '{}', '{{\\x00}}', '{{1,NaN},{2,3}}', null, '')",
    "update wide set yes = false; update wide set id = 2 where id = 1; delete from wide where id = 2",
    "insert into narrow values (1, 'a', 'b'); update narrow set v = 'c'; update narrow set id = 2; delete from narrow",
    "select pg_logical_emit_message(true, 'x', 'y')",
    "insert into narrow values (1, 'a', 'b'); truncate wide, narrow",
];

/// The messages of these statements.
fn recorded() -> Vec<Vec<u8>> {
    let database = Postgres::start();
    for statement in STATEMENTS {
        database.sql(statement);
    }
    let shown = database.sql(
        "select encode(data, 'hex') from pg_logical_slot_get_binary_changes('s', null, null, \
         'proto_version', '1', 'publication_names', 'p', 'messages', 'true')",
    );
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    shown.lines().map(|line| line.as_bytes().chunks(2).map(byte).collect()).collect()
}

fn table(message: &RelationMessage<'_>) -> Relation {
    let columns = message.columns.iter().map(|column| {
        let kind = Kind::of_builtin(column.kind).unwrap_or(Kind::Text);
        Column::new(column.name, column.kind, kind, column.key, false)
    });
    let primary: Vec<String> = match message.identity {
        b'f' => vec!["id".to_owned()],
        _ => message.columns.iter().filter(|column| column.key).map(|column| column.name.to_owned()).collect(),
    };
    Relation::new(message.schema.into(), message.table.into(), columns.collect(), message.identity, &primary)
}

/// Whether it was a message.
fn holds(bytes: &[u8], tables: &BTreeMap<u32, Relation>, any: &Relation) -> bool {
    let Ok(message) = decode(bytes) else { return false };
    let of = |id| tables.get(&id).unwrap_or(any);
    let made: Vec<Change> = match &message {
        Message::Relation(message) => {
            let table = table(message);
            let values = vec![Datum::Text("1"); table.columns.len()];
            table.insert(Operation::Insert, &values).into_iter().chain([table.truncate()]).collect()
        }
        Message::Insert { relation, new } => of(*relation).insert(Operation::Insert, new).into_iter().collect(),
        Message::Update { relation, old, new } => {
            let made = of(*relation).update(old.as_ref(), new);
            made.into_iter().flat_map(|(first, second)| first.into_iter().chain(second)).collect()
        }
        Message::Delete { relation, old } => of(*relation).delete(old).into_iter().collect(),
        Message::Truncate { relations } => relations.iter().map(|id| of(*id).truncate()).collect(),
        Message::Other => Vec::new(),
    };
    for row in made.iter().flat_map(|change| change.before.iter().chain(&change.after)) {
        let read = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(row);
        assert!(read.is_ok(), "{row} is no row: {read:?}");
    }
    true
}

/// Damages a message in one to four places; `others` give it parts of theirs.
fn damage(random: &mut Random, message: &mut Vec<u8>, others: &[Vec<u8>]) {
    const TELLING: &[u8] = b"RIUDTYOMBCNKOntub{}[]\",\\:=+-.eE019 xZ\0\x01\x7f\x80\xc3\xff";
    const NUMBERS: [&[u8]; 7] = [&[0], &[0xff], &[0, 0], &[0xff; 2], &[0; 4], &[0xff; 4], &[0x7f, 0xff, 0xff, 0xff]];
    let below = |random: &mut Random, bound: usize| usize::try_from(random.below(bound as u64)).unwrap();
    for _ in 0..=below(random, 4) {
        let at = below(random, message.len() + 1);
        let end = (at + below(random, 9)).min(message.len());
        match below(random, 9) {
            0 if at < message.len() => message[at] ^= 1 << random.below(8),
            1 | 2 if at < message.len() => message[at] = *random.pick(TELLING),
            3 => message.truncate(at),
            4 => drop(message.drain(at..end)),
            5 => {
                let part = message[at..end].to_vec();
                message.splice(at..at, part);
            }
            6 => {
                let number = *random.pick(&NUMBERS);
                let end = (at + number.len()).min(message.len());
                message.splice(at..end, number.iter().copied());
            }
            7 => {
                let other = random.pick(others);
                message.truncate(at);
                message.extend(&other[below(random, other.len())..]);
            }
            _ => {
                let noise: Vec<u8> = (0..random.below(6)).flat_map(|_| random.draw().to_le_bytes()).collect();
                message.splice(at..end, noise);
            }
        }
    }
}

#[test]
fn a_damaged_message_is_a_message_or_an_error_and_its_rows_are_json() {
    let rounds = std::env::var("RELEVO_FUZZ_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let messages = recorded();
    let mut tables = BTreeMap::new();
    let mut kinds = BTreeMap::<u8, usize>::new();
    for message in &messages {
        *kinds.entry(message[0]).or_default() += 1;
        if let Message::Relation(message) = decode(message).unwrap() {
            tables.insert(message.id, table(&message));
        }
    }
    let kinds: Vec<u8> = kinds.into_keys().collect();
    assert_eq!(kinds, b"BCDIMRTUY", "every kind of message was recorded, but for origins");
    let any = tables.values().next().unwrap().clone();
    for message in &messages {
        assert!(holds(message, &tables, &any), "undamaged");
    }
    let mut random = Random::from_environment("fuzz");
    let (mut read, mut refused) = (0_u64, 0_u64);
    for round in 0..rounds {
        let mut message = random.pick(&messages).clone();
        damage(&mut random, &mut message, &messages);
        match catch_unwind(AssertUnwindSafe(|| holds(&message, &tables, &any))) {
            Ok(true) => read += 1,
            Ok(false) => refused += 1,
            Err(_) => panic!("round {round}: {}", message.escape_ascii()),
        }
    }
    println!("{read} were read, {refused} refused");
    assert!(read > rounds / 20 && refused > rounds / 20, "{read} read, {refused} refused: one side isn't tried");
}
