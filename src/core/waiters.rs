//! The waiters of one entry, handed out when the entry ends.

use std::iter::FusedIterator;
use std::vec;

/// The waiters of one entry, in the order in which they came.
///
/// The usual single waiter is held inline, without an allocation. Waiters that are not taken are
/// dropped with the iterator.
#[derive(Debug)]
#[must_use = "dropping it drops the waiters, unanswered"]
pub struct Waiters<T> {
    first: Option<T>,
    rest: vec::IntoIter<T>,
}

impl<T> Waiters<T> {
    pub(super) fn none() -> Self {
        Self { first: None, rest: Vec::new().into_iter() }
    }

    pub(super) fn new(first: T, rest: Vec<T>) -> Self {
        Self { first: Some(first), rest: rest.into_iter() }
    }
}

impl<T> Iterator for Waiters<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.first.take().or_else(|| self.rest.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.first.is_some()) + self.rest.len();
        (left, Some(left))
    }
}

impl<T> ExactSizeIterator for Waiters<T> {}
impl<T> FusedIterator for Waiters<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yields_the_first_then_the_rest() {
        let waiters = Waiters::new('a', vec!['b', 'c']);
        assert_eq!(waiters.len(), 3);
        assert_eq!(waiters.collect::<String>(), "abc");
        assert_eq!(Waiters::<char>::none().len(), 0);
    }
}
