//! Anything, in any order, from a seed: see [`handover_sim::Script`].

use std::time::Duration;

use handover_sim::{Broken, Coverage, Script};

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
    assert!(coverage.shortest >= Some(Duration::from_secs(60)));
    assert!(coverage.fewest_streams >= Some(3) && coverage.fewest_faults >= Some(2));
    assert!(coverage.overlapped > 0 && coverage.rescues > 0);
}

#[test]
fn a_seed_is_the_same_trial_every_time() {
    for seed in 0..5 {
        let (lines, outcome) = Script::of_seed(seed).trace();
        assert!(lines.len() > 100);
        assert_eq!((lines, outcome), Script::of_seed(seed).trace());
    }
}

#[test]
fn any_part_of_a_script_is_a_script() -> Result<(), Broken> {
    for seed in 0..20 {
        for rest in 0..3 {
            let mut script = Script::of_seed(seed);
            let mut index = 0;
            script.entries.retain(|_| {
                index += 1;
                index % 3 == rest
            });
            script.play()?;
        }
    }
    Ok(())
}

#[test]
fn a_script_that_breaks_is_cut_down_to_what_it_needs() {
    let mut script = Script::of_seed(5);
    assert!(script.clone().shrink().is_none(), "it breaks nothing");
    // A world without any network never comes to its end, whatever happens in it.
    script.networks.clear();
    let shrunk = script.shrink().expect("it breaks");
    assert_eq!(shrunk.script.entries.len(), 0);
    assert_eq!(shrunk.script.lasts, Duration::ZERO);
    assert!(shrunk.broken.what.contains("calm"));
}
