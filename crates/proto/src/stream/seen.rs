//! The ids that the other side has opened, as intervals above a floor.
//!
//! An id that was seen never runs a request again, however late a duplicate OPEN comes (design rule
//! 7). The opener raises the floor over ids that it has forgotten, so the set stays small, unless the
//! opener lets one stream live for ever and never sends most of the others. That has a bound here: beyond
//! it the lowest ids that never came count as seen.

use std::collections::BTreeMap;

use super::STREAMS;

/// Each stream that the opener may have alive can part two intervals; twice as many leave room for ids that
/// it gave out and never sent, because their applications were gone before a network was there.
const INTERVALS: usize = 2 * STREAMS as usize;

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
        if self.intervals.len() > INTERVALS
            && let Some(second) = self.intervals.keys().nth(1).copied()
        {
            self.raise_floor(second);
        }
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
    fn ids_with_holes_between_them_stay_within_the_bound() {
        let mut seen = Seen::default();
        let most = 2 * INTERVALS as u64;
        for index in 0..=most {
            seen.insert(2 * index);
        }
        assert_eq!(seen.intervals.len(), INTERVALS);
        assert!(seen.contains(1), "the oldest hole counts as seen");
        assert!(!seen.contains(2 * most - 1), "the youngest does not");
        assert!(seen.contains(2 * most));
    }

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
