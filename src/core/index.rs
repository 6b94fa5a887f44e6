//! Which filters match a topic, without a look at every filter.
//!
//! **Not covered by semantic versioning**: it is public for benchmarks and tests, and may change in any
//! release.

use super::children::Children;
use super::template::split_level;
use super::topic::TopicFilter;

/// A map from topic filters to values that is searched by topic.
///
/// It is a tree of levels. A search follows at most two branches in each level, the literal one
/// and `+`, so that its cost depends on the filters that begin like the topic, not on all.
///
/// The share name of a filter is not part of the key: `a/b` and `$share/g/a/b` are one entry.
///
/// A filter of `n` levels needs up to `n` nodes of some hundred bytes, and may have up to 65,536
/// levels. Nothing here recurses, so depth is safe; who takes filters from strangers should
/// bound their number of [`levels`](TopicFilter::levels).
///
/// ```
/// use tower_mqtt::core::{index::TopicIndex, topic::TopicFilter};
///
/// let mut index = TopicIndex::new();
/// index.insert(&TopicFilter::new("recipes/+/get")?, 1);
/// index.insert(&TopicFilter::new("recipes/#")?, 2);
/// index.insert(&TopicFilter::new("machines/#")?, 3);
///
/// let mut found = Vec::new();
/// index.find_all("recipes/soup/get", |value| found.push(*value));
/// found.sort();
/// assert_eq!(found, [1, 2]);
/// # Ok::<(), tower_mqtt::core::topic::TopicError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TopicIndex<T> {
    // A node is named by its place here, so that a deep tree is dropped without recursion.
    nodes: Vec<Node<T>>,
    free: Vec<usize>,
    len: usize,
}

const ROOT: usize = 0;

#[derive(Clone, Debug)]
struct Node<T> {
    literals: Children,
    /// Below `+`.
    any: Option<usize>,
    /// The filter that ends here.
    here: Option<T>,
    /// The filter that ends here with `/#`.
    below: Option<T>,
}

impl<T> TopicIndex<T> {
    /// An index without filters. Allocates nothing.
    pub const fn new() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), len: 0 }
    }

    /// The number of filters.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no filters.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets the value of `filter` and gives back the one it replaces.
    pub fn insert(&mut self, filter: &TopicFilter, value: T) -> Option<T> {
        let slot = self.slot_or_grow(filter);
        let replaced = slot.replace(value);
        self.len += usize::from(replaced.is_none());
        replaced
    }

    /// The value of exactly this filter.
    pub fn get(&self, filter: &TopicFilter) -> Option<&T> {
        let mut node = self.nodes.first()?;
        for level in filter.levels() {
            if level == "#" {
                return node.below.as_ref();
            }
            node = &self.nodes[node.child(level)?];
        }
        node.here.as_ref()
    }

    /// The value of exactly this filter, made by `value` when there is none.
    pub fn get_or_insert_with(
        &mut self,
        filter: &TopicFilter,
        value: impl FnOnce() -> T,
    ) -> &mut T {
        let missing = usize::from(self.get(filter).is_none());
        self.len += missing;
        self.slot_or_grow(filter).get_or_insert_with(value)
    }

    /// Removes `filter` and the branches that only it needed.
    ///
    /// Their memory is used again by later filters, and is freed with the last filter.
    pub fn remove(&mut self, filter: &TopicFilter) -> Option<T> {
        self.remove_if(filter, |_| true)
    }

    /// Calls `check` with the value of `filter`, and removes the filter when it says `true`.
    pub fn remove_if(
        &mut self,
        filter: &TopicFilter,
        check: impl FnOnce(&mut T) -> bool,
    ) -> Option<T> {
        let mut path = Vec::new();
        let mut node = if self.nodes.is_empty() { return None } else { ROOT };
        let mut below = false;
        for level in filter.levels() {
            if level == "#" {
                below = true;
                break;
            }
            path.push((node, level));
            node = self.nodes[node].child(level)?;
        }
        let node = &mut self.nodes[node];
        let slot = if below { &mut node.below } else { &mut node.here };
        if !check(slot.as_mut()?) {
            return None;
        }
        let removed = slot.take();
        self.len -= 1;
        self.prune(path);
        removed
    }

    /// Calls `visit` with the value of every filter that matches `topic`, in no particular order.
    ///
    /// `topic` is usually a [`TopicName`](super::topic::TopicName). Filters that start with a
    /// wildcard do not match a topic that starts with `$` [MQTT-4.7.2-1].
    pub fn find_all<'i>(&'i self, topic: &str, mut visit: impl FnMut(&'i T)) {
        if self.nodes.is_empty() {
            return;
        }
        let mut pending = Vec::new();
        let mut next = Some((ROOT, Some(topic)));
        while let Some((id, rest)) = next {
            let node = &self.nodes[id];
            let wildcards = id != ROOT || !topic.starts_with('$'); // [MQTT-4.7.2-1]
            if wildcards && let Some(value) = &node.below {
                visit(value);
            }
            next = None;
            if let Some((level, rest)) = rest.map(split_level) {
                next = node.literals.get(level).map(|id| (id, rest));
                if wildcards && let Some(any) = node.any {
                    pending.extend(next.replace((any, rest)));
                }
            } else if let Some(value) = &node.here {
                visit(value);
            }
            next = next.or_else(|| pending.pop());
        }
    }

    /// The place of the value of `filter`; the path to it is made where it is missing.
    fn slot_or_grow(&mut self, filter: &TopicFilter) -> &mut Option<T> {
        if self.nodes.is_empty() {
            self.nodes.push(Node::new());
        }
        let mut node = ROOT;
        for level in filter.levels() {
            if level == "#" {
                return &mut self.nodes[node].below;
            }
            node = match self.nodes[node].child(level) {
                Some(child) => child,
                None => self.grow(node, level),
            };
        }
        &mut self.nodes[node].here
    }

    fn grow(&mut self, parent: usize, level: &str) -> usize {
        let child = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(Node::new());
            self.nodes.len() - 1
        });
        let parent = &mut self.nodes[parent];
        if level == "+" {
            parent.any = Some(child);
        } else {
            parent.literals.insert(level.into(), child);
        }
        child
    }

    /// Takes out the nodes at the end of `path` that lead nowhere.
    fn prune(&mut self, path: Vec<(usize, &str)>) {
        if self.len == 0 {
            *self = Self::new();
            return;
        }
        for (parent, level) in path.into_iter().rev() {
            let Some(child) = self.nodes[parent].child(level) else { break };
            if !self.nodes[child].is_empty() {
                break;
            }
            self.nodes[child] = Node::new();
            self.free.push(child);
            self.nodes[parent].forget(level);
        }
    }
}

impl<T> Default for TopicIndex<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Node<T> {
    fn new() -> Self {
        Self { literals: Children::new(), any: None, here: None, below: None }
    }

    fn is_empty(&self) -> bool {
        self.literals.is_empty()
            && self.any.is_none()
            && self.here.is_none()
            && self.below.is_none()
    }

    fn child(&self, level: &str) -> Option<usize> {
        if level == "+" { self.any } else { self.literals.get(level) }
    }

    fn forget(&mut self, level: &str) {
        if level == "+" {
            self.any = None;
        } else {
            self.literals.remove(level);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::core::topic::{MAX_LEN, TopicName};

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::new(text).unwrap()
    }

    fn found(index: &TopicIndex<usize>, topic: &str) -> Vec<usize> {
        let mut found = Vec::new();
        index.find_all(topic, |value| found.push(*value));
        found.sort_unstable();
        found
    }

    #[test]
    fn wildcards_and_the_dollar_rule() {
        let mut index = TopicIndex::new();
        for (value, text) in
            ["#", "+", "sport/#", "sport", "+/x", "$SYS/#", "/+", "+/+"].iter().enumerate()
        {
            assert_eq!(index.insert(&filter(text), value), None);
        }
        for (topic, expected) in [
            ("sport", &[0, 1, 2, 3][..]),
            ("sport/x", &[0, 2, 4, 7]),
            ("$SYS", &[5]),
            ("$SYS/x", &[5]),
            ("/x", &[0, 4, 6, 7]),
            ("/", &[0, 6, 7]),
        ] {
            assert_eq!(found(&index, topic), expected, "{topic}");
        }
    }

    #[test]
    fn one_filter_is_one_entry() {
        let mut index = TopicIndex::new();
        assert_eq!(index.insert(&filter("a/#"), 1), None);
        assert_eq!(index.insert(&filter("$share/g/a/#"), 2), Some(1));
        assert_eq!(index.get(&filter("a/#")), Some(&2));
        assert_eq!(index.remove(&filter("a")), None);
        assert_eq!(index.remove_if(&filter("a/#"), |_| false), None);
        assert_eq!(index.len(), 1);
        assert_eq!(index.remove(&filter("a/#")), Some(2));
        assert!(index.is_empty() && index.nodes.is_empty());
    }

    #[test]
    fn deep_and_wide_filters_are_safe() {
        let mut index = TopicIndex::new();
        let slashes = "/".repeat(MAX_LEN);
        let pluses = "+/".repeat(MAX_LEN / 2) + "+";
        let level = "x".repeat(MAX_LEN);
        for (value, text) in [&slashes, &pluses, &level].into_iter().enumerate() {
            index.insert(&filter(text), value);
        }
        assert_eq!(found(&index, &slashes), [0]);
        assert_eq!(found(&index, &"/".repeat(MAX_LEN / 2)), [1]);
        assert_eq!(found(&index, &level), [2]);
        assert_eq!(index.remove(&filter(&slashes)), Some(0));
        assert_eq!(index.nodes.len() - index.free.len(), 1 + MAX_LEN / 2 + 1 + 1);
        drop(index);
    }

    #[test]
    fn freed_nodes_are_used_again() {
        let mut index = TopicIndex::new();
        index.insert(&filter("stays"), 0);
        for round in 0..100 {
            index.insert(&filter(&format!("{round}/+/x")), round);
            index.remove(&filter(&format!("{round}/+/x")));
        }
        assert!(index.nodes.len() <= 5);
    }

    #[test]
    fn a_node_that_was_wide_shrinks() {
        let mut index = TopicIndex::new();
        let wide: Vec<_> = (0..1_000).map(|level| filter(&level.to_string())).collect();
        for filter in &wide {
            index.insert(filter, 0);
        }
        for filter in &wide[1..] {
            index.remove(filter);
        }
        assert!(matches!(index.nodes[ROOT].literals, Children::Few(_)));
    }

    fn any_filter() -> impl Strategy<Value = TopicFilter> {
        r"(\$s|[ab]?|\+)(/([ab]?|\+)){0,3}(/#)?"
            .prop_filter_map("a filter", |t| TopicFilter::new(t).ok())
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(
            steps in proptest::collection::vec((any_filter(), any::<bool>(), any::<usize>()), 0..60),
            topics in proptest::collection::vec(r"(\$s|[ab]?)(/[ab]?){0,4}", 20),
        ) {
            let mut index = TopicIndex::new();
            let mut list: Vec<(TopicFilter, usize)> = Vec::new();
            for (filter, insert, value) in steps {
                let at = list.iter().position(|(f, _)| *f == filter);
                let old = at.map(|at| list.swap_remove(at).1);
                if insert {
                    list.push((filter.clone(), value));
                    prop_assert_eq!(index.insert(&filter, value), old);
                } else {
                    prop_assert_eq!(index.remove(&filter), old);
                }
                prop_assert_eq!(index.len(), list.len());
            }
            for topic in topics.iter().filter_map(|t| TopicName::new(t.as_str()).ok()) {
                let mut expected: Vec<_> =
                    list.iter().filter(|(f, _)| f.matches(&topic)).map(|(_, v)| *v).collect();
                expected.sort_unstable();
                prop_assert_eq!(found(&index, topic.as_str()), expected);
            }
            for (filter, value) in list {
                prop_assert_eq!(index.get(&filter), Some(&value));
                prop_assert_eq!(index.remove(&filter), Some(value));
            }
            prop_assert!(index.is_empty() && index.nodes.is_empty() && index.free.is_empty());
        }
    }
}
