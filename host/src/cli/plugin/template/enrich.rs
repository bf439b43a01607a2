//! Adds `heavy` to items, for the plugins that come after.

use relevo_plugin::{Enrich, Error, Event, Kind, Operation, Patch, Setup};

struct {{type}};

impl Enrich for {{type}} {
    fn init(_: &Setup) -> Result<Self, Error> {
        Ok(Self)
    }

    fn enrich(&mut self, event: &Event<'_>, patch: &mut Patch) -> Result<(), Error> {
        if event.table() != "items" || !matches!(event.kind(), Kind::Change(Operation::Insert | Operation::Update)) {
            return Ok(());
        }
        // An item that was never weighed is not heavy.
        let weight = event.after().field("weight").as_float().unwrap_or(0.0);
        patch.set("heavy", &(weight > 100.0))
    }
}

relevo_plugin::export!({{type}} as enrich);

#[cfg(test)]
mod tests {
    use relevo_plugin::test::{TestHost, insert};
    use serde_json::json;

    use super::{{type}};

    #[test]
    fn a_heavy_item_is_marked() {
        let mut host = TestHost::enrich::<{{type}}>();
        let items = [json!({ "id": 1, "weight": 250.5 }), json!({ "id": 2, "weight": null })];
        let patched = host.patches(items.map(|item| insert("items", item))).unwrap();
        let bodies: Vec<_> = patched.into_iter().map(|patch| patch.body).collect();
        assert_eq!(bodies, [json!({ "heavy": true }), json!({ "heavy": false })]);
    }
}
