//! Tells the channel `{{name}}` what becomes of items.

use relevo_plugin::{Error, Event, Kind, Messages, Operation, Route, Setup};
use serde_json::json;

struct {{type}};

impl Route for {{type}} {
    fn init(_: &Setup) -> Result<Self, Error> {
        Ok(Self)
    }

    fn route(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
        if event.table() != "items" {
            return Ok(());
        }
        let (what, row) = match event.kind() {
            Kind::Change(Operation::Insert) => ("item_created", event.after()),
            Kind::Change(Operation::Update) => ("item_changed", event.after()),
            Kind::Change(Operation::Delete) => ("item_deleted", event.before()),
            _ => return Ok(()),
        };
        let data = json!({ "id": event.key(), "title": row.text("title")? });
        out.send("{{name}}").kind("item_event").event_type(what).data(&data)
    }
}

relevo_plugin::export!({{type}} as route);

#[cfg(test)]
mod tests {
    use relevo_plugin::test::{TestHost, insert};
    use serde_json::json;

    use super::{{type}};

    #[test]
    fn a_new_item_is_told() {
        let mut host = TestHost::route::<{{type}}>();
        let sent = host.feed([insert("items", json!({ "id": 7, "title": "First" }))]).unwrap();
        assert_eq!(sent[0].event_type, "item_created");
        assert_eq!(sent[0].data, json!({ "id": "7", "title": "First" }));
    }

    #[test]
    fn an_item_without_a_title_is_refused_with_a_reason() {
        let mut host = TestHost::route::<{{type}}>();
        let failed = host.feed([insert("items", json!({ "id": 7 }))]).unwrap_err();
        assert_eq!(failed.error.to_string(), "poison: title: there is no such field; a text is wanted");
    }
}
