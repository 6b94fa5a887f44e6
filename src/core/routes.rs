//! Which template fits a topic best.
//!
//! **Not covered by semantic versioning**: it is public for benchmarks and tests, and may change in any
//! release.

use super::children::Children;
use super::template::{Affix, Captures, Level, TopicTemplate, split_level};

/// A map from topic templates to values, searched by topic for the most specific one.
///
/// A literal level beats a capture of a part of a level, this beats a capture of the whole level,
/// and this beats the rest, level by level from the left; see
/// [`TopicTemplate::cmp_specificity`]. The order of insertion never matters.
///
/// It is a tree of levels, and nothing recurses. Captures of parts that share a parent level are
/// tried one by one; all other steps are look-ups.
///
/// ```
/// use tower_mqtt::core::{routes::RouteIndex, template::TopicTemplate};
///
/// let mut routes = RouteIndex::new();
/// routes.insert(TopicTemplate::new("recipes/{category}/get")?, "get")?;
/// routes.insert(TopicTemplate::new("recipes/{any*}")?, "other")?;
///
/// let topic = "recipes/soup/get";
/// let best = routes.best(topic).unwrap();
/// assert_eq!(*best.value, "get");
/// assert_eq!(best.captures.get(topic, 0), Some("soup"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct RouteIndex<T> {
    // A node is named by its place here, so that a deep tree is dropped without recursion.
    nodes: Vec<Node<T>>,
    len: usize,
}

const ROOT: usize = 0;

#[derive(Clone, Debug)]
struct Node<T> {
    literals: Children,
    /// Most specific first.
    captures: Vec<(Affix, usize)>,
    /// The template that ends here.
    here: Option<Route<T>>,
    /// The template that ends here with `/{name*}`.
    below: Option<Route<T>>,
}

#[derive(Clone, Debug)]
struct Route<T> {
    template: TopicTemplate,
    value: T,
}

/// The template that fits a topic best, as [`RouteIndex::best`] finds it.
#[derive(Clone, Copy, Debug)]
pub struct RouteMatch<'r, T> {
    /// The template.
    pub template: &'r TopicTemplate,
    /// What was inserted with the template.
    pub value: &'r T,
    /// What the template captures from the topic.
    pub captures: Captures,
}

/// Two templates describe the same topics, so that one of them would never be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the topics of `{new}` are those of `{existing}`")]
pub struct RouteConflict {
    /// The template that was there.
    pub existing: TopicTemplate,
    /// The template that was to be inserted.
    pub new: TopicTemplate,
}

impl<T> RouteIndex<T> {
    /// An index without templates. Allocates nothing.
    pub const fn new() -> Self {
        Self { nodes: Vec::new(), len: 0 }
    }

    /// The number of templates.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no templates.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a template.
    ///
    /// # Errors
    /// [`RouteConflict`] when a template that [conflicts](TopicTemplate::conflicts_with) is there
    /// already. The index is unchanged then.
    pub fn insert(&mut self, template: TopicTemplate, value: T) -> Result<(), RouteConflict> {
        let slot = self.slot_or_grow(&template);
        if let Some(existing) = slot {
            let existing = existing.template.clone();
            return Err(RouteConflict { existing, new: template });
        }
        *slot = Some(Route { template, value });
        self.len += 1;
        Ok(())
    }

    /// The most specific template that matches `topic`, with what it captures.
    ///
    /// `topic` is usually a [`TopicName`](super::topic::TopicName).
    pub fn best(&self, topic: &str) -> Option<RouteMatch<'_, T>> {
        self.nodes.first()?;
        let mut pending = Vec::new();
        let mut next = Step::Node(ROOT, Some(topic));
        loop {
            let literal = match next {
                Step::Route(route) => {
                    // The template itself has the last word, and finds where the captures stand.
                    if let Some(captures) = route.template.capture(topic) {
                        let Route { template, value } = route;
                        return Some(RouteMatch { template, value, captures });
                    }
                    None
                }
                Step::Node(id, None) => self.nodes[id].here.as_ref().map(Step::Route),
                Step::Node(id, Some(rest)) => self.nodes[id].descend(rest, &mut pending),
            };
            next = literal.or_else(|| pending.pop())?;
        }
    }

    /// The place of the value of `template`; the path to it is made where it is missing.
    fn slot_or_grow(&mut self, template: &TopicTemplate) -> &mut Option<Route<T>> {
        if self.nodes.is_empty() {
            self.nodes.push(Node::new());
        }
        let mut node = ROOT;
        for level in template.levels() {
            let child = self.nodes.len();
            node = match level {
                Level::Literal(text) => self.nodes[node].literal_or_insert(text, child),
                Level::Capture { affix, .. } => self.nodes[node].capture_or_insert(affix, child),
                Level::Rest { .. } => return &mut self.nodes[node].below,
            };
            if node == child {
                self.nodes.push(Node::new());
            }
        }
        &mut self.nodes[node].here
    }
}

impl<T> Default for RouteIndex<T> {
    fn default() -> Self {
        Self::new()
    }
}

enum Step<'r, 't, T> {
    /// A node, with what is left of the topic.
    Node(usize, Option<&'t str>),
    Route(&'r Route<T>),
}

impl<T> Node<T> {
    fn new() -> Self {
        Self { literals: Children::new(), captures: Vec::new(), here: None, below: None }
    }

    /// The literal step from here; the others are left in `pending`, the most specific on top.
    fn descend<'r, 't>(
        &'r self,
        rest: &'t str,
        pending: &mut Vec<Step<'r, 't, T>>,
    ) -> Option<Step<'r, 't, T>> {
        let (level, rest) = split_level(rest);
        pending.extend(self.below.as_ref().map(Step::Route));
        for (affix, child) in self.captures.iter().rev() {
            if affix.strip(level).is_some() {
                pending.push(Step::Node(*child, rest));
            }
        }
        self.literals.get(level).map(|child| Step::Node(child, rest))
    }

    fn literal_or_insert(&mut self, text: &str, child: usize) -> usize {
        self.literals.get(text).unwrap_or_else(|| {
            self.literals.insert(text.into(), child);
            child
        })
    }

    fn capture_or_insert(&mut self, affix: &Affix, child: usize) -> usize {
        if let Some((_, child)) = self.captures.iter().find(|(other, _)| other == affix) {
            return *child;
        }
        let at = self.captures.partition_point(|(other, _)| other.breadth() <= affix.breadth());
        self.captures.insert(at, (affix.clone(), child));
        child
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::core::topic::MAX_LEN;

    fn template(text: &str) -> TopicTemplate {
        TopicTemplate::new(text).unwrap()
    }

    fn routes(texts: &[&str]) -> RouteIndex<()> {
        let mut routes = RouteIndex::new();
        for text in texts {
            routes.insert(template(text), ()).unwrap();
        }
        routes
    }

    #[test]
    fn the_most_specific_template_is_found() {
        let routes = routes(&[
            "a/b", "a/p{x}s", "a/p{x}", "a/{x}s", "a/{x}", "a/{x*}", "{x}/b/c", "{x*}", "$s/{x}",
        ]);
        for (topic, best) in [
            ("a/b", "a/b"),
            ("a/pas", "a/p{x}s"),
            ("a/pa", "a/p{x}"),
            ("a/as", "a/{x}s"),
            ("a/p", "a/{x}"),
            ("a/b/c", "a/{x*}"),
            ("b/b/c", "{x}/b/c"),
            ("a/", "{x*}"),
            ("/", "{x*}"),
            ("$s/1", "$s/{x}"),
        ] {
            assert_eq!(routes.best(topic).unwrap().template.as_str(), best, "{topic}");
        }
        assert!(routes.best("$SYS").is_none() && routes.best("$s/").is_none());
    }

    #[test]
    fn a_dead_end_leads_back_to_the_next_best() {
        let routes = routes(&["a/b/c", "a/{x}/{y}/e", "{x}/b/c/{y*}"]);
        assert_eq!(routes.best("a/b/c/d").unwrap().template.as_str(), "{x}/b/c/{y*}");
        assert_eq!(routes.best("a/b/c/e").unwrap().template.as_str(), "a/{x}/{y}/e");
        assert!(routes.best("a/b/d").is_none());
    }

    #[test]
    fn conflicts_are_refused() {
        let mut routes = routes(&["a/{x}/c", "{r*}"]);
        for (new, existing) in [("a/{y}/c", "a/{x}/c"), ("{s*}", "{r*}")] {
            let conflict = routes.insert(template(new), ()).unwrap_err();
            assert_eq!(
                conflict,
                RouteConflict { existing: template(existing), new: template(new) }
            );
        }
        assert_eq!(routes.len(), 2);
    }

    #[test]
    fn deep_topics_are_safe() {
        let slashes = "/".repeat(MAX_LEN);
        let routes = routes(&[&slashes, "/{r*}"]);
        assert_eq!(routes.best(&slashes).unwrap().template.as_str(), slashes);
        assert_eq!(routes.best(&slashes[1..]).unwrap().template.as_str(), "/{r*}");
        assert!(routes.best("").is_none() && routes.best(&(slashes + "/")).is_none());
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(
            texts in proptest::collection::vec(r"(\$a|[ab]?|[ab]?\{0\}[ab]?)(/([ab]?|[ab]?\{1\}[ab]?)){0,2}(/\{r\*\})?", 0..40),
            topics in proptest::collection::vec(r"\$?[ab]{0,3}(/[ab]{0,3}){0,3}", 30),
        ) {
            let (mut routes, mut list) = (RouteIndex::new(), Vec::<TopicTemplate>::new());
            for template in texts.iter().filter_map(|text| TopicTemplate::new(text.as_str()).ok()) {
                let conflict = list.iter().any(|other| other.conflicts_with(&template));
                prop_assert_eq!(routes.insert(template.clone(), ()).is_err(), conflict);
                if !conflict {
                    list.push(template);
                }
            }
            prop_assert_eq!(routes.len(), list.len());
            for topic in &topics {
                let expected = list
                    .iter()
                    .filter(|template| template.capture(topic).is_some())
                    .min_by(|a, b| a.cmp_specificity(b));
                let best = routes.best(topic);
                prop_assert_eq!(best.as_ref().map(|best| best.template), expected);
                if let Some(best) = best {
                    prop_assert_eq!(Some(best.captures), best.template.capture(topic));
                }
            }
        }
    }
}
