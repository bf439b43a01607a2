//! JSON that is written once and goes out in several messages.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::Error;
use crate::arena::Arena;

/// Data that was written as JSON once: put into several messages, it costs little more than a copy each.
///
/// ```
/// use relevo_plugin::{Error, Messages, Written};
/// use serde_json::json;
/// # #[derive(serde::Serialize)]
/// # struct Task { id: i64 }
/// fn tell(task: &Task, out: &mut Messages) -> Result<(), Error> {
///     let task = Written::of(task)?;
///     out.send("tasks").kind("task_event").data(&task)?;
///     let assigned = task.with(&json!({ "nuevo_delegado": 7 }))?;
///     out.send("user:7").kind("task_event").event_type("task_assigned").data(&assigned)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Written(Box<RawValue>);

impl Written {
    /// Writes whatever serde can write.
    ///
    /// ```
    /// # use relevo_plugin::{Error, Written};
    /// let task = Written::of(&("Patrulla", 7))?;
    /// assert_eq!(serde_json::to_string(&[&task, &task]).unwrap(), r#"[["Patrulla",7],["Patrulla",7]]"#);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// Poison, if the data can't be written as JSON, like a map whose keys are no texts.
    pub fn of<T: Serialize + ?Sized>(data: &T) -> Result<Self, Error> {
        Ok(Self(raw(write(data)?)))
    }

    /// The object with these members behind its own.
    ///
    /// ```
    /// # use relevo_plugin::{Error, Written};
    /// # use serde_json::json;
    /// let task = Written::of(&json!({ "id": 7 }))?.with(&json!({ "old_status": "pausada" }))?;
    /// assert_eq!(serde_json::to_string(&task).unwrap(), r#"{"id":7,"old_status":"pausada"}"#);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// Poison, if one of the two is no object, or `more` can't be written as JSON.
    pub fn with<T: Serialize + ?Sized>(&self, more: &T) -> Result<Self, Error> {
        let more = write(more)?;
        let ends = (self.0.get().trim_ascii().strip_suffix('}'), more.trim_ascii().strip_prefix('{'));
        let (Some(members), Some(added)) = ends else {
            return Err(Error::poison("only objects have members to add, and members can be added only to objects"));
        };
        // What holds a RawValue is written as that stands, with its spaces.
        let comma = if members.trim_ascii_end() == "{" || added.trim_ascii_start() == "}" { "" } else { "," };
        Ok(Self(raw([members, comma, added].concat())))
    }
}

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

fn write<T: Serialize + ?Sized>(data: &T) -> Result<String, Error> {
    let mut text = Vec::new();
    serde_json::to_writer(Arena(&mut text), data)?;
    String::from_utf8(text).map_err(|why| Error::poison(why.to_string()))
}

/// What `write` wrote, or what was made of two objects that it wrote.
#[expect(unsafe_code, reason = "reading it once more took 8 % of a busy pipeline; see SAFETY")]
fn raw(json: String) -> Box<RawValue> {
    // SAFETY: it should be one well-formed JSON value without space around it. `write` has it of serde_json's writer, and
    // `with` puts the members of two such objects into one pair of braces, with a comma between them if both have any. A
    // `Serialize` that breaks serde's rules (a key without a value) can make that untrue; no memory depends on it: nothing
    // here but serde_json's writer, which copies it, takes a RawValue, and the host reads all data that it gets.
    unsafe { RawValue::from_string_unchecked(json) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::RawValue;

    use super::Written;

    fn with(data: serde_json::Value, more: serde_json::Value) -> Result<String, String> {
        let written = Written::of(&data).unwrap().with(&more).map_err(|why| why.to_string())?;
        Ok(serde_json::to_string(&written).unwrap())
    }

    #[test]
    fn members_are_added_to_objects_alone() {
        assert_eq!(with(json!({ "a": "}" }), json!({ "b": [1] })).unwrap(), r#"{"a":"}","b":[1]}"#);
        assert_eq!(with(json!({}), json!({ "b": 1 })).unwrap(), r#"{"b":1}"#);
        assert_eq!(with(json!({ "a": 1 }), json!({})).unwrap(), r#"{"a":1}"#);
        assert_eq!(with(json!({}), json!({})).unwrap(), "{}");
        let spaced = RawValue::from_string("{ }".to_owned()).unwrap();
        let one = json!({ "b": 1 });
        let texts = [Written::of(&spaced).unwrap().with(&one), Written::of(&one).unwrap().with(&spaced)];
        for text in texts {
            let text = serde_json::to_string(&text.unwrap()).unwrap();
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), one, "{text}");
        }
        for (data, more) in [(json!([1]), json!({ "b": 1 })), (json!({ "a": 1 }), json!("{")), (json!(1), json!(2))] {
            assert!(with(data, more).unwrap_err().contains("only objects"));
        }
    }
}
