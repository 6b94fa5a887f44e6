//! When a table that has emptied after a burst gives its memory back.

/// Below this length nothing is given back: it is not worth a reallocation.
const FLOOR: usize = 64;

/// The largest length of a table since it last gave memory back.
///
/// The table's own `capacity()` cannot be asked: a hash table reports less than it holds while it
/// carries the tombstones of removed entries.
#[derive(Debug, Default)]
pub(super) struct HighWater {
    mark: usize,
}

impl HighWater {
    /// Call after every insertion.
    pub(super) fn raise(&mut self, len: usize) {
        self.mark = self.mark.max(len);
    }

    /// Call after every removal; `Some(capacity)` says to shrink to that capacity.
    ///
    /// A table shrinks when less than a quarter of the mark is left, so at least three quarters of
    /// it were removed since the last time: the cost per removal is constant.
    pub(super) fn lower(&mut self, len: usize) -> Option<usize> {
        if self.mark <= FLOOR || len >= self.mark / 4 {
            return None;
        }
        self.mark = len;
        Some(FLOOR.max(2 * len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinks_below_a_quarter_of_the_mark() {
        let mut high_water = HighWater::default();
        high_water.raise(1000);
        assert_eq!(high_water.lower(250), None);
        assert_eq!(high_water.lower(249), Some(498));
        assert_eq!(high_water.lower(248), None, "the mark came down with the shrink");
    }

    #[test]
    fn a_small_table_keeps_its_memory() {
        let mut high_water = HighWater::default();
        high_water.raise(FLOOR);
        assert_eq!(high_water.lower(0), None);
        high_water.raise(FLOOR + 1);
        assert_eq!(high_water.lower(0), Some(FLOOR));
    }
}
