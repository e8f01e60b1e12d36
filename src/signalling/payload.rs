//! From the application's values to JSON. JSON has no NaN and no infinity; serde_json would write them as null, and
//! the receiver could not tell.

use std::fmt::{self, Display};

use serde::ser::{self, Serialize};
use serde_json::Value;

use super::RequestError;

/// The JSON form of a value.
pub(super) fn to_json<T: Serialize + ?Sized>(data: &T) -> Result<Value, RequestError> {
    data.serialize(Finite)
        .map_err(|Refused(why)| RequestError::Data(why))?;
    serde_json::to_value(data).map_err(|error| RequestError::Data(error.to_string()))
}

#[derive(Debug)]
struct Refused(String);

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

type Checked = Result<(), Refused>;

/// Walks through a value and writes nothing.
#[derive(Clone, Copy)]
struct Finite;

impl Finite {
    fn float(value: f64) -> Checked {
        match value.is_finite() {
            true => Ok(()),
            false => Err(Refused(format!("{value} is not a number that JSON has"))),
        }
    }
}

macro_rules! harmless {
    ($($name:ident: $type:ty),*) => {
        $(fn $name(self, _: $type) -> Checked { Ok(()) })*
    };
}

impl ser::Serializer for Finite {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    harmless!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8],
        serialize_unit_struct: &'static str
    );

    fn serialize_f32(self, value: f32) -> Checked {
        Self::float(value.into())
    }

    fn serialize_f64(self, value: f64) -> Checked {
        Self::float(value)
    }

    fn serialize_none(self) -> Checked {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Checked {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Checked {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Checked {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Checked {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Checked {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Refused> {
        Ok(self)
    }
}

macro_rules! compound {
    ($($part:ident { fn $name:ident($($key:ty)?) }),*) => {
        $(impl ser::$part for Finite {
            type Ok = ();
            type Error = Refused;

            fn $name<T: Serialize + ?Sized>(&mut self, $(_: $key,)? value: &T) -> Checked {
                value.serialize(*self)
            }

            fn end(self) -> Checked {
                Ok(())
            }
        })*
    };
}

compound!(
    SerializeSeq { fn serialize_element() },
    SerializeTuple { fn serialize_element() },
    SerializeTupleStruct { fn serialize_field() },
    SerializeTupleVariant { fn serialize_field() },
    SerializeStruct { fn serialize_field(&'static str) },
    SerializeStructVariant { fn serialize_field(&'static str) }
);

impl ser::SerializeMap for Finite {
    type Ok = ();
    type Error = Refused;

    /// Keys are texts in JSON, or become texts; serde_json checks them.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Checked {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Checked {
        value.serialize(*self)
    }

    fn end(self) -> Checked {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;
    use serde_json::json;

    use super::*;

    #[derive(Serialize)]
    enum Reading {
        Off,
        Celsius(f64),
        Pair(f32, f32),
        Range { low: f64, high: Option<f64> },
    }

    #[derive(Serialize)]
    struct Position(f64, f64);

    fn refused<T: Serialize>(data: &T) -> bool {
        matches!(to_json(data), Err(RequestError::Data(_)))
    }

    #[test]
    fn c046_numbers_that_json_does_not_have_are_refused_wherever_they_hide() {
        assert!(refused(&f64::NAN));
        assert!(refused(&f32::INFINITY));
        assert!(refused(&[1.0, f64::NEG_INFINITY]));
        assert!(refused(&Some((1, f64::NAN))));
        assert!(refused(&Position(0.0, f64::NAN)));
        assert!(refused(&Reading::Celsius(f64::NAN)));
        assert!(refused(&Reading::Pair(0.0, f32::NAN)));
        assert!(refused(&Reading::Range {
            low: 0.0,
            high: Some(f64::INFINITY)
        }));
        assert!(refused(&BTreeMap::from([("a", vec![f64::NAN])])));
        assert!(refused(&BTreeMap::from([((1, 2), "keys are texts")])));
    }

    #[test]
    fn everything_else_is_what_serde_json_makes_of_it() {
        assert_eq!(
            to_json(&Reading::Range { low: 0.5, high: None }).unwrap(),
            json!({"Range": {"low": 0.5, "high": null}})
        );
        assert_eq!(to_json(&Reading::Off).unwrap(), json!("Off"));
        assert_eq!(to_json(&()).unwrap(), Value::Null);
        let value = json!({"text": "ü😀", "list": [1, -2, 3.5, true, null], "map": {"a": {}}});
        assert_eq!(to_json(&value).unwrap(), value);
    }
}
