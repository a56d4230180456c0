//! The ids that the other side has opened, as intervals above a floor.
//!
//! An id that was seen never runs a request again, however late a duplicate OPEN comes (design rule
//! 7). The opener raises the floor over ids that it has forgotten, so the set stays small: its size is
//! bounded by the number of streams that are alive, each of which can part two intervals.

use std::collections::BTreeMap;

/// A set of indices that grows almost in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    floor: u64,
    /// First and last of each interval, disjoint and not adjacent.
    intervals: BTreeMap<u64, u64>,
}

impl Seen {
    pub(crate) fn contains(&self, index: u64) -> bool {
        index < self.floor
            || self
                .intervals
                .range(..=index)
                .next_back()
                .is_some_and(|(_, last)| index <= *last)
    }

    pub(crate) fn insert(&mut self, index: u64) {
        if self.contains(index) {
            return;
        }
        let mut first = index;
        let mut last = index;
        if let Some((before, end)) = self.intervals.range(..index).next_back()
            && *end + 1 == index
        {
            first = *before;
        }
        if let Some(end) = self.intervals.remove(&(index + 1)) {
            last = end;
        }
        self.intervals.insert(first, last);
    }

    /// Everything below `floor` counts as seen.
    pub(crate) fn raise_floor(&mut self, floor: u64) {
        if floor <= self.floor {
            return;
        }
        self.floor = floor;
        while let Some(entry) = self.intervals.first_entry()
            && *entry.key() < floor
        {
            let last = entry.remove();
            if last >= floor {
                self.intervals.insert(floor, last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_merge_and_the_floor_swallows_them() {
        let mut seen = Seen::default();
        for index in [0, 2, 4, 1, 3] {
            assert!(!seen.contains(index));
            seen.insert(index);
            assert!(seen.contains(index));
        }
        assert_eq!(seen.intervals.len(), 1);
        seen.insert(9);
        seen.raise_floor(3);
        assert!(seen.contains(0) && seen.contains(4) && seen.contains(9) && !seen.contains(5));
        seen.raise_floor(7);
        assert!(seen.contains(5) && seen.contains(9) && !seen.contains(8));
        seen.raise_floor(6);
        assert!(seen.contains(6), "the floor never sinks");
    }
}
