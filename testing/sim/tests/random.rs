//! Anything, in any order, from a seed: see [`handover_sim::Script`].

use handover_sim::{Coverage, Script};

/// Enough to come across every kind of switch and loss many times, in a few seconds.
const SEEDS: u64 = 300;

#[test]
fn whatever_happens_in_any_order_everything_arrives() {
    let mut coverage = Coverage::default();
    for seed in 0..SEEDS {
        match Script::of_seed(seed).play() {
            Ok(one) => coverage.add(&one),
            Err(broken) => panic!("seed {seed} {broken}"),
        }
    }
    assert!(coverage.planned > 0 && coverage.starred > 0 && coverage.failed > 0);
    assert!(coverage.sessions_lost > 0 && coverage.disturbed > 0);
    assert!(coverage.streams > coverage.disturbed);
}
