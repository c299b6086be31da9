//! The code map of ARCHITECTURE.md against the tree: each names what the other has.

use std::collections::BTreeSet;

use super::{Finding, SourceFile};

const MAP: &str = "ARCHITECTURE.md";
/// A heading over a table whose files lie in that folder: ``### `core/`: the scheduler``.
const HEADING: &str = "### ";

/// Source files that the map leaves out, and files of the map that are gone.
pub(super) fn code_map(files: &[SourceFile]) -> Vec<Finding> {
    let Some(map) = files.iter().find(|file| file.path == MAP) else {
        return Vec::new();
    };
    let named = named_paths(map);
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        if !named.iter().any(|(_, named)| is_under(&file.path, named)) {
            findings.push(file.finding(1, format!("not in the code map of {MAP}")));
        }
    }
    let exists = |named: &str| files.iter().any(|file| is_under(&file.path, named));
    let gone = named
        .iter()
        .filter(|(_, named)| named.ends_with(".rs") && !exists(named));
    findings.extend(gone.map(|(line, named)| map.finding(*line, format!("there is no {named}"))));
    findings
}

/// Whether a file is the named one, or lies in the named folder.
fn is_under(path: &str, named: &str) -> bool {
    path == named || named.ends_with('/') && path.starts_with(named)
}

/// What the first column of the map's tables names, from the root, with its line.
fn named_paths(map: &SourceFile) -> BTreeSet<(usize, String)> {
    let mut folder = "";
    let mut named = BTreeSet::new();
    for (number, line) in map.lines() {
        if let Some(heading) = line.strip_prefix(HEADING) {
            let first = heading
                .strip_prefix('`')
                .and_then(|rest| rest.split('`').next());
            folder = first.unwrap_or_default();
        } else if let Some(row) = line.strip_prefix("| `") {
            let path = row.split('`').next().unwrap_or_default();
            named.insert((number, format!("{folder}{path}")));
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    #[test]
    fn a_file_that_the_map_leaves_out_and_one_that_is_gone_are_found() {
        let map = "### `core/`: the scheduler\n\n| file | holds |\n| `src/lib.rs` | overview |\n\
                   | `src/gone.rs` | nothing |\n### Tests\n| `core/tests/` | tests |\n";
        let files = [
            file(MAP, map),
            file("core/src/lib.rs", ""),
            file("core/src/new.rs", ""),
            file("core/tests/any.rs", ""),
            file("core/README.md", ""),
        ];
        let findings = code_map(&files);
        let places: Vec<_> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            places,
            [
                "core/src/new.rs:1: not in the code map of ARCHITECTURE.md",
                "ARCHITECTURE.md:5: there is no core/src/gone.rs"
            ]
        );
    }

    #[test]
    fn a_tree_without_a_map_has_no_findings() {
        assert_eq!(code_map(&[file("core/src/lib.rs", "")]), []);
    }
}
