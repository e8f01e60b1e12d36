//! JSON objects as GStreamer structures and back: metadata on pads, in signals and in bus messages.

use glib::prelude::*;
use gst::prelude::GstValueExt;
use serde_json::{Map, Number, Value};

/// Deeper nesting is cut off: metadata is for display, and the text of a structure grows with every level.
const MAX_DEPTH: usize = 8;

/// A JSON object as a structure. Null members are left out; characters that a field name cannot have become `_`.
pub fn from_json(name: &str, object: &Map<String, Value>) -> gst::Structure {
    build(name, object, 0)
}

fn build(name: &str, object: &Map<String, Value>, depth: usize) -> gst::Structure {
    let mut structure = gst::Structure::new_empty(name);
    for (key, value) in object {
        if let Some(value) = to_gvalue(value, depth) {
            structure.set_value(field_name(key), value);
        }
    }
    structure
}

fn field_name(key: &str) -> String {
    let valid = |c: char| c.is_ascii_alphanumeric() || "-_./:+".contains(c);
    let name: String = key.chars().map(|c| if valid(c) { c } else { '_' }).collect();
    match name.chars().next() {
        Some(c) if c.is_ascii_alphabetic() => name,
        _ => format!("f{name}"),
    }
}

fn to_gvalue(value: &Value, depth: usize) -> Option<glib::SendValue> {
    if depth > MAX_DEPTH {
        return None;
    }
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => value.to_send_value(),
        Value::Number(number) => number_value(number),
        Value::String(text) => text.replace('\0', "").to_send_value(),
        Value::Array(items) => array(items, depth).to_send_value(),
        Value::Object(object) => build("object", object, depth + 1).to_send_value(),
    })
}

/// The items of an array must have one type; items of several types become text.
fn array(items: &[Value], depth: usize) -> gst::Array {
    let values: Vec<glib::SendValue> = items
        .iter()
        .filter_map(|item| to_gvalue(item, depth + 1))
        .collect();
    if values.windows(2).all(|pair| pair[0].type_() == pair[1].type_()) {
        return gst::Array::new(values);
    }
    gst::Array::new(items.iter().map(|item| match item {
        Value::String(text) => text.replace('\0', "").to_send_value(),
        other => other.to_string().to_send_value(),
    }))
}

/// `int` where it fits, as gst-launch users write it; then `gint64`, else `double`.
fn number_value(number: &Number) -> glib::SendValue {
    match number.as_i64() {
        Some(wide) => match i32::try_from(wide) {
            Ok(narrow) => narrow.to_send_value(),
            Err(_) => wide.to_send_value(),
        },
        None => number.as_f64().unwrap_or(f64::MAX).to_send_value(),
    }
}

/// A structure as a JSON object, without its name. Values of other types are written as GStreamer's text form.
pub fn to_json(structure: &gst::StructureRef) -> Map<String, Value> {
    structure
        .iter()
        .map(|(key, value)| (key.to_string(), from_gvalue(value)))
        .collect()
}

fn from_gvalue(value: &glib::Value) -> Value {
    if let Ok(text) = value.get::<Option<String>>() {
        return text.map_or(Value::Null, Value::String);
    }
    if let Ok(flag) = value.get::<bool>() {
        return Value::Bool(flag);
    }
    if let Some(number) = integer(value) {
        return Value::Number(number);
    }
    if let Ok(number) = value.get::<f64>() {
        return Number::from_f64(number).map_or(Value::Null, Value::Number);
    }
    if let Ok(number) = value.get::<f32>() {
        return Number::from_f64(number.into()).map_or(Value::Null, Value::Number);
    }
    if let Ok(structure) = value.get::<gst::Structure>() {
        return Value::Object(to_json(&structure));
    }
    if let Ok(array) = value.get::<gst::ArrayRef>() {
        return Value::Array(array.iter().map(|item| from_gvalue(item)).collect());
    }
    value
        .serialize()
        .map_or(Value::Null, |text| Value::String(text.into()))
}

fn integer(value: &glib::Value) -> Option<Number> {
    if let Ok(number) = value.get::<i32>() {
        return Some(number.into());
    }
    if let Ok(number) = value.get::<u32>() {
        return Some(number.into());
    }
    if let Ok(number) = value.get::<i64>() {
        return Some(number.into());
    }
    value.get::<u64>().ok().map(Number::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_survives_the_way_there_and_back() {
        gst::init().unwrap();
        let object = serde_json::json!({
            "role": "camera", "label": "Vorne links ü", "n": 3, "big": 5_000_000_000i64, "f": 0.5, "on": true,
            "list": [1, 2], "words": ["a", "b"], "inner": {"a": "b"},
        });
        let Value::Object(object) = object else {
            unreachable!()
        };
        assert_eq!(to_json(&from_json("meta", &object)), object);
    }

    #[test]
    fn odd_members_do_no_harm() {
        gst::init().unwrap();
        let Value::Object(object) = serde_json::json!({"a b\"": "x\0y", "": 1, "nil": null, "1": 2}) else {
            unreachable!()
        };
        let structure = from_json("meta", &object);
        assert_eq!(structure.get::<&str>("a_b_").unwrap(), "xy");
        assert!(!structure.has_field("nil"));
        assert_eq!(structure.get::<i32>("f1").unwrap(), 2);
        gst::Structure::from_str_checked(&structure.to_string());
    }

    #[test]
    fn arrays_of_several_types_become_text() {
        gst::init().unwrap();
        let Value::Object(object) = serde_json::json!({"list": [1, "two", null, [3]], "empty": []}) else {
            unreachable!()
        };
        let back = to_json(&from_json("meta", &object));
        assert_eq!(back["list"], serde_json::json!(["1", "two", "null", "[3]"]));
        assert_eq!(back["empty"], serde_json::json!([]));
    }

    trait Checked {
        fn from_str_checked(text: &str);
    }
    impl Checked for gst::Structure {
        fn from_str_checked(text: &str) {
            text.parse::<Self>()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    #[test]
    fn depth_is_bounded() {
        gst::init().unwrap();
        let mut value = Value::from(1);
        for _ in 0..100 {
            value = serde_json::json!({ "v": value });
        }
        let Value::Object(object) = value else {
            unreachable!()
        };
        assert!(from_json("meta", &object).to_string().len() < 10_000);
    }
}
