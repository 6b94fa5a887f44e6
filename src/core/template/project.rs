//! From a filter of one template's topics to the filter of another's.

use super::{Affix, Level, TopicTemplate};
use crate::core::topic::TopicFilter;

impl TopicTemplate {
    /// The narrowest filter for the topics of `onto` whose captures have the values of those topics
    /// of this template that `filter` matches. `None` when it matches none of them, or none whose captures
    /// fit: of a rest of several levels no single level is made. A share name is left out.
    ///
    /// A capture of `onto` that this template does not have may be anything.
    ///
    /// ```
    /// use tower_mqtt::core::template::TopicTemplate;
    /// use tower_mqtt::core::topic::TopicFilter;
    ///
    /// let address: TopicTemplate = "{product}/{device}".parse()?;
    /// let wire: TopicTemplate = "rpc/{device}/of/{product}/{id}".parse()?;
    /// let project = |filter| TopicFilter::new(filter).map(|f| address.project(&f, &wire));
    ///
    /// assert_eq!(project("lamps/+")?.unwrap(), "rpc/+/of/lamps/+");
    /// assert_eq!(project("#")?.unwrap(), "rpc/+/of/+/+");
    /// assert_eq!(project("lamps")?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn project(&self, filter: &TopicFilter, onto: &Self) -> Option<TopicFilter> {
        let bound = self.bind(filter.filter())?;
        let value = |wanted: &str| bound.iter().find(|(n, _)| *n == wanted).map(|(_, v)| *v);
        let levels: Option<Vec<String>> = onto.levels.iter().map(|l| l.filter(&value)).collect();
        // Too long, at the worst: then no topic has this form either.
        TopicFilter::new(levels?.join("/")).ok()
    }

    /// What each capture may be: a text, `+`, or for a rest a filter.
    fn bind<'f>(&self, filter: &'f str) -> Option<Vec<(&str, &'f str)>> {
        let mut bound = Vec::new();
        let mut tail = Some(filter);
        for level in &*self.levels {
            let rest = tail?;
            let (head, next) = super::split_level(rest);
            if head == "#" {
                bound.extend(level.name().map(|name| (name, level.widest())));
                continue; // `#` is the last level and matches all that follow
            }
            match level {
                Level::Literal(text) if head == "+" || head == &**text => {}
                Level::Literal(_) => return None,
                Level::Capture { name, .. } if head == "+" => bound.push((name, "+")),
                Level::Capture { name, affix } => bound.push((name, affix.strip(head)?)),
                Level::Rest { name } => {
                    bound.push((name, rest));
                    return Some(bound);
                }
            }
            tail = next;
        }
        matches!(tail, None | Some("#")).then_some(bound)
    }
}

impl Level {
    fn widest(&self) -> &'static str {
        if matches!(self, Self::Rest { .. }) { "#" } else { "+" }
    }

    /// This level of a filter, given what captures are bound to; `None`: no topic has such a level.
    fn filter<'f>(&self, value: &impl Fn(&str) -> Option<&'f str>) -> Option<String> {
        Some(match self {
            Self::Literal(text) => text.to_string(),
            Self::Capture { name, affix } => match one_level(value(name).unwrap_or("+"))? {
                "+" => "+".to_owned(),
                value => affix.around(value),
            },
            Self::Rest { name } => value(name).unwrap_or("#").to_owned(),
        })
    }
}

/// What of a filter, which may be bound to a rest, a single level can be.
fn one_level(filter: &str) -> Option<&str> {
    match super::split_level(filter) {
        ("#", _) => Some("+"),
        (level, None | Some("#")) => Some(level),
        _ => None,
    }
}

impl Affix {
    fn around(&self, value: &str) -> String {
        format!("{}{value}{}", self.prefix, self.suffix)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::topic::TopicName;

    fn project(from: &str, filter: &str, onto: &str) -> Option<String> {
        let template = |text: &str| TopicTemplate::new(text).unwrap();
        let filter = TopicFilter::new(filter).unwrap();
        template(from).project(&filter, &template(onto)).map(|filter| filter.to_string())
    }

    #[test]
    fn captures_keep_what_the_filter_says_of_them() {
        for (from, filter, onto, expected) in [
            ("{p}/{d}", "a/b", "/sys/{p}/{d}/req/{id}", Some("/sys/a/b/req/+")),
            ("{p}/{d}", "+/b", "/sys/{p}/{d}/req/{id}", Some("/sys/+/b/req/+")),
            ("{p}/{d}", "a/#", "/sys/{p}/{d}/req/{id}", Some("/sys/a/+/req/+")),
            ("{p}/{d}", "a/b/#", "{p}/{d}", Some("a/b")),
            ("{p}/{d}", "a/b/c", "{p}/{d}", None),
            ("{p}/{d}", "a", "{p}/{d}", None),
            ("{d}", "b", "x/request_id={d}", Some("x/request_id=b")),
            ("{d}", "+", "x/request_id={d}", Some("x/+")),
            ("{p}/{t*}", "a/b/+/c", "ext/{id}/{p}/{t*}", Some("ext/+/a/b/+/c")),
            ("{p}/{t*}", "a/#", "ext/{id}/{p}/{t*}", Some("ext/+/a/#")),
            ("{p}/{t*}", "#", "ext/{id}/{p}/{t*}", Some("ext/+/+/#")),
            ("{p}/{t*}", "a", "ext/{id}/{p}/{t*}", None),
            ("a/{x}", "$share/g/a/b", "{x}", Some("b")),
            ("a/{x}", "c/b", "{x}", None),
            ("{x*}", "#", "a/{x}", Some("a/+")),
            ("{x*}", "b", "a/{x}", Some("a/b")),
            ("{x*}", "b/#", "a/{x}", Some("a/b")),
            ("{x*}", "b/c", "a/{x}", None),
            ("{x}", "b", "a/{x*}", Some("a/b")),
        ] {
            assert_eq!(project(from, filter, onto).as_deref(), expected, "{from} {filter}");
        }
    }

    proptest! {
        /// A topic that the filter matches becomes one that the projected filter matches.
        #[test]
        fn nothing_is_lost(
            filter in "(a|b|\\+)/(a|b|\\+)/(a|b|\\+|#)",
            topic in "(a|b)/(a|b)/(a|b)",
        ) {
            let from = TopicTemplate::new("{x}/{y*}").unwrap();
            let onto = TopicTemplate::new("n/{id}/{x}/{y*}").unwrap();
            let filter = TopicFilter::new(filter).unwrap();
            let wire = TopicName::new(format!("n/7/{topic}")).unwrap();
            let projected = from.project(&filter, &onto).unwrap();
            prop_assert_eq!(projected.matches(&wire), filter.matches(&topic));
        }
    }
}
