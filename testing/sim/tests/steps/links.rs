//! The links to the steps: from the code that gives a step its effect, and from the tests that would miss it.
//!
//! A link is a comment of its own line, `//= docs/spec/planned.md#cnapt-07`. It belongs to the function that it
//! stands in or before. `//= type=test` behind one or several makes them a test's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use handover_proto::step::Step;

use crate::spec::{read_file, root, target_of};

/// Where a step is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// From the workspace on.
    pub(crate) file: String,
    pub(crate) function: String,
}

/// The links to each step.
#[derive(Debug, Default)]
pub(crate) struct Links {
    pub(crate) code: BTreeMap<Step, Vec<Place>>,
    pub(crate) tests: BTreeMap<Step, Vec<Place>>,
}

/// All links.
///
/// # Errors
///
/// If one leads nowhere.
pub(crate) fn read() -> Result<Links, String> {
    let targets = Step::all().map(|step| (target_of(step), step)).collect();
    let mut links = Links::default();
    let mut files = Vec::new();
    for folder in ["crates", "testing"] {
        find_sources(&root().join(folder), &mut files)?;
    }
    files.sort();
    for file in files {
        let name = file
            .strip_prefix(root())
            .unwrap_or(&file)
            .display()
            .to_string();
        read_source(&name, &read_file(&file)?, &targets, &mut links)?;
    }
    Ok(links)
}

fn find_sources(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            find_sources(&path, files)?;
        } else if path.extension().is_some_and(|one| one == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn read_source(
    file: &str,
    text: &str,
    targets: &BTreeMap<String, Step>,
    links: &mut Links,
) -> Result<(), String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for (index, line) in lines.iter().enumerate() {
        let Some(target) = line
            .strip_prefix("//= ")
            .filter(|one| !one.starts_with("type="))
        else {
            continue;
        };
        let place = format!("{file}:{}", index + 1);
        let step = targets
            .get(target)
            .ok_or_else(|| format!("{place}: {target} is no step"))?;
        let function = function_at(&lines, index)
            .ok_or_else(|| format!("{place}: the link is at no function"))?;
        let place = Place {
            file: file.to_owned(),
            function: function.to_owned(),
        };
        let behind = lines[index..]
            .iter()
            .find(|line| !line.starts_with("//= docs/"));
        let of_kind = if behind == Some(&"//= type=test") {
            &mut links.tests
        } else {
            &mut links.code
        };
        of_kind.entry(*step).or_default().push(place);
    }
    Ok(())
}

/// The function that the comment at `index` stands before, else the one that it stands in.
fn function_at<'a>(lines: &[&'a str], index: usize) -> Option<&'a str> {
    let (above, below) = lines.split_at(index);
    let next = below
        .iter()
        .find(|line| !line.starts_with("//") && !line.starts_with("#["));
    let before = next.and_then(|line| function_name(line));
    before.or_else(|| above.iter().rev().find_map(|line| function_name(line)))
}

fn function_name(line: &str) -> Option<&str> {
    if line.starts_with("//") {
        return None;
    }
    let (before, after) = line.split_once("fn ")?;
    let declares = before.is_empty() || before.ends_with(' ');
    let name = after.split(['(', '<']).next()?;
    (declares && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_belongs_to_the_function_that_it_stands_before_or_in() {
        let text = "fn first() {\n//= a\nact();\n}\n\n//= b\n#[test]\npub(crate) fn second<T>() {}";
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(function_at(&lines, 1), Some("first"));
        assert_eq!(function_at(&lines, 5), Some("second"));
    }

    #[test]
    fn several_links_may_be_of_one_test() -> Result<(), String> {
        let targets = Step::all().map(|step| (target_of(step), step)).collect();
        let (first, second) = (Step::cnapt(1), Step::snapt_star(0));
        let text = format!(
            "//= {}\n//= {}\n//= type=test\nfn test() {{\n//= {}\nact();\n}}",
            target_of(first),
            target_of(second),
            target_of(second)
        );
        let mut links = Links::default();
        read_source("a.rs", &text, &targets, &mut links)?;
        assert_eq!(links.tests.keys().collect::<Vec<_>>(), [&first, &second]);
        assert_eq!(links.code.keys().collect::<Vec<_>>(), [&second]);
        Ok(())
    }

    #[test]
    fn a_link_that_leads_nowhere_is_refused() {
        let text = "fn first() {\n//= docs/spec/planned.md#cnapt-35\n}";
        let refused = read_source("a.rs", text, &BTreeMap::new(), &mut Links::default());
        assert_eq!(
            refused,
            Err("a.rs:2: docs/spec/planned.md#cnapt-35 is no step".to_owned())
        );
    }
}
