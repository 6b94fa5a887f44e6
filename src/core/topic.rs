//! Topic names and topic filters, as MQTT 5 §4.7 and §4.8.2 have them.
//!
//! Both types are parsed once; a value that exists is valid. Both are cheap to clone (one shared
//! allocation) and can be sent between threads.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest topic name or filter in bytes [MQTT-4.7.3-3].
pub const MAX_LEN: usize = 65_535;

const SHARE: &str = "$share/";

/// Why a text is no topic name or no topic filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// The text is empty [MQTT-4.7.3-1].
    #[error("a topic must have at least one character")]
    Empty,
    /// The text is longer than [`MAX_LEN`] [MQTT-4.7.3-3].
    #[error("a topic has at most 65535 bytes, this one has {len}")]
    TooLong {
        /// The length in bytes.
        len: usize,
    },
    /// The text contains a control character or a noncharacter of Unicode, such as U+FFFF. U+0000 is
    /// forbidden [MQTT-4.7.3-2], and a server may close the connection because of any other
    /// (MQTT 5 §1.5.4); Mosquitto does.
    #[error("a topic must not contain control characters or noncharacters")]
    Control,
    /// A topic name contains `+` or `#` [MQTT-4.7.0-1].
    #[error("a topic name must not contain the wildcards `+` and `#`")]
    Wildcard,
    /// A `+` does not fill a level, or a `#` is not the whole last level [MQTT-4.7.1-1],
    /// [MQTT-4.7.1-2].
    #[error("a wildcard must fill a whole level, and `#` must be the last level")]
    MisplacedWildcard,
    /// `$share/` is not followed by a share name, `/` and a filter [MQTT-4.8.2-1],
    /// [MQTT-4.8.2-2], or it stands where no share name may be.
    #[error(
        "`$share/` may only start a filter of the form `$share/name/filter`, \
         where the name is not empty and has no `/`, `+` or `#`"
    )]
    ShareName,
}

/// The name of a topic: where a message is published.
///
/// It has 1 to [`MAX_LEN`] bytes and contains neither control characters, noncharacters nor a wildcard. A name that starts
/// with `$share/` is refused too: no filter can name it, as this prefix marks a shared
/// subscription.
///
/// ```
/// use tower_mqtt::core::topic::{TopicError, TopicName};
///
/// let name = TopicName::new("recipes/soup/get")?;
/// assert_eq!(name.levels().collect::<Vec<_>>(), ["recipes", "soup", "get"]);
/// assert_eq!(TopicName::new("recipes/+/get"), Err(TopicError::Wildcard));
/// # Ok::<(), TopicError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Parses a topic name. An `Arc<str>` is taken over without a copy.
    ///
    /// # Errors
    /// [`TopicError::Empty`], [`TooLong`](TopicError::TooLong), [`Control`](TopicError::Control),
    /// [`Wildcard`](TopicError::Wildcard), and [`ShareName`](TopicError::ShareName) for a name
    /// that starts with `$share/`.
    pub fn new(text: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, TopicError> {
        check_name(text.as_ref())?;
        Ok(Self(text.into()))
    }

    /// The levels of the name, from the left. There is at least one; a level may be empty.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Whether the name starts with `$`. Such topics belong to the server, and a filter that
    /// starts with a wildcard does not match them [MQTT-4.7.2-1].
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('$')
    }
}

/// A set of topics: what is subscribed to.
///
/// `+` stands for one level and `#` for the parent and all levels below it. A filter may start
/// with `$share/{name}/`, and is then a shared subscription: each message goes to one member
/// of the group (MQTT 5 §4.8.2).
///
/// ```
/// use tower_mqtt::core::topic::{TopicError, TopicFilter};
///
/// let filter = TopicFilter::new("recipes/+/get")?.shared("kitchen")?;
/// assert_eq!(filter.as_str(), "$share/kitchen/recipes/+/get");
/// assert_eq!(filter.share_name(), Some("kitchen"));
/// assert!(filter.matches("recipes/soup/get"));
/// assert!(!filter.matches("recipes/soup/list"));
/// # Ok::<(), TopicError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(Arc<str>);

impl TopicFilter {
    /// Parses a topic filter. An `Arc<str>` is taken over without a copy.
    ///
    /// # Errors
    /// [`TopicError::Empty`], [`TooLong`](TopicError::TooLong), [`Control`](TopicError::Control),
    /// [`MisplacedWildcard`](TopicError::MisplacedWildcard), and
    /// [`ShareName`](TopicError::ShareName) for a text that starts with `$share/` without being
    /// a shared subscription, or names two groups.
    pub fn new(text: impl AsRef<str> + Into<Arc<str>>) -> Result<Self, TopicError> {
        check_filter(text.as_ref())?;
        Ok(Self(text.into()))
    }

    /// `#`: every topic that does not start with `$`.
    pub fn everything() -> Self {
        Self("#".into())
    }

    /// The filter that matches this name and nothing else.
    pub fn exact(name: &TopicName) -> Self {
        Self(Arc::clone(&name.0))
    }

    /// The same filter as a shared subscription of the group `name`. A share name that is there
    /// already is replaced.
    ///
    /// # Errors
    /// [`TopicError::ShareName`] or [`Control`](TopicError::Control) when `name` cannot be a share name,
    /// [`TooLong`](TopicError::TooLong) when the whole is longer than [`MAX_LEN`].
    pub fn shared(&self, name: &str) -> Result<Self, TopicError> {
        check_share_name(name)?;
        Self::new(format!("{SHARE}{name}/{}", self.filter()))
    }

    /// The name of the group of a shared subscription.
    pub fn share_name(&self) -> Option<&str> {
        Some(self.split_share()?.0)
    }

    /// The filter without its share name: what topics are compared with.
    pub fn filter(&self) -> &str {
        self.split_share().map_or(&self.0, |(_, filter)| filter)
    }

    /// The levels of [`filter`](Self::filter), from the left, wildcards included.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.filter().split('/')
    }

    /// Whether the filter has no wildcard, so that it matches one topic only.
    pub fn is_exact(&self) -> bool {
        !self.filter().contains(['+', '#'])
    }

    /// Whether `topic` is in the set. The share name does not take part.
    ///
    /// A wildcard at the start does not match a topic that starts with `$` [MQTT-4.7.2-1].
    /// `topic` is usually a [`TopicName`]; any text is compared level by level.
    pub fn matches(&self, topic: &(impl AsRef<str> + ?Sized)) -> bool {
        let topic = topic.as_ref();
        // [MQTT-4.7.2-1]
        if topic.starts_with('$') && self.filter().starts_with(['+', '#']) {
            return false;
        }
        let mut topic = topic.split('/');
        for wanted in self.levels() {
            if wanted == "#" {
                return true;
            }
            match topic.next() {
                Some(level) if wanted == "+" || wanted == level => {}
                _ => return false,
            }
        }
        topic.next().is_none()
    }

    fn split_share(&self) -> Option<(&str, &str)> {
        self.0.strip_prefix(SHARE)?.split_once('/')
    }

    /// Orders filters by how narrow they are, the narrowest first: level by level from the left, a
    /// text comes before `+`, and this before `#`. Texts are all alike, and so are share names.
    pub(crate) fn cmp_specificity(&self, other: &Self) -> std::cmp::Ordering {
        let breadth = |level: &str| match level {
            "#" => 2,
            "+" => 1,
            _ => 0,
        };
        self.levels().map(breadth).cmp(other.levels().map(breadth))
    }

    /// Whether this filter matches every topic that `other` matches. Share names do not matter.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        // [MQTT-4.7.2-1]
        if other.filter().starts_with('$') && self.filter().starts_with(['+', '#']) {
            return false;
        }
        let (mut ours, mut theirs) = (self.levels(), other.levels());
        loop {
            match (ours.next(), theirs.next()) {
                // [MQTT-4.7.1-2]: `#` matches the parent level as well
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(level)) if level != "#" => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    }

    /// Whether there is a topic that both filters match. Share names do not matter.
    ///
    /// ```
    /// use tower_mqtt::core::topic::TopicFilter;
    ///
    /// let overlap = |a, b| TopicFilter::new(a).unwrap().overlaps(&TopicFilter::new(b).unwrap());
    /// assert!(overlap("recipes/+/get", "recipes/soup/#"));
    /// assert!(!overlap("recipes/+/get", "recipes/+/list"));
    /// assert!(!overlap("#", "$SYS/#"), "wildcards do not match a first level that starts with $");
    /// ```
    pub fn overlaps(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.levels(), other.levels());
        let mut first = true;
        loop {
            match (ours.next(), theirs.next()) {
                // [MQTT-4.7.2-1]
                (Some("+" | "#"), Some(level)) | (Some(level), Some("+" | "#"))
                    if first && level.starts_with('$') =>
                {
                    return false;
                }
                // [MQTT-4.7.1-2]: `#` matches the parent level as well
                (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
                (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
            first = false;
        }
    }
}

impl From<TopicName> for TopicFilter {
    fn from(name: TopicName) -> Self {
        Self(name.0)
    }
}

impl From<&TopicName> for TopicFilter {
    fn from(name: &TopicName) -> Self {
        Self::exact(name)
    }
}

macro_rules! text_traits {
    ($type:ident) => {
        impl $type {
            /// The whole text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                *self.0 == *other
            }
        }

        impl PartialEq<&str> for $type {
            fn eq(&self, other: &&str) -> bool {
                *self.0 == **other
            }
        }

        impl FromStr for $type {
            type Err = TopicError;

            fn from_str(text: &str) -> Result<Self, TopicError> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $type {
            type Error = TopicError;

            fn try_from(text: &str) -> Result<Self, TopicError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = TopicError;

            fn try_from(text: String) -> Result<Self, TopicError> {
                Self::new(text)
            }
        }
    };
}

text_traits!(TopicName);
text_traits!(TopicFilter);

/// Writes any text so that it can stand inside one level of a topic, for instance a client id.
///
/// `/`, `+`, `#`, `%`, control characters and noncharacters become `%` and two hexadecimal digits for each
/// UTF-8 byte; the rest stays as it is. Two different texts never become the same level.
///
/// ```
/// use tower_mqtt::core::topic::encode_level;
///
/// assert_eq!(encode_level("M7"), "M7");
/// assert_eq!(encode_level("line 1/oven#2"), "line 1%2Foven%232");
/// ```
pub fn encode_level(text: &str) -> Cow<'_, str> {
    let foreign = |c: char| matches!(c, '/' | '+' | '#' | '%') || is_unsafe(c);
    if !text.contains(foreign) {
        return Cow::Borrowed(text);
    }
    let mut level = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if foreign(c) {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                level.push('%');
                level.extend([hex_digit(byte >> 4), hex_digit(byte & 0xF)]);
            }
        } else {
            level.push(c);
        }
    }
    Cow::Owned(level)
}

/// A control character or a noncharacter: a server may close the connection because of one
/// (MQTT 5 §1.5.4), and Mosquitto does.
pub(crate) fn is_unsafe(c: char) -> bool {
    let noncharacter = matches!(c, '\u{FDD0}'..='\u{FDEF}') || u32::from(c) & 0xFFFE == 0xFFFE;
    c.is_control() || noncharacter
}

fn hex_digit(nibble: u8) -> char {
    char::from(b"0123456789ABCDEF"[usize::from(nibble)])
}

pub(crate) fn check_name(text: &str) -> Result<(), TopicError> {
    if is_plain(text) && (1..=MAX_LEN).contains(&text.len()) && !text.starts_with(SHARE) {
        return Ok(());
    }
    check_text(text)?;
    if text.contains(['+', '#']) {
        return Err(TopicError::Wildcard); // [MQTT-4.7.0-1]
    }
    if text.starts_with(SHARE) {
        return Err(TopicError::ShareName);
    }
    Ok(())
}

/// ASCII without control characters and wildcards, as nearly every topic is. Without a branch for
/// each byte, so that many are looked at in one instruction.
fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b' '..=b'"' | b'$'..=b'*' | b','..=b'~');
    text.bytes().fold(true, |all, byte| all & plain(byte))
}

fn check_filter(text: &str) -> Result<(), TopicError> {
    check_text(text)?;
    let mut filter = text;
    if let Some(rest) = text.strip_prefix(SHARE) {
        let name;
        (name, filter) = rest.split_once('/').ok_or(TopicError::ShareName)?;
        check_share_name(name)?;
        // [MQTT-4.8.2-2]: a topic filter must follow. A second group could match no topic name.
        if filter.is_empty() || filter.starts_with(SHARE) {
            return Err(TopicError::ShareName);
        }
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let fits = match level {
            "+" => true,                    // [MQTT-4.7.1-2]
            "#" => levels.peek().is_none(), // [MQTT-4.7.1-1]
            other => !other.contains(['+', '#']),
        };
        if !fits {
            return Err(TopicError::MisplacedWildcard);
        }
    }
    Ok(())
}

fn check_text(text: &str) -> Result<(), TopicError> {
    match text {
        "" => Err(TopicError::Empty), // [MQTT-4.7.3-1]
        _ if text.len() > MAX_LEN => Err(TopicError::TooLong { len: text.len() }), // [MQTT-4.7.3-3]
        _ if text.contains(is_unsafe) => Err(TopicError::Control), // [MQTT-4.7.3-2]
        _ => Ok(()),
    }
}

fn check_share_name(name: &str) -> Result<(), TopicError> {
    if name.contains(is_unsafe) {
        return Err(TopicError::Control);
    }
    // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    if name.is_empty() || name.contains(['/', '+', '#']) {
        return Err(TopicError::ShareName);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::new(text).unwrap()
    }

    #[test]
    fn names_follow_the_spec() {
        for good in
            ["a", "/", "//", " ", "sport/tennis", "Accounts payable", "$SYS/x", "$share", "ü/é"]
        {
            assert_eq!(TopicName::new(good).unwrap(), good);
        }
        for (bad, error) in [
            ("", TopicError::Empty),
            ("a\0b", TopicError::Control),
            ("a\nb", TopicError::Control),
            ("a/\u{FFFF}", TopicError::Control),
            ("\u{1FFFE}", TopicError::Control),
            ("\u{FDD0}", TopicError::Control),
            ("a/+", TopicError::Wildcard),
            ("a#", TopicError::Wildcard),
            ("$share/group/a", TopicError::ShareName),
        ] {
            assert_eq!(TopicName::new(bad), Err(error), "{bad:?}");
        }
    }

    #[test]
    fn filters_follow_the_spec() {
        for good in [
            "#",
            "+",
            "/",
            "/+",
            "+/+",
            "sport/#",
            "sport/tennis/#",
            "+/tennis/#",
            "sport/+/player1",
            "$SYS/#",
            "$share/consumer1/sport/#",
            "$share/g//",
            "$share/g/+",
            "$shared/x",
            "$share",
        ] {
            assert_eq!(TopicFilter::new(good).unwrap(), good);
        }
        for (bad, error) in [
            ("", TopicError::Empty),
            ("a/\0", TopicError::Control),
            ("sport/tennis#", TopicError::MisplacedWildcard),
            ("sport/tennis/#/ranking", TopicError::MisplacedWildcard),
            ("sport+", TopicError::MisplacedWildcard),
            ("##", TopicError::MisplacedWildcard),
            ("#/", TopicError::MisplacedWildcard),
            ("$share/", TopicError::ShareName),
            ("$share/group", TopicError::ShareName),
            ("$share/group/", TopicError::ShareName),
            ("$share//a", TopicError::ShareName),
            ("$share/+/a", TopicError::ShareName),
            ("$share/g#/a", TopicError::ShareName),
            ("$share/g/$share/h/a", TopicError::ShareName),
            ("$share/g/a#", TopicError::MisplacedWildcard),
        ] {
            assert_eq!(TopicFilter::new(bad), Err(error), "{bad:?}");
        }
    }

    #[test]
    fn examples_of_section_4_7_match() {
        for (text, yes, no) in [
            (
                "sport/tennis/player1/#",
                &[
                    "sport/tennis/player1",
                    "sport/tennis/player1/ranking",
                    "sport/tennis/player1/score/wimbledon",
                ][..],
                &["sport/tennis/player2", "sport/tennis"][..],
            ),
            ("sport/#", &["sport", "sport/"], &["sports", "$sport"]),
            (
                "sport/tennis/+",
                &["sport/tennis/player1", "sport/tennis/"],
                &["sport/tennis/player1/ranking", "sport/tennis"],
            ),
            ("sport/+", &["sport/"], &["sport"]),
            ("+/+", &["/finance"], &["finance"]),
            ("/+", &["/finance"], &["finance"]),
            ("+", &["finance"], &["/finance", "$SYS"]),
            ("#", &["a", "/", "a/b/c"], &["$SYS", "$SYS/monitor"]),
            ("+/monitor/Clients", &["x/monitor/Clients"], &["$SYS/monitor/Clients"]),
            ("$SYS/#", &["$SYS", "$SYS/monitor/Clients"], &["SYS"]),
            ("$SYS/monitor/+", &["$SYS/monitor/Clients"], &["$SYS/monitor"]),
            ("ACCOUNTS", &["ACCOUNTS"], &["Accounts", "/ACCOUNTS", "ACCOUNTS/"]),
            (
                "$share/g/sport/#",
                &["sport", "sport/tennis"],
                &["$share/g/sport", "$share/g/sport/tennis"],
            ),
            ("$share/g/#", &["a"], &["$SYS/a"]),
        ] {
            for topic in yes {
                assert!(filter(text).matches(topic), "{text} {topic}");
            }
            for topic in no {
                assert!(!filter(text).matches(topic), "{text} {topic}");
            }
        }
    }

    #[test]
    fn share_names_are_added_replaced_and_read() {
        let plain = filter("a/+");
        let shared = plain.shared("g").unwrap();
        assert_eq!((shared.share_name(), shared.filter()), (Some("g"), "a/+"));
        assert_eq!(shared.shared("h").unwrap(), "$share/h/a/+");
        assert_eq!(plain.share_name(), None);
        for bad in ["", "a/b", "+", "a#"] {
            assert_eq!(plain.shared(bad), Err(TopicError::ShareName));
        }
        assert_eq!(plain.shared("\0"), Err(TopicError::Control));
        assert!(matches!(plain.shared(&"g".repeat(MAX_LEN)), Err(TopicError::TooLong { .. })));
        assert!(!shared.is_exact() && filter("$share/g/a").is_exact());
    }

    #[test]
    fn a_filter_covers_those_whose_topics_it_has() {
        for (wide, narrow, expected) in [
            ("a", "a", true),
            ("a/+", "a/b", true),
            ("a/+", "a/+", true),
            ("a/+", "a/#", false),
            ("a/+", "a", false),
            ("a/#", "a", true),
            ("a/#", "a/+/#", true),
            ("a/+/#", "a/#", false),
            ("a/+/c", "a/b/+", false),
            ("a/b", "a/+", false),
            ("#", "+/#", true),
            ("#", "$SYS/#", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/+", true),
            ("$share/g/a/#", "a/b", true),
        ] {
            assert_eq!(filter(wide).covers(&filter(narrow)), expected, "{wide} {narrow}");
        }
    }

    #[test]
    fn limits_are_in_bytes() {
        let longest = "é".repeat(MAX_LEN / 2) + "e";
        assert!(
            TopicName::new(longest.as_str()).is_ok() && TopicFilter::new(longest.as_str()).is_ok()
        );
        let long = longest + "e";
        assert_eq!(TopicName::new(long.as_str()), Err(TopicError::TooLong { len: MAX_LEN + 1 }));
        assert_eq!(TopicFilter::new(long), Err(TopicError::TooLong { len: MAX_LEN + 1 }));

        let slashes = TopicName::new("/".repeat(MAX_LEN)).unwrap();
        assert_eq!(slashes.levels().count(), MAX_LEN + 1);
        assert!(TopicFilter::from(slashes.clone()).matches(&slashes));
        assert!(filter("#").matches(&slashes) && !filter("+").matches(&slashes));
    }

    #[test]
    fn a_name_is_found_by_its_text() {
        let names = HashSet::from([TopicName::new("a/b").unwrap()]);
        assert!(names.contains("a/b"));
    }

    #[test]
    fn control_characters_are_encoded() {
        assert_eq!(encode_level("a\0\u{85}ü"), "a%00%C2%85ü");
        assert!(matches!(encode_level("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn both_types_travel_between_threads() {
        fn shareable<T: Send + Sync + Clone>() {}
        shareable::<(TopicName, TopicFilter)>();
    }

    fn matches_naively(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            (["+", filter @ ..], [_, topic @ ..]) => matches_naively(filter, topic),
            ([a, filter @ ..], [b, topic @ ..]) => a == b && matches_naively(filter, topic),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_a_naive_matcher(
            filter_text in r"(\$|[ab]{0,1}|\+)(/(\$|[ab]{0,1}|\+)){0,4}(/#)?",
            topic in r"\$?[ab]{0,1}(/(\$|[ab]{0,1})){0,4}",
        ) {
            let Ok(filter) = TopicFilter::new(filter_text.as_str()) else {
                prop_assert!(filter_text.is_empty());
                return Ok(());
            };
            let levels: Vec<_> = filter_text.split('/').collect();
            let expected = matches_naively(&levels, &topic.split('/').collect::<Vec<_>>())
                && !(topic.starts_with('$') && ["+", "#"].contains(&levels[0]));
            prop_assert_eq!(filter.matches(&topic), expected);
            prop_assert_eq!(filter.shared("g").unwrap().matches(&topic), expected);
        }

        #[test]
        fn what_covers_another_matches_all_of_its_topics(
            wide in r"(\$|[ab]|\+)(/([ab]|\+)){0,2}(/#)?|#",
            narrow in r"(\$|[ab]|\+)(/([ab]|\+)){0,2}(/#)?|#",
            topics in proptest::collection::vec(r"(\$|[ab])(/[ab]){0,3}", 16),
        ) {
            let (wide, narrow) = (filter(&wide), filter(&narrow));
            let both = |topic: &String| wide.matches(topic) || !narrow.matches(topic);
            prop_assert!(!wide.covers(&narrow) || topics.iter().all(both), "{wide} {narrow}");
            prop_assert!(!wide.covers(&narrow) || wide.overlaps(&narrow), "{wide} {narrow}");
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in r"(\$share/)?[a/+#\x00é$]{0,8}") {
            if let Ok(name) = TopicName::new(text.as_str()) {
                prop_assert!(TopicFilter::from(&name).matches(&name));
                prop_assert_eq!(TopicFilter::new(text.as_str()), Ok(TopicFilter::exact(&name)));
            }
            if let Ok(filter) = TopicFilter::new(text.as_str()) {
                prop_assert_eq!(filter.is_exact(), TopicName::new(filter.filter()).is_ok());
            }
        }

        #[test]
        fn an_encoded_text_is_one_level_and_can_be_read_back(text in any::<String>()) {
            let level = encode_level(&text);
            prop_assert!(level.is_empty() || TopicName::new(&*level).unwrap().levels().count() == 1);
            let mut bytes = Vec::new();
            let mut parts = level.split('%');
            bytes.extend(parts.next().unwrap().bytes());
            for part in parts {
                bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
                bytes.extend(part[2..].bytes());
            }
            prop_assert_eq!(String::from_utf8(bytes).unwrap(), text);
        }
    }
}
