//! The spec's two ladders, to compare `handover trace` with.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A run of steps of one side: `CNAPT`, first, last.
type Run = (&'static str, u8, u8);

/// The planned switch, in the spec's own sequence.
const PLANNED: [Run; 11] = [
    ("CNAPT", 1, 11),
    ("SNAPT", 1, 10),
    ("CNAPT", 12, 14),
    ("SNAPT", 11, 12),
    ("CNAPT", 15, 19),
    ("SNAPT", 13, 16),
    ("CNAPT", 20, 30),
    ("SNAPT", 17, 20),
    ("CNAPT", 31, 33),
    ("SNAPT", 21, 23),
    ("CNAPT", 34, 34),
];

/// The unexpected switch; before it comes SNAPT-0* if the SNAPT saw its connection end.
const STARRED: [Run; 5] = [
    ("CNAPT", 1, 18),
    ("SNAPT", 1, 12),
    ("CNAPT", 19, 21),
    ("SNAPT", 13, 16),
    ("CNAPT", 22, 23),
];

/// The overlapped switch, which is ours.
const OVERLAPPED: [Run; 3] = [("CNAPT", 1, 7), ("SNAPT", 1, 5), ("CNAPT", 8, 8)];

/// The names of the steps of a trace, in order.
pub fn steps(trace: &Value) -> Result<Vec<String>> {
    let steps = trace["steps"]
        .as_array()
        .context("the trace has no steps")?;
    let names = steps.iter().filter_map(|step| step["step"].as_str());
    Ok(names.map(str::to_owned).collect())
}

/// Fails unless the trace is the planned switch, step by step.
pub fn ensure_planned(trace: &Value) -> Result<()> {
    ensure_equal(&steps(trace)?, &expand(&PLANNED, ""))
}

/// Fails unless the trace is the overlapped switch, step by step.
pub fn ensure_overlapped(trace: &Value) -> Result<()> {
    ensure_equal(&steps(trace)?, &expand(&OVERLAPPED, "+"))
}

/// Fails unless the trace is the unexpected switch, step by step.
pub fn ensure_starred(trace: &Value) -> Result<()> {
    let mut taken = steps(trace)?;
    taken.retain(|step| step != "SNAPT-0*");
    ensure_equal(&taken, &expand(&STARRED, "*"))
}

fn expand(runs: &[Run], star: &str) -> Vec<String> {
    let steps = runs.iter().flat_map(|(side, first, last)| {
        (*first..=*last).map(move |number| format!("{side}-{number}{star}"))
    });
    steps.collect()
}

fn ensure_equal(taken: &[String], spec: &[String]) -> Result<()> {
    let (taken, spec) = (taken.join(" "), spec.join(" "));
    ensure!(
        taken == spec,
        "the steps were\n  {taken}\nthe spec has\n  {spec}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladders_have_all_steps_but_the_optional_one() {
        assert_eq!(expand(&PLANNED, "").len(), 57);
        assert_eq!(expand(&STARRED, "*").len(), 39);
    }

    #[test]
    fn a_step_out_of_order_is_found() {
        let mut taken = expand(&PLANNED, "");
        taken.swap(3, 4);
        assert!(ensure_equal(&taken, &expand(&PLANNED, "")).is_err());
    }
}
