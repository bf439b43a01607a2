//! A plugin for the pipelines' tests: it counts what it sees, so that an event that is lost or seen
//! twice shows for ever after.
//!
//! Each change of an account goes to `ledger` with the sum of all accounts and the number of changes
//! so far; what is published on `news:notes` is counted alone; `ledger:board` has each account with its owner's name, looked up. An account whose `n` is
//! `poison`, `panic`, `transient` or `fatal` does what it says.

use relevo_plugin::{Aggregate, Error, Event, Kind, Messages, Operation, Setup, lookup, state};

struct Ledger;

impl Aggregate for Ledger {
    fn init(_: &Setup) -> Result<Self, Error> {
        Ok(Self)
    }

    fn fold(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
        let operation = match event.kind() {
            Kind::Change(operation) => operation,
            Kind::Published => {
                state::add("notes", 1);
                return Ok(());
            }
            _ => return Ok(()),
        };
        let key = event.key();
        let row = event.after();
        let account = format!("account/{key}");
        match operation {
            Operation::Truncate => {
                for entry in state::scan::<i64>("account/") {
                    let (account, _) = entry?;
                    state::delete(&account);
                    let key = &account["account/".len()..];
                    out.delete("ledger:board", key).kind("account").data(&())?;
                }
                state::set("sum", &0)?;
            }
            Operation::Delete => {
                state::add("sum", -state::get::<i64>(&account)?.unwrap_or(0));
                state::delete(&account);
                out.delete("ledger:board", key).kind("account").data(&())?;
            }
            Operation::Insert | Operation::Update | Operation::Snapshot => {
                let n = row.field("n");
                match n.as_text().as_deref() {
                    Some("poison") => return Err(Error::poison("it says so")),
                    Some("panic") => panic!("it says so"),
                    Some("transient") => return Err(Error::transient("it says so")),
                    Some("fatal") => return Err(Error::fatal("it says so")),
                    _ => {}
                }
                let n = row.integer("n")?;
                state::add("sum", n - state::get::<i64>(&account)?.unwrap_or(0));
                state::set(&account, &n)?;
                let person = lookup::row("people", &row.integer("owner")?.to_string());
                let owner = person.as_ref().and_then(|person| person.field("name").as_text().map(Into::into));
                let owner: Option<String> = owner;
                out.send("ledger:board").key(key).kind("account").data(&serde_json::json!({"n": n, "owner": owner}))?;
            }
        }
        let changes = state::add("changes", 1);
        let sum = state::count("sum")?;
        let data =
            serde_json::json!({"key": key, "operation": format!("{operation:?}"), "sum": sum, "changes": changes});
        out.send("ledger").kind("change").data(&data)
    }
}

relevo_plugin::export!(Ledger as aggregate);
