//! Counts items by their state, and tells the channel `{{name}}` the counts.

use relevo_plugin::{Aggregate, BTreeMap, Error, Event, Json, Kind, Mark, Messages, Operation, Setup, state};

/// State `count/STATE`: how many items are in it.
const COUNT: &str = "count/";

#[derive(Default)]
struct {{type}} {
    /// The last event of this batch that changed a count. Between batches there is nothing here: what
    /// must stay is in `state`.
    last: Option<Mark>,
}

impl Aggregate for {{type}} {
    fn init(_: &Setup) -> Result<Self, Error> {
        Ok(Self::default())
    }

    fn fold(&mut self, event: &Event<'_>, _: &mut Messages) -> Result<(), Error> {
        let Kind::Change(operation) = event.kind() else { return Ok(()) };
        if event.table() != "items" {
            return Ok(());
        }
        if operation == Operation::Truncate {
            for entry in state::scan::<i64>(COUNT) {
                state::delete(&entry?.0);
            }
        }
        for (row, by) in [(event.before(), -1), (event.after(), 1)] {
            if let Some(key) = key(&row) {
                state::add(&key, by);
            }
        }
        self.last = Some(event.mark());
        Ok(())
    }

    /// One message a batch is enough.
    fn finish(&mut self, out: &mut Messages) -> Result<(), Error> {
        let Some(mark) = self.last.take() else { return Ok(()) };
        let mut counts = BTreeMap::new();
        for entry in state::scan::<i64>(COUNT) {
            let (key, count) = entry?;
            counts.insert(key[COUNT.len()..].to_owned(), count);
        }
        out.send_at(mark, "{{name}}").key("counts").kind("item_counts").data(&counts)
    }
}

relevo_plugin::export!({{type}} as aggregate);

/// Where an item is counted. A state too long for a key is counted as none.
fn key(row: &Json<'_>) -> Option<String> {
    let state = row.field("state").as_text().filter(|state| state.len() <= 64)?;
    Some(format!("{COUNT}{state}"))
}

#[cfg(test)]
mod tests {
    use relevo_plugin::test::{TestHost, delete, insert, update};
    use serde_json::json;

    use super::{{type}};

    #[test]
    fn items_are_counted_by_their_state() {
        // Each batch meets a fresh instance, so that what isn't in `state` is lost.
        let mut host = TestHost::aggregate::<{{type}}>().replace_always();
        let open = |id: u32| json!({ "id": id, "state": "open" });
        host.feed([insert("items", open(1)), insert("items", open(2))]).unwrap();
        let done = update("items", open(1), json!({ "id": 1, "state": "done" }));
        assert_eq!(host.feed([done]).unwrap()[0].data, json!({ "done": 1, "open": 1 }));
        let sent = host.feed([delete("items", open(2))]).unwrap();
        assert_eq!((sent.len(), &sent[0].data), (1, &json!({ "done": 1, "open": 0 })));
    }
}
