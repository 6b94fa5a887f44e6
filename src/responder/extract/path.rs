//! What the route's captures hold.

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    self, DeserializeOwned, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::FromRequestParts;
use crate::message::Parts;
use crate::responder::rejection::PathRejection;

/// What the captures of the route's template hold, for instance `soup` for `recipes/{category}/get`.
///
/// `T` is
///
/// - one value, when there is one capture: `String`, a number, `bool`, `char`, an enum of unit
///   variants, or whatever else is deserialized from text;
/// - a tuple or a `Vec` of values, in the order of the template;
/// - a struct or a map, by the names of the captures.
///
/// A value of the wrong kind is answered with 400, and the message names the capture.
///
/// ```
/// # use tower::ServiceExt;
/// use tower_mqtt::{Request, Router, responder::extract::Path};
///
/// #[derive(serde::Deserialize)]
/// struct Place {
///     line: String,
///     oven: u8,
/// }
///
/// let router = Router::new()
///     .route("{line}/{oven}/heat", async |Path((line, oven)): Path<(String, u8)>| format!("{line} {oven}"))
///     .route("{line}/{oven}/cool", async |Path(place): Path<Place>| format!("{} {}", place.line, place.oven));
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let heat = router.clone().oneshot(Request::new("north/7/heat", "")?).await?;
/// assert_eq!(heat.payload(), "north 7");
/// let cool = router.oneshot(Request::new("north/seven/cool", "")?).await?;
/// assert_eq!(cool.status().to_string(), r#"400 bad request: topic level "oven": expected u8"#);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Path<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Path<T> {
    type Rejection = PathRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, PathRejection> {
        let template = parts.route.as_ref().ok_or(PathRejection::NoRoute)?;
        // Captured anew: a layer may have changed the topic.
        let topic = parts.topic.as_str();
        let captures = template.capture(topic).ok_or(PathRejection::NoRoute)?;
        let values = template
            .names()
            .enumerate()
            .filter_map(|(index, name)| Some(Value { name, text: captures.get(topic, index)? }));
        T::deserialize(Values(values.collect())).map(Self).map_err(|error| error.0)
    }
}

impl<T> Deref for Path<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Path<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// Errors are about the whole ([`PathRejection::Shape`]) until a value adds its name.
#[derive(Debug)]
struct Error(PathRejection);

impl Error {
    fn at(self, name: &str) -> Self {
        match self.0 {
            PathRejection::Shape(what) => Self(PathRejection::Value { capture: name.into(), what }),
            _ => self,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(PathRejection::Shape(message.to_string().into()))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {expected}"))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {expected}"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("expected {}", expected.join(" or ")))
    }
}

/// All captures of a topic.
struct Values<'a>(Vec<Value<'a>>);

impl<'a> Values<'a> {
    fn counted(self, count: usize) -> Result<Self, Error> {
        match self.0.len() {
            len if len == count => Ok(self),
            len => {
                Err(de::Error::custom(format_args!("the route has {len} captures, not {count}")))
            }
        }
    }

    fn single(self) -> Result<Value<'a>, Error> {
        self.counted(1).map(|values| values.0[0])
    }
}

macro_rules! as_single {
    ($($deserialize:ident)+) => {
        $(fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.single()?.$deserialize(visitor)
        })+
    };
}

impl<'de> Deserializer<'de> for Values<'_> {
    type Error = Error;

    as_single! {
        deserialize_any deserialize_bool deserialize_char deserialize_str deserialize_string
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_bytes deserialize_byte_buf
        deserialize_option deserialize_identifier
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.single()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(SeqDeserializer::new(self.0.into_iter()))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.counted(len)?.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let pairs = self.0.into_iter().map(|value| (value.name, value));
        visitor.visit_map(MapDeserializer::new(pairs))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

/// One capture.
#[derive(Clone, Copy)]
struct Value<'a> {
    name: &'a str,
    text: &'a str,
}

impl IntoDeserializer<'_, Error> for Value<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($deserialize:ident $visit:ident $type:ident,)+) => {
        $(fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.text.parse() {
                Ok(value) => visitor.$visit(value).map_err(|error: Error| error.at(self.name)),
                Err(_) => {
                    let expected = concat!("expected ", stringify!($type));
                    Err(<Error as de::Error>::custom(expected).at(self.name))
                }
            }
        })+
    };
}

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = Error;

    parsed! {
        deserialize_bool visit_bool bool,
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_i128 visit_i128 i128,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_u128 visit_u128 u128,
        deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64,
        deserialize_char visit_char char,
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.text).map_err(|error: Error| error.at(self.name))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor
            .visit_enum(self.text.into_deserializer())
            .map_err(|error: Error| error.at(self.name))
    }

    forward_to_deserialize_any! {
        str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use serde::Deserialize;

    use super::*;
    use crate::core::template::TopicTemplate;
    use crate::core::topic::TopicName;
    use crate::message::Status;

    async fn extract<T: DeserializeOwned>(template: &str, topic: &str) -> Result<T, PathRejection> {
        let mut parts = Parts::new(TopicName::new(topic).unwrap());
        parts.route = Some(TopicTemplate::new(template).unwrap());
        Path::from_request_parts(&mut parts, &()).await.map(|Path(value)| value)
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Category {
        Soup,
        Dessert,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Id(u32);

    #[derive(Debug, PartialEq, Deserialize)]
    struct Place {
        line: String,
        oven: Option<Id>,
        #[serde(default)]
        shelf: u8,
    }

    #[tokio::test]
    async fn one_capture_is_one_value() {
        assert_eq!(extract("a/{x}", "a/soup").await, Ok("soup".to_owned()));
        assert_eq!(extract("a/{x*}", "a/b/c").await, Ok("b/c".to_owned()));
        assert_eq!(extract("a/{x}", "a/-7").await, Ok(-7_i64));
        assert_eq!(extract("a/{x}", "a/0.5").await, Ok(0.5_f64));
        assert_eq!(extract("a/{x}", "a/true").await, Ok(true));
        assert_eq!(extract("a/{x}", "a/ü").await, Ok('ü'));
        assert_eq!(extract("a/{x}", "a/soup").await, Ok(Category::Soup));
        assert_eq!(extract("a/{x}", "a/7").await, Ok(Id(7)));
        assert_eq!(extract("a/{x}", "a/7").await, Ok(Some(7_u8)));
        assert_eq!(extract("a/{x}", "a/::1").await, Ok(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16])));
    }

    #[tokio::test]
    async fn several_are_a_tuple_a_list_or_named() {
        let route = "{line}/{oven}";
        assert_eq!(extract(route, "n/7").await, Ok(("n".to_owned(), 7_u8)));
        assert_eq!(extract(route, "6/7").await, Ok(vec![6_u8, 7]));
        let place = Place { line: "n".into(), oven: Some(Id(7)), shelf: 0 };
        assert_eq!(extract(route, "n/7").await, Ok(place));
        let names = BTreeMap::from([("line".to_owned(), 6), ("oven".to_owned(), 7)]);
        assert_eq!(extract(route, "6/7").await, Ok(names));
        assert_eq!(extract("a/b", "a/b").await, Ok(()));
    }

    #[tokio::test]
    async fn a_wrong_value_is_the_callers_fault() {
        async fn message<T: DeserializeOwned + fmt::Debug>(template: &str, topic: &str) -> String {
            let rejection = extract::<T>(template, topic).await.unwrap_err();
            assert!(matches!(&rejection, PathRejection::Value { .. }), "{rejection:?}");
            Status::from(rejection).to_string()
        }
        let number = r#"400 bad request: topic level "n": expected u8"#;
        assert_eq!(message::<u8>("a/{n}", "a/x").await, number);
        assert_eq!(message::<Id>("a/{n}", "a/-1").await, number.replace("u8", "u32"));
        assert_eq!(message::<(String, u8)>("{l}/{n}", "x/256").await, number);
        let oven = message::<Place>("{line}/{oven}", "n/x").await;
        assert_eq!(oven, r#"400 bad request: topic level "oven": expected u32"#);
        let category = message::<Category>("{c}", "stew").await;
        assert_eq!(category, r#"400 bad request: topic level "c": expected soup or dessert"#);
        let address = message::<IpAddr>("{ip}", "stew").await;
        assert!(address.starts_with(r#"400 bad request: topic level "ip": "#), "{address}");
    }

    #[tokio::test]
    async fn a_type_that_does_not_fit_the_route_is_our_fault() {
        async fn shape<T: DeserializeOwned + fmt::Debug>(template: &str) -> String {
            let status = Status::from(extract::<T>(template, "x/y").await.unwrap_err());
            assert_eq!(status.code(), 500);
            status.message().unwrap().to_owned()
        }
        let counted = "the handler's `Path` does not fit its route: the route has 2 captures, not ";
        assert_eq!(shape::<String>("{a}/{b}").await, format!("{counted}1"));
        assert_eq!(shape::<(u8, u8, u8)>("{a}/{b}").await, format!("{counted}3"));
        assert!(shape::<Place>("{a}/{b}").await.ends_with("missing field `line`"));
        let mut parts = Parts::new(TopicName::new("a").unwrap());
        let outside = Path::<String>::from_request_parts(&mut parts, &()).await.unwrap_err();
        assert_eq!(outside, PathRejection::NoRoute);
        assert_eq!(Status::from(outside).code(), 500);
    }
}
