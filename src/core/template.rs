//! Topics with named parts: `recipes/{category}/get`.

use std::cmp::{Ordering, Reverse};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use super::topic::{MAX_LEN, TopicFilter, TopicName, check_name, is_unsafe};

mod parse;
mod project;

pub use parse::TemplateError;

/// Why a template could not be filled in. The message names the capture, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// There is no value for the capture.
    #[error("no value for `{name}`")]
    Missing {
        /// The name of the capture.
        name: String,
    },
    /// The value is empty.
    #[error("the value for `{name}` is empty")]
    Empty {
        /// The name of the capture.
        name: String,
    },
    /// The value has a `/` (allowed in a `{name*}` only), `+`, `#`, a control character or a
    /// noncharacter of Unicode, or it would make the topic start with `$`.
    #[error("the value for `{name}` has a character that may not stand there")]
    Forbidden {
        /// The name of the capture.
        name: String,
    },
    /// The topic is longer than [`MAX_LEN`].
    #[error("the topic would have {len} bytes, at most 65535 are possible")]
    TooLong {
        /// The length in bytes.
        len: usize,
    },
}

/// The most captures in one template. A bound lets [`Captures`] live without an allocation.
pub const MAX_CAPTURES: usize = 8;

/// A topic with named captures.
///
/// | written | captures | in the filter |
/// |---|---|---|
/// | `{name}` | one level | `+` |
/// | `rid={name}`, `{name}.json` | the part of a level between a literal prefix and suffix | `+` |
/// | `{name*}`, last | the rest of the topic, one or more levels | `#` |
///
/// A name consists of `A`-`Z`, `a`-`z`, `0`-`9` and `_`. A level has at most one capture, and a
/// template at most [`MAX_CAPTURES`].
///
/// A captured value is never empty. MQTT lets `+` match an empty level; a template does not, so
/// that no handler ever sees an empty id. The value of a `{name*}` may have empty levels in it.
///
/// ```
/// use tower_mqtt::core::template::TopicTemplate;
///
/// let template: TopicTemplate = "recipes/{category}/get".parse()?;
/// assert_eq!(template.to_filter(), "recipes/+/get");
///
/// let topic = template.render(|_| Some("soup"))?;
/// assert_eq!(topic, "recipes/soup/get");
///
/// let captures = template.capture("recipes/soup/get").unwrap();
/// assert_eq!(captures.get("recipes/soup/get", 0), Some("soup"));
///
/// // Nobody reaches another topic by a value with a `/` in it.
/// assert!(template.render(|_| Some("soup/secret")).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TopicTemplate {
    text: Arc<str>,
    levels: Arc<[Level]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Literal(Box<str>),
    Capture { name: Box<str>, affix: Affix },
    Rest { name: Box<str> },
}

/// The literal text around a capture in its level; both parts are empty for a whole level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Affix {
    prefix: Box<str>,
    suffix: Box<str>,
}

impl TopicTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// [`TemplateError`] says what is wrong and where.
    pub fn new(text: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, TemplateError> {
        check_name(text.as_ref())?;
        let levels = parse::levels(text.as_ref())?;
        Ok(Self { text: text.into(), levels: levels.into() })
    }

    /// The template as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of the captures, from the left. Their positions are the indices of
    /// [`Captures::get`].
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.levels.iter().filter_map(Level::name)
    }

    /// The smallest filter that matches every topic of this template.
    ///
    /// It matches some others too, which [`capture`](Self::capture) refuses: `+` matches an
    /// empty level, and `#` the parent level.
    ///
    /// # Panics
    /// Never: a template that was parsed gives a filter that can be parsed.
    pub fn to_filter(&self) -> TopicFilter {
        let levels: Vec<&str> = self
            .levels
            .iter()
            .map(|level| match level {
                Level::Literal(text) => &**text,
                Level::Capture { .. } => "+",
                Level::Rest { .. } => "#",
            })
            .collect();
        TopicFilter::new(levels.join("/")).expect("literals were checked and captures only shrink")
    }

    /// The captured parts of `topic`, or `None` when it is not a topic of this template.
    ///
    /// `topic` is usually a [`TopicName`]; nothing is copied and nothing allocated.
    pub fn capture(&self, topic: &str) -> Option<Captures> {
        if topic.len() > MAX_LEN || (topic.starts_with('$') && self.levels[0].name().is_some()) {
            return None; // [MQTT-4.7.2-1]: as the filter has it
        }
        let mut captures = Captures::default();
        let mut rest = Some(topic);
        for level in &*self.levels {
            let tail = rest?;
            let (head, next) = split_level(tail);
            let start = topic.len() - tail.len();
            match level {
                Level::Literal(text) if **text == *head => {}
                Level::Literal(_) => return None,
                Level::Capture { affix, .. } => {
                    captures.push(start + affix.prefix.len(), affix.strip(head)?.len());
                }
                Level::Rest { .. } if tail.is_empty() => return None,
                Level::Rest { .. } => {
                    captures.push(start, tail.len());
                    return Some(captures);
                }
            }
            rest = next;
        }
        rest.is_none().then_some(captures)
    }

    /// Fills in the captures with what `value` gives for their names.
    ///
    /// # Errors
    /// A value that is missing, empty, or would leave its place in the topic is refused, and so
    /// is a topic that gets too long; see [`RenderError`]. [`encode_level`] makes any text fit.
    ///
    /// [`encode_level`]: super::topic::encode_level
    ///
    /// # Panics
    /// Never: what could make the topic invalid was refused before.
    pub fn render<'v>(
        &self,
        mut value: impl FnMut(&str) -> Option<&'v str>,
    ) -> Result<TopicName, RenderError> {
        let mut topic = String::with_capacity(self.text.len() + 32);
        for (at, level) in self.levels.iter().enumerate() {
            if at > 0 {
                topic.push('/');
            }
            match level {
                Level::Literal(text) => topic.push_str(text),
                Level::Capture { name, affix } => {
                    topic.push_str(&affix.prefix);
                    push_value(&mut topic, name, value(name), &['/', '+', '#'])?;
                    topic.push_str(&affix.suffix);
                }
                Level::Rest { name } => {
                    push_value(&mut topic, name, value(name), &['+', '#'])?;
                }
            }
        }
        if topic.len() > MAX_LEN {
            return Err(RenderError::TooLong { len: topic.len() });
        }
        Ok(TopicName::new(topic).expect("literals and values were checked"))
    }

    /// Whether `name` is a `{name*}`, which captures several levels.
    pub(crate) fn captures_rest(&self, name: &str) -> bool {
        matches!(self.levels.last(), Some(Level::Rest { name: rest }) if **rest == *name)
    }

    /// Whether both templates describe the same topics, so that only the names of the captures
    /// differ: `a/{x}/c` and `a/{y}/c`.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        self.levels.len() == other.levels.len()
            && self.levels.iter().zip(&*other.levels).all(|(a, b)| a.same_shape(b))
    }

    /// Orders templates by how narrow they are; the more specific one is `Less`.
    ///
    /// Level by level from the left, a literal comes before a capture of a part (the one with
    /// more literal text first, then the one with the longer prefix), this before a capture of
    /// the whole level, and this before the rest. Two templates that match one topic are `Equal`
    /// only when they [conflict](Self::conflicts_with).
    pub fn cmp_specificity(&self, other: &Self) -> Ordering {
        self.levels.iter().map(Level::breadth).cmp(other.levels.iter().map(Level::breadth))
    }

    pub(crate) fn levels(&self) -> &[Level] {
        &self.levels
    }
}

impl Level {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Capture { name, .. } | Self::Rest { name } => Some(name),
        }
    }

    fn same_shape(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(a), Self::Literal(b)) => a == b,
            (Self::Capture { affix: a, .. }, Self::Capture { affix: b, .. }) => a == b,
            (Self::Rest { .. }, Self::Rest { .. }) => true,
            _ => false,
        }
    }

    fn breadth(&self) -> (u8, Breadth) {
        match self {
            Self::Literal(_) => (0, Breadth::default()),
            Self::Capture { affix, .. } => (1, affix.breadth()),
            Self::Rest { .. } => (2, Breadth::default()),
        }
    }
}

type Breadth = (Reverse<usize>, Reverse<usize>);

impl Affix {
    /// The captured part of a level; never empty.
    pub(crate) fn strip<'t>(&self, level: &'t str) -> Option<&'t str> {
        let value = level.strip_prefix(&*self.prefix)?.strip_suffix(&*self.suffix)?;
        (!value.is_empty()).then_some(value)
    }

    /// Orders captures in one level: more literal text first. A whole level is last.
    pub(crate) fn breadth(&self) -> Breadth {
        (Reverse(self.prefix.len() + self.suffix.len()), Reverse(self.prefix.len()))
    }
}

impl fmt::Debug for TopicTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TopicTemplate").field(&self.text).finish()
    }
}

impl fmt::Display for TopicTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl PartialEq for TopicTemplate {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for TopicTemplate {}

impl FromStr for TopicTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        Self::new(text)
    }
}

impl TryFrom<&str> for TopicTemplate {
    type Error = TemplateError;

    fn try_from(text: &str) -> Result<Self, TemplateError> {
        Self::new(text)
    }
}

impl TryFrom<String> for TopicTemplate {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        Self::new(text)
    }
}

/// Where the captured values stand in a topic.
///
/// It holds positions only, so that it is copied freely and can be kept beside the
/// [`TopicName`] it belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Captures {
    len: u8,
    spans: [(u16, u16); MAX_CAPTURES],
}

impl Captures {
    /// The number of captures.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether the template had no captures.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The byte range of the capture at `index`, in the order of [`TopicTemplate::names`].
    pub fn span(&self, index: usize) -> Option<Range<usize>> {
        let (start, end) = *self.spans[..self.len()].get(index)?;
        Some(usize::from(start)..usize::from(end))
    }

    /// The value at `index`, in the order of [`TopicTemplate::names`]. `topic` must be the text
    /// that was given to [`TopicTemplate::capture`]; another one gives another part or `None`.
    pub fn get<'t>(&self, topic: &'t str, index: usize) -> Option<&'t str> {
        topic.get(self.span(index)?)
    }

    fn push(&mut self, start: usize, len: usize) {
        let position =
            |at: usize| u16::try_from(at).expect("a captured topic has at most MAX_LEN bytes");
        self.spans[self.len()] = (position(start), position(start + len));
        self.len += 1;
    }
}

/// The first level of `topic`, and what follows its `/`.
pub(crate) fn split_level(topic: &str) -> (&str, Option<&str>) {
    topic.split_once('/').map_or((topic, None), |(level, rest)| (level, Some(rest)))
}

fn push_value(
    topic: &mut String,
    name: &str,
    value: Option<&str>,
    forbidden: &[char],
) -> Result<(), RenderError> {
    let name = || name.to_owned();
    let value = value.ok_or_else(|| RenderError::Missing { name: name() })?;
    if value.is_empty() {
        return Err(RenderError::Empty { name: name() });
    }
    // [MQTT-4.7.2-1]: a topic of the template never starts with a captured `$`
    let reserved = topic.is_empty() && value.starts_with('$');
    if value.contains(forbidden) || value.contains(is_unsafe) || reserved {
        return Err(RenderError::Forbidden { name: name() });
    }
    topic.push_str(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::topic::TopicError;
    use proptest::prelude::*;

    fn template(text: &str) -> TopicTemplate {
        TopicTemplate::new(text).unwrap()
    }

    fn values<'t>(template: &str, topic: &'t str) -> Option<Vec<&'t str>> {
        let captures = self::template(template).capture(topic)?;
        Some((0..captures.len()).map(|at| captures.get(topic, at).unwrap()).collect())
    }

    #[test]
    fn templates_capture_levels_parts_and_the_rest() {
        for (text, topic, expected) in [
            ("recipes/{c}/get", "recipes/soup/get", Some(&["soup"][..])),
            ("recipes/{c}/get", "recipes//get", None),
            ("recipes/{c}/get", "recipes/soup/get/", None),
            ("recipes/{c}/get", "recipes/soup", None),
            ("{a}", "$SYS", None),
            ("{a*}", "$SYS/x", None),
            ("{a*}", "a/b", Some(&["a/b"])),
            ("$SYS/{a}", "$SYS/x", Some(&["x"])),
            ("a/{r*}", "a", None),
            ("a/{r*}", "a/", None),
            ("a/{r*}", "a//", Some(&["/"])),
            ("a/{x}/{r*}", "a/é/ü/ß", Some(&["é", "ü/ß"])),
            (
                "$iothub/methods/res/{status}/?$rid={rid}",
                "$iothub/methods/res/200/?$rid=7",
                Some(&["200", "7"]),
            ),
            ("a/request_id={id}", "a/request_id=", None),
            ("a/request_id={id}", "a/request_id=é", Some(&["é"])),
            ("{name}.json", "x.json.json", Some(&["x.json"])),
            ("aa{x}aa", "aaa", None),
            ("a", "a", Some(&[])),
        ] {
            assert_eq!(values(text, topic).as_deref(), expected, "{text} {topic}");
        }
    }

    #[test]
    fn wrong_templates_are_explained() {
        let level = |level: &str| level.to_owned();
        for (text, error) in [
            ("", TemplateError::Topic(TopicError::Empty)),
            ("a/+", TemplateError::Topic(TopicError::Wildcard)),
            ("a/\0", TemplateError::Topic(TopicError::Control)),
            ("$share/g/{x}", TemplateError::Topic(TopicError::ShareName)),
            ("a/{x", TemplateError::UnclosedBrace { level: level("{x") }),
            ("{x/y}", TemplateError::UnclosedBrace { level: level("{x") }),
            ("x}", TemplateError::UnclosedBrace { level: level("x}") }),
            ("}{x}", TemplateError::UnclosedBrace { level: level("}{x}") }),
            ("{{x}}", TemplateError::UnclosedBrace { level: level("{{x}}") }),
            ("{x}}", TemplateError::UnclosedBrace { level: level("{x}}") }),
            ("{x}-{y}", TemplateError::TwoCaptures { level: level("{x}-{y}") }),
            ("a{}", TemplateError::EmptyName { level: level("a{}") }),
            ("{*}", TemplateError::EmptyName { level: level("{*}") }),
            ("{a-b}", TemplateError::InvalidName { name: level("a-b") }),
            ("{x}/{x}", TemplateError::DuplicateName { name: level("x") }),
            ("{x*}/a", TemplateError::RestNotLast { name: level("x") }),
            ("a{x*}", TemplateError::RestNotLast { name: level("x") }),
            ("$a{x}/b", TemplateError::ReservedCapture { level: level("$a{x}") }),
            ("{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}", TemplateError::TooManyCaptures),
        ] {
            assert_eq!(TopicTemplate::new(text), Err(error), "{text}");
        }
        let long = TopicTemplate::new("a".repeat(MAX_LEN + 1));
        assert_eq!(long, Err(TopicError::TooLong { len: MAX_LEN + 1 }.into()));
    }

    #[test]
    fn values_cannot_leave_their_place() {
        let name = || "id".to_owned();
        for (text, value, error) in [
            ("a/{id}", None, RenderError::Missing { name: name() }),
            ("a/{id}", Some(""), RenderError::Empty { name: name() }),
            ("a/{id}", Some("x/y"), RenderError::Forbidden { name: name() }),
            ("a/{id}", Some("+"), RenderError::Forbidden { name: name() }),
            ("a/{id*}", Some("x/#"), RenderError::Forbidden { name: name() }),
            ("a/{id*}", Some("\0"), RenderError::Forbidden { name: name() }),
            ("a/{id}", Some("\n"), RenderError::Forbidden { name: name() }),
            ("a/id={id}", Some("x\u{7f}"), RenderError::Forbidden { name: name() }),
            ("a/{id*}", Some("x/\u{85}"), RenderError::Forbidden { name: name() }),
            ("a/{id}", Some("\u{FFFF}"), RenderError::Forbidden { name: name() }),
            ("{id}/a", Some("$SYS"), RenderError::Forbidden { name: name() }),
            ("{id}hare/g/a", Some("$s"), RenderError::Forbidden { name: name() }),
            ("{id*}", Some("$share/g/a"), RenderError::Forbidden { name: name() }),
        ] {
            assert_eq!(template(text).render(|_| value), Err(error), "{text} {value:?}");
        }
        assert_eq!(template("a/{id*}").render(|_| Some("x/y")).unwrap(), "a/x/y");
        assert_eq!(template("/{id}").render(|_| Some("$x")).unwrap(), "/$x");
        let long = "x".repeat(MAX_LEN);
        assert_eq!(
            template("a/{id}").render(|_| Some(&long)),
            Err(RenderError::TooLong { len: MAX_LEN + 2 })
        );
    }

    #[test]
    fn only_names_differ_in_a_conflict() {
        assert!(template("a/{x}/c").conflicts_with(&template("a/{y}/c")));
        assert!(template("a/{x*}").conflicts_with(&template("a/{y*}")));
        for (a, b) in
            [("a/{x}", "a/{x*}"), ("a/{x}", "a/b{x}"), ("a/{x}", "a/b"), ("a/{x}", "a/{x}/c")]
        {
            assert!(!template(a).conflicts_with(&template(b)), "{a} {b}");
        }
    }

    #[test]
    fn specific_templates_come_first() {
        let ordered = [
            "a/b",
            "a/{x}-long",
            "a/p{x}s",
            "a/p{x}",
            "a/{x}s",
            "a/{x}",
            "a/{x*}",
            "{x}/b",
            "{x*}",
        ];
        for pair in ordered.windows(2) {
            assert!(template(pair[0]).cmp_specificity(&template(pair[1])).is_lt(), "{pair:?}");
        }
    }

    #[test]
    fn long_topics_are_captured() {
        let slashes = "/".repeat(MAX_LEN);
        let template = template("/{rest*}");
        let captures = template.capture(&slashes).unwrap();
        assert_eq!(captures.span(0), Some(1..MAX_LEN));
        assert_eq!(template.capture(&(slashes + "/")), None);
        assert_eq!(captures.get("ab", 0), None);
        assert_eq!(captures.get("ab", 1), None);
    }

    fn level() -> impl Strategy<Value = String> {
        prop_oneof!["[ab$]{0,2}", "[ab]{0,2}\\{N\\}[ab]{0,2}"]
    }

    fn any_template() -> impl Strategy<Value = TopicTemplate> {
        (proptest::collection::vec(level(), 1..5), any::<bool>()).prop_filter_map(
            "a template",
            |(mut levels, rest)| {
                for (at, level) in levels.iter_mut().enumerate() {
                    *level = level.replace('N', &format!("n{at}"));
                }
                levels.extend(rest.then(|| "{rest*}".to_owned()));
                TopicTemplate::new(levels.join("/")).ok()
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_rendered_is_captured(
            template in any_template(),
            values in proptest::collection::vec("[ab/$é]{1,4}", 6),
        ) {
            let names: Vec<_> = template.names().map(str::to_owned).collect();
            let value = |name: &str| {
                names.iter().position(|n| n == name).map(|at| values[at].as_str())
            };
            let Ok(topic) = template.render(value) else { return Ok(()) };
            prop_assert!(template.to_filter().matches(&topic));
            let captures = template.capture(topic.as_str()).unwrap();
            prop_assert_eq!(captures.len(), names.len());
            for (at, expected) in values.iter().take(names.len()).enumerate() {
                prop_assert_eq!(captures.get(topic.as_str(), at).unwrap(), expected);
            }
        }

        #[test]
        fn whatever_it_is_filled_in_with_it_does_not_panic(
            template in any_template(),
            values in proptest::collection::vec(any::<String>(), 6),
            strange in "[ab\u{0}\n\u{7F}\u{FDD0}\u{FFFF}\u{1FFFE}]{1,3}",
        ) {
            let names: Vec<_> = template.names().map(str::to_owned).collect();
            let at = |name: &str| names.iter().position(|n| n == name);
            let _ = template.render(|name| at(name).map(|at| values[at].as_str()));
            let _ = template.render(|_| Some(&strange));
        }

        #[test]
        fn what_was_captured_renders_the_same_topic(
            template in any_template(),
            topic in "[ab$]{0,4}(/[ab$]{0,4}){0,4}",
        ) {
            if let Some(captures) = template.capture(&topic) {
                prop_assert!(template.to_filter().matches(&topic));
                let names: Vec<_> = template.names().collect();
                let at = |name: &str| names.iter().position(|n| *n == name).unwrap();
                let rendered = template.render(|name| captures.get(&topic, at(name))).unwrap();
                prop_assert_eq!(rendered, topic.as_str());
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in r"[a{}*/$_]{0,10}") {
            if let Ok(template) = TopicTemplate::new(text.as_str()) {
                template.to_filter();
                prop_assert!(template.conflicts_with(&template));
                prop_assert_eq!(template.cmp_specificity(&template), Ordering::Equal);
            }
        }
    }
}
