use proptest::prelude::*;
use serde_json::{Value, json};

use super::Json;

fn read(text: &str) -> Json<'_> {
    Json::new(text)
}

#[test]
fn a_field_is_found_among_others_of_every_kind() {
    let row = r#" { "a" : [1,{"b":"}"}] , "c":"x,\"y\":1", "d":-1.5e3 ,"e":true,"f":null,"b":9}  "#;
    assert_eq!(read(row).integer("b"), Ok(9));
    assert_eq!(read(row).text("c").unwrap(), "x,\"y\":1");
    assert_eq!(read(row).float("d"), Ok(-1500.0));
    assert_eq!(read(row).boolean("e"), Ok(true));
    assert!(read(row).field("f").is_null() && !read(row).field("f").is_missing());
    assert!(read(row).field("z").is_null() && read(row).field("z").is_missing());
}

/// Between two texts there is a comma, which looks like a name in quotes; and a name may be escaped.
#[test]
fn a_rows_names_are_told_from_what_looks_like_them() {
    let row = Json::row(r#"{"x":"y",":":1,",":2}"#, "");
    assert_eq!([",", ":", "x"].map(|name| row.field(name).raw().to_owned()), ["2", "1", "\"y\""]);
    assert_eq!(Json::row(r#"{"\u0061":1,"a":2}"#, "").integer("a"), Ok(1), "the first counts, however it is written");
}

#[test]
fn a_name_inside_a_nested_object_is_not_the_rows() {
    assert!(read(r#"{"a":{"id":1}}"#).field("id").is_missing());
    assert_eq!(read(r#"{"a":{"id":1}}"#).path("a.id").as_integer(), Some(1));
}

#[test]
fn fields_come_in_the_order_of_the_names_and_one_twice_is_both_times_there() {
    let row = read(r#"{"a":1,"\u0062":2,"a":3,"c":4}"#);
    assert_eq!(
        row.fields(["c", "b", "a", "z", "a"]).map(|field| field.as_integer()),
        [Some(4), Some(2), Some(1), None, Some(1)]
    );
    assert!(read("[]").fields(["a"])[0].is_missing());
    assert_eq!(read(r#"{"a":1,"b":}"#).fields(["a", "b"]).map(|field| field.is_missing()), [false, true]);
}

#[test]
fn escapes_are_read_in_values_and_in_names() {
    assert_eq!(read(r#"{"\u00f1":"a\n\"\\\/\t\u00e9\ud83d\ude80"}"#).text("ñ").unwrap(), "a\n\"\\/\té🚀");
    assert_eq!(read(r#"{"a\\":1}"#).integer("a\\"), Ok(1));
    for bad in [r#""\ud83d""#, r#""\ud83dx""#, r#""\ude80""#, r#""\ud83d\u0041""#, r#""\x""#, r#""\u12""#, "\"a\nb\""] {
        assert_eq!(read(bad).as_text(), None, "{bad}");
    }
}

#[test]
fn a_name_that_is_no_text_hides_nothing_behind_it() {
    let row = read(r#"{"a\u12":1,"long enough for eight bytes \q":2,"b":"a \"quoted\" and long text","c":3}"#);
    assert_eq!((row.integer("c").unwrap(), &*row.text("b").unwrap()), (3, "a \"quoted\" and long text"));
}

#[test]
fn text_that_needs_no_escapes_is_not_copied() {
    let row = read(r#"{"unidad":"Unidad Ñandú"}"#);
    assert!(matches!(row.text("unidad").unwrap(), std::borrow::Cow::Borrowed("Unidad Ñandú")));
}

#[test]
fn large_integers_travel_as_text() {
    let row = read(r#"{"a":"9007199254740993","b":9007199254740993,"c":"x","d":1.5,"e":"1.5"}"#);
    assert_eq!(row.integer("a"), Ok(9_007_199_254_740_993));
    assert_eq!(row.integer("b"), Ok(9_007_199_254_740_993));
    assert!(row.integer("c").is_err() && row.integer("d").is_err());
    assert_eq!(row.float("e"), Ok(1.5));
    assert!(read(r#""inf""#).as_float().is_none() && read("\"NaN\"").as_float().is_none());
}

#[test]
fn sqlite_booleans_are_numbers() {
    let row = read(r#"{"a":1,"b":0,"c":2,"d":"true"}"#);
    assert_eq!((row.boolean("a"), row.boolean("b")), (Ok(true), Ok(false)));
    assert!(row.boolean("c").is_err() && row.boolean("d").is_err());
}

#[test]
fn json_in_a_text_column_is_looked_into() {
    let row = read(r#"{"j":"{\"k\":[1,{\"l\":\"m\"}]}","list":"[]","n":"[1,]"}"#);
    assert_eq!(row.path("j.k").items()[1].text("l").unwrap(), "m");
    assert!(row.field("list").items().is_empty() && row.field("n").items().is_empty());
}

#[test]
fn an_error_says_what_was_there() {
    let row = read(r#"{"a":null,"b":[]}"#);
    assert_eq!(row.text("a").unwrap_err().to_string(), "poison: a: is null; a text is wanted");
    assert_eq!(row.integer("b").unwrap_err().to_string(), "poison: b: is []; an integer is wanted");
}

#[test]
fn a_field_named_with_dots_comes_before_a_path_and_lists_are_walked_by_index() {
    let row = read(r#"{"a.b":1,"a":{"b":2,"c":[{"d":3}]},"j":"[{\"k\":4}]","0":5}"#);
    assert_eq!((row.integer("a.b"), row.integer("a.c.0.d"), row.integer("j.0.k")), (Ok(1), Ok(3), Ok(4)));
    assert_eq!((row.pointer("/a/b").as_integer(), row.pointer("/0").as_integer()), (Some(2), Some(5)));
    assert!(row.path("a.c.1").is_missing() && row.pointer("a").is_missing());
    assert_eq!(row.text("a.x.y").unwrap_err().to_string(), "poison: a.x.y: there is no such field; a text is wanted");
}

#[test]
fn typed_rows_name_the_field_that_does_not_fit() {
    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "only its reading is looked at")]
    struct Row {
        id: i64,
        zonas: Vec<String>,
    }
    let why = |text: &str| read(text).parse::<Row>().unwrap_err().to_string();
    assert!(why(r#"{"id":"x","zonas":[]}"#).starts_with("poison: id: invalid type: string"));
    assert!(why(r#"{"id":1,"zonas":["a",2]}"#).starts_with("poison: zonas[1]: invalid type: integer `2`"));
    assert!(why(r#"{"id":1}"#).starts_with("poison: missing field `zonas`"));
    assert!(why(r#"{"id":1,"zonas":[]} x"#).starts_with("poison: trailing characters"));
    assert!(why("").starts_with("poison: EOF"));
    let row = read(r#"{"z":"[\"a\",2]","n":null}"#);
    assert_eq!(row.get::<String>("z").unwrap(), r#"["a",2]"#);
    let found = row.get::<Vec<String>>("z").unwrap_err().to_string();
    assert!(found.starts_with("poison: z[1]: invalid type: integer `2`"), "{found}");
    assert_eq!(
        row.get::<Vec<u8>>("x").unwrap_err().to_string(),
        "poison: x: there is no such field; a value is wanted"
    );
    assert_eq!((row.get::<Option<u8>>("x"), row.get::<Option<u8>>("n")), (Ok(None), Ok(None)));
}

#[test]
fn a_column_that_was_left_out_is_told_from_one_that_is_not_there() {
    let row = Json::row(r#"{"id":1}"#, r#"["id",{"missing":{"foto":9,"a.b":8}}]"#);
    let why = |path| row.text(path).unwrap_err().to_string();
    assert_eq!(why("foto.x"), "poison: foto.x: its 9 bytes were too large, the row came without it; a text is wanted");
    assert!(why("a.b").contains("its 8 bytes"));
    assert_eq!(why("otra"), "poison: otra: there is no such field; a text is wanted");
    assert_eq!(Json::row("", "").text("a").unwrap_err().to_string(), "poison: a: there is no row; a text is wanted");
}

#[test]
fn deep_nesting_needs_no_stack() {
    let deep = format!(r#"{{"a":{}{},"b":1}}"#, "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(read(&deep).integer("b"), Ok(1));
    assert!(read(&"[".repeat(200_000)).items().is_empty());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(|m| m.into_iter().collect()),
        ]
    })
}

/// Everything that the reader can say about a value is what serde says about it.
fn same(lazy: &Json<'_>, value: &Value) -> Result<(), TestCaseError> {
    prop_assert_eq!(&lazy.parse::<Value>().unwrap(), value);
    match value {
        Value::Null => prop_assert!(lazy.is_null()),
        Value::Bool(b) => prop_assert_eq!(lazy.as_boolean(), Some(*b)),
        Value::Number(n) => {
            prop_assert_eq!(lazy.as_integer(), n.as_i64());
            // serde_json's reading of a float may be off by the last bit; this one is Rust's.
            prop_assert_eq!(lazy.as_float(), lazy.raw().parse().ok());
        }
        Value::String(s) => prop_assert_eq!(lazy.as_text().unwrap(), s.as_str()),
        Value::Array(items) => {
            let found = lazy.items();
            prop_assert_eq!(found.len(), items.len());
            for (lazy, value) in found.iter().zip(items) {
                same(lazy, value)?;
            }
        }
        Value::Object(members) => {
            let none = "\u{10ffff} no such name";
            let names: Vec<&str> = members.keys().map(String::as_str).chain([none, none]).collect();
            let three = [names[names.len() / 2], names[0], none];
            for (name, field) in three.iter().zip(lazy.fields(three)) {
                let alone = lazy.field(name);
                prop_assert_eq!(field.raw(), alone.raw());
            }
            for (name, value) in members {
                same(&lazy.field(name), value)?;
            }
        }
    }
    Ok(())
}

/// Names of few letters, which are met often, and of what stands between texts.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[ab]{1,2}", 1 => "[ab]{15,17}", 1 => "[ñ_,:\" \\\\{]{0,2}"]
}

/// What names may be taken for.
fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![name(), r#"["ab:,{} \\]{0,20}"#];
    let flat = prop_oneof![Just(json!(7)), text.prop_map(Value::from), Just(Value::Null)];
    let nested = prop_oneof![
        prop::collection::btree_map(name(), Just(json!(1)), 0..3).prop_map(|m| m.into_iter().collect::<Value>()),
        prop::collection::vec(name().prop_map(Value::from), 0..3).prop_map(Value::from),
    ];
    prop_oneof![4 => flat, 1 => nested]
}

/// Asks for everything; the answer doesn't matter.
fn touch(json: &Json<'_>, name: &str) {
    let field = json.field(name);
    let _ = (field.as_text(), field.as_integer(), field.as_float(), field.as_boolean(), field.is_null());
    let _ = (json.path(name).items(), json.items(), json.as_text(), json.parse::<Value>());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reads_what_serde_reads(value in any_json(), pretty: bool) {
        let row = json!({ "first": [value.clone()], "row": value });
        let text = if pretty { serde_json::to_string_pretty(&row) } else { serde_json::to_string(&row) }.unwrap();
        // serde_json's own reading of floats may be off by the last bit: twice the same.
        let row: Value = serde_json::from_str(&text).unwrap();
        same(&Json::new(&text), &row)?;
        // As a text column: the same again, one level down.
        let column = json!({ "c": text }).to_string();
        same(&Json::new(&column).path("c.row"), &row["row"])?;
    }

    /// The host's rows are searched in another way: for names that stand as values, in nested objects, behind escapes.
    #[test]
    fn a_row_is_read_like_any_other_text(
        members in prop::collection::vec((name(), value()), 0..8), spaces: bool, wanted in [name(), name(), name()],
    ) {
        let member = |(name, value): &(String, Value)| format!("{}:{value}", Value::from(name.as_str()));
        let members: Vec<String> = members.iter().map(member).collect();
        let text = format!("{{{}}}", members.join(if spaces { " , " } else { "," }));
        let wanted = wanted.each_ref().map(String::as_str);
        let (row, other) = (Json::row(&text, ""), Json::new(&text));
        let raw = |json: &Json<'_>| json.fields(wanted).map(|field| field.raw().to_owned());
        prop_assert_eq!(raw(&row), raw(&other));
        for name in wanted {
            let (row, other) = (row.field(name), other.field(name));
            prop_assert_eq!(row.raw(), other.raw(), "{} in {}", name, text);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), name in any::<String>()) {
        touch(&Json::new(&text), &name);
        touch(&Json::row(&text, ""), &name);
    }

    #[test]
    fn nothing_like_json_makes_it_panic(text in r#"[\[\]{}",:\\u0-9ad ñ🚀.-]{0,40}"#) {
        touch(&Json::new(&text), "a");
        touch(&Json::new(&format!("{{\"a\":{text}")), "a");
        touch(&Json::new(&format!("{{\"a\":\"{text}")), "a");
    }

    #[test]
    fn no_cut_of_a_row_makes_it_panic(value in any_json(), cut in any::<prop::sample::Index>()) {
        let text = json!({ "a": value }).to_string();
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        touch(&Json::new(&text[..*cut.get(&ends)]), "a");
        touch(&Json::row(&text[..*cut.get(&ends)], ""), "a");
    }
}
