//! The program's exit statuses and what it prints.

use std::process::{Command, Output};

/// One that is explored at once.
const SMALL_WORLD: &[&str] = &[
    "model",
    "--restarts",
    "0",
    "--deaths",
    "0",
    "--streams",
    "1",
];

fn run(arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_handover-sim"))
        .args(arguments)
        .output()
}

#[test]
fn trials_that_hold_end_with_0_and_their_coverage() -> std::io::Result<()> {
    let output = run(&["--from", "11", "--seeds", "4"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.starts_with("4 seeds from 11, ") && text.contains("CNAPT-13"),
        "{text}"
    );
    Ok(())
}

#[test]
fn four_trials_do_not_cover_everything_and_fail_if_they_must() -> std::io::Result<()> {
    let output = run(&["--seeds", "4", "--require-coverage"])?;
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}

#[test]
fn a_trace_is_of_one_seed() -> std::io::Result<()> {
    assert_eq!(run(&["--seeds", "2", "--trace"])?.status.code(), Some(2));
    let output = run(&["--from", "3", "--seeds", "1", "--trace"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    assert!(text.starts_with("seed 3\nnetwork 0: ") && text.contains(" CNAPT  waits: attached"));
    Ok(())
}

#[test]
fn a_small_world_is_explored_to_its_end() -> std::io::Result<()> {
    let output = run(SMALL_WORLD)?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains(" states, ") && text.contains("steps that no path takes: SNAPT-0*"));
    // Without a death SNAPT-0* is not taken, and with so few states it is not the whole.
    for more in [&["--require-steps"][..], &["--most", "100"]] {
        let output = run(&[SMALL_WORLD, more].concat())?;
        assert_eq!(output.status.code(), Some(1), "{more:?}");
    }
    Ok(())
}

#[test]
fn a_counterexample_is_told_and_fails() -> std::io::Result<()> {
    let output = run(&[SMALL_WORLD, &["--without", "MarkersLost"]].concat())?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("Snapt reads") && text.contains("counterexample after "),
        "{text}"
    );
    assert_eq!(
        run(&["model", "--without", "Nonsense"])?.status.code(),
        Some(2)
    );
    Ok(())
}

#[test]
fn a_trial_that_breaks_is_cut_down_and_fails() -> std::io::Result<()> {
    let output = run(&["--seeds", "60", "--without", "FinForgotten"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(" breaks ") && text.contains("its script, cut down from "),
        "{text}"
    );
    Ok(())
}
