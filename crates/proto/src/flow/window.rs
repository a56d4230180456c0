//! What of a flow's direction has come already, so that no datagram is delivered twice.
//!
//! A ring of words as in RFC 6479: the word of the highest sequence seen is the newest, and what is older
//! than the ring remembers counts as seen.

/// How many words there are. Two conduits carry datagrams of one flow only around a switch, so what is
/// overtaken was under way on one of them: 1,024 datagrams are a megabyte and more in packets of usual size.
const WORDS: usize = 16;

const BITS: u64 = u64::BITS as u64;

/// The sequences of one direction that were seen. They only grow, and may begin anywhere.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Window {
    /// The number of the newest word.
    newest: u64,
    seen: [u64; WORDS],
}

impl Window {
    /// Whether `sequence` comes for the first time.
    pub(super) fn admit(&mut self, sequence: u64) -> bool {
        let word = sequence / BITS;
        if word > self.newest {
            for passed in (self.newest + 1..=word).rev().take(WORDS) {
                *self.word(passed) = 0;
            }
            self.newest = word;
        }
        if self.newest - word >= WORDS as u64 {
            return false;
        }
        let bit = 1 << (sequence % BITS);
        let seen = self.word(word);
        let first = *seen & bit == 0;
        *seen |= bit;
        first
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the remainder is less than WORDS"
    )]
    const fn word(&mut self, number: u64) -> &mut u64 {
        &mut self.seen[(number % WORDS as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const SPAN: u64 = WORDS as u64 * BITS;

    #[test]
    fn what_is_older_than_the_window_counts_as_seen() {
        let mut window = Window::default();
        assert!(window.admit(10 * SPAN));
        assert!(!window.admit(9 * SPAN), "too old to be known");
        assert!(window.admit(9 * SPAN + BITS), "the oldest that is known");
        assert!(!window.admit(9 * SPAN + BITS));
    }

    #[test]
    fn a_jump_forgets_no_more_than_it_passes() {
        let mut window = Window::default();
        assert!(window.admit(BITS));
        assert!(window.admit(SPAN));
        assert!(!window.admit(BITS), "still within the window");
        assert!(window.admit(u64::MAX));
        assert!(!window.admit(u64::MAX));
        assert!(window.admit(u64::MAX - 1));
    }

    proptest! {
        #[test]
        fn nothing_is_admitted_twice_and_what_is_near_is_admitted_once(
            start in 0..u64::MAX / 2,
            offsets in proptest::collection::vec(0..3 * SPAN, 1..400),
        ) {
            let mut window = Window::default();
            let mut seen = BTreeSet::new();
            for sequence in offsets.into_iter().map(|offset| start + offset) {
                let newest = seen.last().copied().unwrap_or(0);
                let near = sequence + SPAN - BITS > newest;
                let admitted = window.admit(sequence);
                prop_assert!(!(admitted && seen.contains(&sequence)));
                prop_assert!(admitted || seen.contains(&sequence) || !near);
                seen.insert(sequence);
            }
        }
    }
}
