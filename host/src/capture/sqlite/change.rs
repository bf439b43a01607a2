//! From the values of a row to an event's body: key and JSON are made, and what differs is found.

use crate::event::{Change, Missing, Name, Operation};

use super::form::Form;
use super::value::Value;

/// Makes a change of the values that stand in the change table or, in a snapshot, in the table itself;
/// none if the key is too large to be shown. `rowid`: where the form wants it.
pub(crate) fn change(
    form: &Form,
    operation: Operation,
    rowid: Option<i64>,
    old: Option<&[Value<'_>]>,
    new: Option<&[Value<'_>]>,
) -> Option<Change> {
    let key = match new.or(old) {
        Some(values) => key(form, rowid, values)?,
        None => String::new(),
    };
    let mut missing = Vec::new();
    let changed = match (old, new) {
        (Some(old), Some(new)) => differing(form, old, new),
        _ => Vec::new(),
    };
    Some(Change {
        schema: "main".into(),
        table: form.table().clone(),
        operation,
        key: key.into(),
        before: old.map(|row| json(form, row, &mut missing)),
        after: new.map(|row| json(form, row, &mut missing)),
        changed,
        missing,
    })
}

fn key(form: &Form, rowid: Option<i64>, values: &[Value<'_>]) -> Option<String> {
    let parts: Vec<&Value<'_>> = form.key().iter().filter_map(|&place| values.get(place)).collect();
    if parts.iter().any(|part| part.too_large().is_some()) {
        return None;
    }
    Some(match (parts.as_slice(), rowid) {
        ([], rowid) => rowid.unwrap_or_default().to_string(),
        (parts, Some(rowid)) if parts.contains(&&Value::Null) => format!("rowid:{rowid}"),
        ([part], _) => {
            let mut key = String::new();
            part.write_key(&mut key);
            key
        }
        (parts, _) => {
            let mut key = String::new();
            for part in parts {
                key.push(if key.is_empty() { '[' } else { ',' });
                part.write_json(&mut key);
            }
            key.push(']');
            key
        }
    })
}

fn differing(form: &Form, old: &[Value<'_>], new: &[Value<'_>]) -> Vec<Name> {
    let columns = form.columns().iter().zip(old.iter().zip(new));
    columns.filter(|(_, (old, new))| !new.is_same(old)).map(|(name, _)| name.clone()).collect()
}

/// The row, and the names of what is too large to be in it.
fn json(form: &Form, values: &[Value<'_>], missing: &mut Vec<Missing>) -> Box<str> {
    let room = form.labels().iter().zip(values).map(|(label, value)| {
        label.len()
            + match value {
                Value::Text(bytes) => bytes.len() + 4,
                Value::Blob(bytes) => 2 * bytes.len() + 3,
                _ => 8,
            }
    });
    let mut out = String::with_capacity(room.sum::<usize>() + 2);
    out.push('{');
    for ((label, name), value) in form.labels().iter().zip(form.columns()).zip(values) {
        if let Some(bytes) = value.too_large() {
            match missing.iter_mut().find(|m| m.column == *name) {
                Some(known) => known.bytes = known.bytes.max(bytes),
                None => missing.push(Missing { column: name.clone(), bytes }),
            }
            continue;
        }
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(label);
        value.write_json(&mut out);
    }
    out.push('}');
    out.into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::super::form::Form;
    use super::super::value::{Large, Value};
    use super::{Operation, change};

    fn form(columns: &[&str], key: &[usize], rowid: bool) -> Form {
        let form = serde_json::json!({"table": "t", "columns": columns, "key": key, "rowid": rowid, "mark": "m"});
        serde_json::from_value(form).unwrap()
    }

    fn update(old: &[Value<'_>], new: &[Value<'_>]) -> crate::event::Change {
        let form = form(&["id", "a", "b", "c"], &[0], false);
        change(&form, Operation::Update, None, Some(old), Some(new)).unwrap()
    }

    #[test]
    fn what_differs_is_named() {
        let change = update(
            &[Value::Integer(1), Value::Text(b"x"), Value::Real(1.0), Value::Null],
            &[Value::Integer(1), Value::Text(b"y"), Value::Integer(1), Value::Null],
        );
        assert_eq!(change.changed, ["a".into(), "b".into()]);
        assert_eq!(change.after.as_deref(), Some(r#"{"id":1,"a":"y","b":1,"c":null}"#));
    }

    #[test]
    fn a_value_that_was_too_large_is_missing_with_its_size() {
        let large = |same| Value::Large(Large { bytes: 600_000, same });
        let row = |value| [Value::Integer(1), Value::Integer(1), value];
        let same = update(&row(large(None)), &row(large(Some(true))));
        assert!(same.changed.is_empty(), "the same large value is no change");
        let other = update(&row(large(None)), &row(large(Some(false))));
        assert_eq!(other.changed, ["b".into()], "as large as before, and yet another");
        assert_eq!(other.missing.len(), 1);
        assert_eq!((other.missing[0].column.as_ref(), other.missing[0].bytes), ("b", 600_000));
        assert_eq!(other.after.as_deref(), Some(r#"{"id":1,"a":1}"#));
        let replaced = update(&row(large(Some(false))), &row(large(None)));
        assert_eq!(replaced.changed, ["b".into()], "a row that was replaced was compared when it was put aside");
        let now_large = update(&row(Value::Text(b"x")), &row(large(Some(false))));
        assert_eq!(now_large.changed, ["b".into()]);
    }

    #[test]
    fn the_key_has_the_declared_columns_or_the_rowid() {
        let row = [Value::Text(b"x"), Value::Null, Value::Integer(7)];
        let key = |key: &[usize], rowid: Option<i64>| {
            let form = form(&["a", "b", "c"], key, rowid.is_some());
            change(&form, Operation::Delete, rowid, Some(&row), None).unwrap().key
        };
        assert_eq!(&*key(&[0], None), "x");
        assert_eq!(&*key(&[2, 0], Some(3)), r#"[7,"x"]"#);
        assert_eq!(&*key(&[], Some(3)), "3");
        assert_eq!(&*key(&[1], Some(3)), "rowid:3");
        assert_eq!(&*key(&[0, 1], Some(3)), "rowid:3", "two rows may have the same half of a key");
        let large = [Value::Large(Large { bytes: 600_000, same: None })];
        assert!(change(&form(&["a"], &[0], false), Operation::Insert, None, None, Some(&large)).is_none());
    }
}
