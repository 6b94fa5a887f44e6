//! A part of a long list, without a copy of the whole.

use std::collections::BTreeMap;

use super::call::DeviceState;

/// Product and device.
pub(crate) type Name<'a> = (&'a str, &'a str);

/// Which devices are wanted: so many, in the order of their names.
pub(crate) struct Wanted<'a> {
    pub(crate) limit: usize,
    pub(crate) is: &'a dyn Fn(Name<'_>) -> bool,
}

/// The first of them.
#[derive(Debug)]
pub(crate) struct Listed<T = DeviceState> {
    pub(crate) first: Vec<T>,
    /// How many come behind.
    pub(crate) left: usize,
}

impl Wanted<'_> {
    /// The first of these by name, where each has another.
    pub(crate) fn first<'n, T>(
        &self,
        all: impl Iterator<Item = (Name<'n>, T)>,
    ) -> Listed<(Name<'n>, T)> {
        let mut first = BTreeMap::new();
        let mut left = 0;
        for (name, value) in all.filter(|(name, _)| (self.is)(*name)) {
            first.insert(name, value);
            if first.len() > self.limit {
                first.pop_last();
                left += 1;
            }
        }
        Listed { first: first.into_iter().collect(), left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_by_name_are_listed_and_the_others_counted() {
        let all = [("b", "x"), ("a", "z"), ("a", "b"), ("c", "x"), ("a", "y")];
        let listed = |limit| {
            let wanted = Wanted { limit, is: &|(_, device)| device != "b" };
            let Listed { first, left } = wanted.first(all.into_iter().zip(1..));
            (first, left)
        };
        assert_eq!(listed(2), (vec![(("a", "y"), 5), (("a", "z"), 2)], 2));
        assert_eq!(listed(4).0.len(), 4);
        assert_eq!((listed(5).0.len(), listed(5).1), (4, 0));
        assert_eq!(listed(0), (vec![], 4));
    }
}
