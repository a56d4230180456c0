//! docs/spec/coverage.txt: where each step is, what there is to say of it, and which tests would miss it.
//!
//! The tests come last, where they need no width: some have long names.

use std::collections::BTreeMap;

use handover_proto::step::Step;

use crate::links::{Links, Place};
use crate::spec::{Effect, Entry};

/// The whole file: an aligned line for each step.
pub(crate) fn render(entries: &BTreeMap<Step, Entry>, links: &Links) -> String {
    let mut rows = vec![["step", "where", "note", "tests"].map(str::to_owned)];
    for step in Step::all() {
        rows.push([
            step.to_string(),
            places(links.code.get(&step)),
            entries.get(&step).map(note).unwrap_or_default(),
            places(links.tests.get(&step)),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let [first, second, third] = [width(0), width(1), width(2)];
    let lines = rows.iter().map(|[step, code, note, tests]| {
        let line = format!("{step:first$} | {code:second$} | {note:third$} | {tests}");
        line.trim_end().to_owned() + "\n"
    });
    lines.collect()
}

/// `file: function, function; file: function`, without the folders that are the same for all.
fn places(places: Option<&Vec<Place>>) -> String {
    let mut by_file: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for place in places.into_iter().flatten() {
        let functions = by_file.entry(&place.file).or_default();
        if !functions.contains(&place.function.as_str()) {
            functions.push(&place.function);
        }
    }
    let files: Vec<String> = by_file
        .iter()
        .map(|(file, functions)| format!("{}: {}", short(file), functions.join(", ")))
        .collect();
    files.join("; ")
}

fn short(file: &str) -> String {
    let parts = file.split('/');
    let telling = parts.filter(|part| !["crates", "testing", "src", "tests"].contains(part));
    telling.collect::<Vec<_>>().join("/")
}

fn note(entry: &Entry) -> String {
    match &entry.effect {
        Effect::Own if entry.deviates => "deviates".to_owned(),
        Effect::Own => String::new(),
        Effect::FulfilledBy(act) => format!("fulfilled by {act}"),
        Effect::ComesWith(issue) => format!("effect comes with: {issue}"),
    }
}
