use serde_json::json;

use super::{TestHost, delete, insert, publish, tick, update};
use crate::{
    Aggregate, Enrich, Error, Event, Kind, Level, Mark, Messages, Operation, Patch, Route, Setup, metrics, state, warn,
};

/// Remembers the first event of a batch, and sends for it last of all.
struct Backwards(Option<Mark>);

impl Aggregate for Backwards {
    fn init(setup: &Setup) -> Result<Self, Error> {
        if setup.config.contains("wrong") { Err(Error::config("wrong")) } else { Ok(Self(None)) }
    }

    fn fold(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
        self.0.get_or_insert(event.mark());
        // Begun, and not sent.
        drop(out.send("never").key("never"));
        state::add("events", 1);
        metrics::add("events", 1);
        match event.key() {
            "poison" => return Err(Error::poison("bad")),
            "transient" => return Err(Error::transient("later")),
            _ => {}
        }
        let told = json!([event.source(), event.schema(), event.table(), event.key(), event.number()]);
        out.send("each").key(event.key()).data(&told)
    }

    fn finish(&mut self, out: &mut Messages) -> Result<(), Error> {
        metrics::set("sent", 1.5);
        let Some(mark) = self.0.take() else { return Ok(()) };
        out.send_at(mark, "first").kind("kind").event_type("type").data(&out_of_state()?)
    }
}

fn out_of_state() -> Result<i64, Error> {
    state::count("events")
}

#[test]
fn messages_go_out_in_the_order_of_their_events() {
    let mut host = TestHost::aggregate::<Backwards>();
    let sent = host.feed([insert("a", json!({ "id": 1 })), insert("b", json!({ "id": "x" })), tick(5)]).unwrap();
    let outline: Vec<_> = sent.iter().map(|m| (m.event, m.channel.as_str(), m.kind.as_str())).collect();
    assert_eq!(outline, [(0, "each", "event"), (0, "first", "kind"), (1, "each", "event"), (2, "each", "event")]);
    assert_eq!(sent[0].data, json!(["db", "main", "a", "1", 1]));
    assert_eq!(sent[2].data, json!(["db", "main", "b", "x", 2]));
    assert_eq!(sent[3].data, json!(["clock", "", "", "", 3]));
    assert_eq!((sent[0].key.as_deref(), sent[3].key.as_deref()), (Some("1"), None));
    assert_eq!((host.counter("events"), host.gauge("sent")), (3, Some(1.5)));
}

/// Sends the row, a field that may not be there, and the row within a value.
struct Forward;

impl Route for Forward {
    fn init(_: &Setup) -> Result<Self, Error> {
        Ok(Self)
    }

    fn route(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
        let row = event.after();
        out.send("row").kind("moved").json(&row);
        out.send("field").json(&row.field("zone"));
        out.send("both").data(&[&row, &row.field("zone")])?;
        // A text column, into which `field` looks as if it were JSON.
        out.send("inner").data(&row.field("extra").field("a"))
    }
}

#[test]
fn rows_and_fields_are_sent_as_they_stand() {
    let mut host = TestHost::route::<Forward>();
    let row = json!({ "id": 1, "large": "9007199254740993" });
    let sent = host.feed([insert("t", row.clone())]).unwrap();
    let told: Vec<_> = sent.iter().map(|m| (m.channel.as_str(), m.kind.as_str(), m.data.clone())).collect();
    assert_eq!(
        told,
        [
            ("row", "moved", row.clone()),
            ("field", "event", json!(null)),
            ("both", "event", json!([row, null])),
            ("inner", "event", json!(null)),
        ]
    );
    let failed = host.feed([insert("t", json!({ "id": 2, "extra": "{\"a\":NaN}" }))]).unwrap_err();
    assert!(matches!(failed.error, Error::Poison(_)), "{failed:?}");
}

#[test]
fn tables_are_told_once_and_again_after_a_replacement() {
    let mut host = TestHost::aggregate::<Backwards>();
    let table = |host: &mut TestHost| host.feed([insert("b", json!({}))]).unwrap()[0].data[2].clone();
    host.feed([insert("a", json!({})), insert("b", json!({}))]).unwrap();
    assert_eq!(table(&mut host), "b");
    host.replace();
    assert_eq!(table(&mut host), "b");
}

#[test]
fn a_failed_batch_leaves_no_state_and_says_why() {
    let mut host = TestHost::aggregate::<Backwards>();
    let bad = |key| insert("a", json!({})).key(key);
    let failed = host.feed([bad("1"), bad("poison")]).unwrap_err();
    assert_eq!((failed.event, failed.error), (Some(1), Error::poison("bad")));
    assert_eq!(host.feed([bad("transient")]).unwrap_err().error, Error::transient("later"));
    assert_eq!(host.state::<i64>("events"), None);
    let mut host = TestHost::aggregate::<Backwards>().config(&json!({ "wrong": 1 }));
    assert_eq!(host.feed([]).unwrap_err().error, Error::config("wrong"));
}

#[test]
fn an_empty_batch_is_fine() {
    assert_eq!(TestHost::aggregate::<Backwards>().feed([]).unwrap(), []);
}

struct Adds;

impl Enrich for Adds {
    fn init(_: &Setup) -> Result<Self, Error> {
        Ok(Self)
    }

    fn enrich(&mut self, event: &Event<'_>, patch: &mut Patch) -> Result<(), Error> {
        match event.kind() {
            Kind::Change(Operation::Delete) => patch.drop_event(),
            Kind::Change(Operation::Update) => {
                patch.set("changed", &event.changed())?;
                patch.set("a\"b", &())?;
            }
            _ => warn!("{:?} is left as it is", event.kind()),
        }
        Ok(())
    }
}

#[test]
fn patches_name_their_events() {
    let mut host = TestHost::enrich::<Adds>();
    let change = update("t", json!({ "id": 1, "x": 1, "gone": 1 }), json!({ "id": 1, "x": 2 }));
    let patched = host.patches([publish("c", "e", json!(1)), change, delete("t", json!({ "id": 2 }))]).unwrap();
    let outline: Vec<_> = patched.iter().map(|p| (p.event, p.dropped, p.body.clone())).collect();
    assert_eq!(
        outline,
        [(1, false, json!({ "changed": ["x", "gone"], "a\"b": null })), (2, true, serde_json::Value::Null)]
    );
    assert_eq!(host.logged(), [(Level::Warn, "Published is left as it is".to_owned())]);
}

struct Scans;

impl Aggregate for Scans {
    fn init(_: &Setup) -> Result<Self, Error> {
        Ok(Self)
    }

    fn fold(&mut self, _: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
        for n in 0..600 {
            state::set(&format!("p/{n:03}"), &n)?;
        }
        state::set("o", &"before")?;
        state::set("q", &"after")?;
        let mut sum = 0;
        for entry in state::scan::<u64>("p/") {
            let (key, n) = entry?;
            state::delete(&key);
            sum += n;
        }
        out.send("sum").data(&(sum, state::scan::<u64>("p/").count(), state::get::<String>("q")?))
    }
}

#[test]
fn a_scan_reads_every_page_and_no_neighbour() {
    let mut host = TestHost::aggregate::<Scans>();
    assert_eq!(host.feed([tick(1)]).unwrap()[0].data, json!([599 * 300, 0, "after"]));
    assert_eq!(host.all_state().into_keys().collect::<Vec<_>>(), ["o", "q"]);
}
