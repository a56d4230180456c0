//! What docs/spec says of each step, and whether that is well formed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use handover_proto::step::{Sequence, Step};

/// The files with a heading a step.
const FILES: [&str; 2] = ["planned.md", "unexpected.md"];

/// What a step does here by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Something of its own.
    Own,
    /// Nothing that another act does not do already: which.
    FulfilledBy(String),
    /// Nothing, before that issue is done.
    ComesWith(String),
}

/// What is written under the heading of a step.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) effect: Effect,
    pub(crate) deviates: bool,
}

/// All that docs/spec says.
///
/// # Errors
///
/// A sentence that says what is wrong with it.
pub(crate) fn read() -> Result<BTreeMap<Step, Entry>, String> {
    let mut entries = BTreeMap::new();
    for file in FILES {
        let text = read_file(&root().join("docs/spec").join(file))?;
        for section in text.split("\n### ").skip(1) {
            let (heading, body) = section.split_once('\n').unwrap_or((section, ""));
            let step = Step::all()
                .find(|step| file_of(*step) == file && heading == heading_of(*step))
                .ok_or_else(|| format!("docs/spec/{file}: \"{heading}\" is no step of it"))?;
            let entry =
                read_entry(body).map_err(|why| format!("docs/spec/{file}: {step} {why}"))?;
            if entries.insert(step, entry).is_some() {
                return Err(format!("docs/spec/{file}: {step} is there twice"));
            }
        }
    }
    Ok(entries)
}

fn read_entry(body: &str) -> Result<Entry, String> {
    let body = body.split("\n## ").next().unwrap_or(body);
    let unwrapped = |one: &str| one.split_whitespace().collect::<Vec<_>>().join(" ");
    let paragraphs = body.split("\n\n").map(unwrapped);
    let mut paragraphs = paragraphs.filter(|one| !one.is_empty());
    let sentence = paragraphs.next().unwrap_or_default();
    let whole = sentence.ends_with('.') && sentence.matches(". ").count() == 0;
    if !whole || sentence.matches("MUST").count() != 1 {
        return Err("does not begin with one sentence that has one MUST".to_owned());
    }
    let mut entry = Entry {
        effect: Effect::Own,
        deviates: false,
    };
    for paragraph in paragraphs {
        if paragraph.starts_with("Deviation: ") {
            entry.deviates = true;
        } else if let Some(by) = paragraph.strip_prefix("Fulfilled by: ") {
            let act = by.split(". ").next().unwrap_or(by);
            entry.effect = Effect::FulfilledBy(act.trim_end_matches('.').to_owned());
        } else if paragraph.starts_with("No effect yet: ") {
            let (_, issue) = paragraph
                .split_once(" Comes with: ")
                .ok_or("has no effect, and does not say what it comes with")?;
            entry.effect = Effect::ComesWith(issue.trim_end_matches('.').to_owned());
        } else {
            return Err(format!("has a paragraph of no kind: {paragraph}"));
        }
    }
    Ok(entry)
}

/// What a link to a step is.
pub(crate) fn target_of(step: Step) -> String {
    format!("docs/spec/{}#{}", file_of(step), id_of(step))
}

fn heading_of(step: Step) -> String {
    format!("{step} {{#{}}}", id_of(step))
}

fn id_of(step: Step) -> String {
    let number = step.number();
    match step.sequence() {
        Sequence::Cnapt => format!("cnapt-{number:02}"),
        Sequence::Snapt => format!("snapt-{number:02}"),
        Sequence::CnaptStar => format!("cnapt-star-{number:02}"),
        Sequence::SnaptStar => format!("snapt-star-{number:02}"),
        // Ours, which docs/spec tells and no annotation names.
        Sequence::CnaptOverlapped => format!("cnapt-overlapped-{number:02}"),
        Sequence::SnaptOverlapped => format!("snapt-overlapped-{number:02}"),
    }
}

const fn file_of(step: Step) -> &'static str {
    match step.sequence() {
        Sequence::Cnapt | Sequence::Snapt => FILES[0],
        Sequence::CnaptStar
        | Sequence::SnaptStar
        | Sequence::CnaptOverlapped
        | Sequence::SnaptOverlapped => FILES[1],
    }
}

/// The workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn read_file(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
