//! Numbers that look random and are the same for the same seed: splitmix64.

use std::time::Duration;

/// A seeded generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, 0 if that is 0. The slight preference for small ones does not matter.
    pub const fn below(&mut self, bound: u64) -> u64 {
        match self.next().checked_rem(bound) {
            Some(number) => number,
            None => 0,
        }
    }

    /// True in `percent` of 100 cases.
    pub const fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A duration from nothing to `most`, each order of magnitude as likely as the others.
    pub fn duration(&mut self, most: Duration) -> Duration {
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        let magnitude = self.below(u64::from(64 - micros.leading_zeros()) + 1);
        let bound = 1_u64.checked_shl(u32::try_from(magnitude).unwrap_or(63));
        Duration::from_micros(self.below(bound.unwrap_or(micros)).min(micros))
    }

    /// One of `all`, if there are any.
    pub fn pick<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        let index = usize::try_from(self.below(all.len() as u64)).unwrap_or(0);
        all.get(index).copied()
    }
}

/// Spreads a number over all 64 bits.
pub(crate) const fn mix(number: u64) -> u64 {
    let mut word = number;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
