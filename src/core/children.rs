//! The literal levels below one node of a tree of levels.

use std::collections::HashMap;

/// As many are compared one by one in less time than a text is hashed.
const FEW: usize = 8;

/// A map from the text of a level to a node.
#[derive(Clone, Debug)]
pub(super) enum Children {
    Few(Vec<(Box<str>, usize)>),
    Many(HashMap<Box<str>, usize>),
}

impl Children {
    /// None. Allocates nothing.
    pub(super) const fn new() -> Self {
        Self::Few(Vec::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    pub(super) fn get(&self, level: &str) -> Option<usize> {
        match self {
            Self::Few(few) => {
                few.iter().find_map(|(text, node)| (**text == *level).then_some(*node))
            }
            Self::Many(many) => many.get(level).copied(),
        }
    }

    /// The level must not be there yet.
    pub(super) fn insert(&mut self, level: Box<str>, node: usize) {
        match self {
            Self::Few(few) if few.len() < FEW => few.push((level, node)),
            Self::Few(few) => {
                let all = few.drain(..).chain([(level, node)]);
                *self = Self::Many(all.collect());
            }
            Self::Many(many) => {
                many.insert(level, node);
            }
        }
    }

    pub(super) fn remove(&mut self, level: &str) {
        match self {
            Self::Few(few) => few.retain(|(text, _)| **text != *level),
            Self::Many(many) => {
                many.remove(level);
                // Half of what made it a map, so that it is not made again with the next one.
                if many.len() <= FEW / 2 {
                    *self = Self::Few(many.drain().collect());
                } else if many.len() * 4 < many.capacity() {
                    many.shrink_to(many.len() * 2);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_map(steps in prop::collection::vec((0_usize..24, any::<bool>()), 0..200)) {
            let mut children = Children::new();
            let mut map = HashMap::new();
            for (node, add) in steps {
                let level = node.to_string();
                if !add {
                    children.remove(&level);
                    map.remove(&level);
                } else if map.insert(level.clone(), node).is_none() {
                    children.insert(level.into(), node);
                }
                prop_assert_eq!(children.is_empty(), map.is_empty());
                for node in 0..24 {
                    let level = node.to_string();
                    prop_assert_eq!(children.get(&level), map.get(&level).copied());
                }
            }
        }

        #[test]
        fn memory_is_given_back(count in 0_usize..1000) {
            let mut children = Children::new();
            for node in 0..count {
                children.insert(node.to_string().into(), node);
            }
            for node in 1..count {
                children.remove(&node.to_string());
            }
            prop_assert!(matches!(&children, Children::Few(few) if few.capacity() <= 2 * FEW));
        }
    }
}
