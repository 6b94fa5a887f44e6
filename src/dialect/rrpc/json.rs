//! JSON objects of which only the outermost level matters: what stands inside is carried as it is.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// Reads an object, and nothing else: serde would take an array for a struct as well.
pub(super) fn object<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Option<T> {
    let text = std::str::from_utf8(payload).ok()?;
    if !text.trim_ascii_start().starts_with('{') {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// A value that is there, `null` among them.
pub(super) fn present<'a, D>(value: D) -> Result<Option<&'a RawValue>, D::Error>
where
    D: Deserializer<'a>,
{
    <&RawValue>::deserialize(value).map(Some)
}

/// A value that is text.
pub(super) fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// Text as a value.
pub(super) fn quoted(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).expect("any text has a JSON form")
}

pub(super) fn write(object: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(object).expect("fields of text, numbers and JSON have a JSON form")
}
