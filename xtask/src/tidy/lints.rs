//! One function per rule. Each has a test with an input that must be found.

use std::collections::BTreeSet;

use super::words::contains_word;
use super::{Finding, SourceFile};

const COLUMNS_MAX: usize = 100;
const LINES_MAX: usize = 900;

/// Lines of Rust are at most 100 columns wide, also comments and strings, which rustfmt leaves.
pub(super) fn line_length(file: &SourceFile) -> Vec<Finding> {
    if !file.is_rust() {
        return Vec::new();
    }
    // Neither a link nor the row of a table can be broken.
    let is_exempt = |line: &str| line.contains("://") || is_table_row(line);
    let too_long = |line: &str| line.chars().count() > COLUMNS_MAX && !is_exempt(line);
    file.lines()
        .filter(|(_, line)| too_long(line))
        .map(|(number, line)| {
            let columns = line.chars().count();
            file.finding(number, format!("{columns} columns, at most {COLUMNS_MAX}"))
        })
        .collect()
}

/// Whether a comment holds a row of a Markdown table: `//! | a | b |`.
fn is_table_row(line: &str) -> bool {
    let comment = line.trim_start().strip_prefix("//");
    comment.is_some_and(|text| text.trim_start_matches(['/', '!', ' ']).starts_with('|'))
}

/// A file has one subject; 900 lines never do.
pub(super) fn file_length(file: &SourceFile) -> Option<Finding> {
    let lines = file.text.lines().count();
    let too_long = file.is_rust() && lines > LINES_MAX;
    too_long.then(|| {
        file.finding(
            lines,
            format!("{lines} lines, at most {LINES_MAX}: split it"),
        )
    })
}

/// No line ends in spaces. (In Markdown two of them mean a line break: write one otherwise.)
pub(super) fn trailing_space(file: &SourceFile) -> Vec<Finding> {
    let untrimmed = file.lines().filter(|(_, line)| line.ends_with([' ', '\t']));
    untrimmed
        .map(|(number, _)| file.finding(number, "space at the end of the line"))
        .collect()
}

/// Every Rust file opens by saying what it is.
pub(super) fn module_doc(file: &SourceFile) -> Option<Finding> {
    let opens_with_doc = || {
        file.text
            .lines()
            .next()
            .is_some_and(|line| line.starts_with("//!"))
    };
    let missing = file.is_rust() && !opens_with_doc();
    missing.then(|| file.finding(1, "does not open with a module doc"))
}

/// Crates whose `unsafe` is confined to [`UNSAFE_FILES`].
const SAFE_CRATES: &[&str] = &[
    "core/src/",
    "dispatcher/src/",
    "protocol/src/",
    "controller/src/",
    "xtask/src/",
];
const UNSAFE_FILES: &[&str] = &[
    "dispatcher/src/ring.rs",
    "dispatcher/src/pool.rs",
    "dispatcher/src/payload.rs",
];

/// Apart from crates that call C, `unsafe` stands in three files that are read with more care.
pub(super) fn unsafe_places(file: &SourceFile) -> Vec<Finding> {
    let is_safe = SAFE_CRATES
        .iter()
        .any(|folder| file.path.starts_with(folder));
    let is_allowed = UNSAFE_FILES.contains(&file.path.as_str());
    if !file.is_rust() || !is_safe || is_allowed {
        return Vec::new();
    }
    let found = file.lines().filter(|(_, line)| {
        let code = code_of(line);
        [
            "unsafe {",
            "unsafe fn",
            "unsafe impl",
            "unsafe trait",
            "unsafe extern",
        ]
        .iter()
        .any(|use_of_it| contains_word(&code, use_of_it))
    });
    let message = format!("`unsafe` outside of {}", UNSAFE_FILES.join(", "));
    found
        .map(|(number, _)| file.finding(number, message.clone()))
        .collect()
}

/// Packages that may depend on ZeroMQ: the transport, and the programs that talk to it raw.
const ZMQ_MANIFESTS: &[&str] = &[
    "Cargo.toml",
    "transport-zmq/Cargo.toml",
    "bench-harness/Cargo.toml",
    "tests/Cargo.toml",
];

/// The transport is the only library that names ZeroMQ.
pub(super) fn zmq_places(file: &SourceFile) -> Vec<Finding> {
    if !file.is_manifest() || ZMQ_MANIFESTS.contains(&file.path.as_str()) {
        return Vec::new();
    }
    let names_zmq = |line: &str| ["zmq", "zmq-sys", "zeromq-src"].contains(&key_of(line));
    let found = file.lines().filter(|(_, line)| names_zmq(line));
    found
        .map(|(number, _)| file.finding(number, "only the transport depends on ZeroMQ"))
        .collect()
}

/// The dependency that a line of a manifest names: `zmq.workspace = true`, `zmq = "0.10"`.
fn key_of(line: &str) -> &str {
    line.split(['.', '=', ' ']).next().unwrap_or_default()
}

/// How far above its use an ordering may be explained: a statement is longer than a line.
const EXPLAINED_ABOVE: usize = 15;

/// Every named ordering of the dispatcher is explained where it is used.
pub(super) fn ordering_comments(file: &SourceFile) -> Vec<Finding> {
    // The macro's own file shows how it is called.
    if !file.path.starts_with("dispatcher/src/") || file.path == "dispatcher/src/sync.rs" {
        return Vec::new();
    }
    let mut explained = None;
    let mut findings = Vec::new();
    for (number, line) in file.lines() {
        if line.contains("// Ordering:") {
            explained = Some(number);
        }
        let near = explained.is_some_and(|comment| number - comment <= EXPLAINED_ABOVE);
        if code_of(line).contains("ordering!(") && !near {
            findings.push(file.finding(number, "no `// Ordering:` comment above"));
        }
    }
    findings
}

/// A document that is named exists.
pub(super) fn document_names(file: &SourceFile, documents: &BTreeSet<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.lines().filter(|(_, line)| !line.contains("://")) {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
        let names = line
            .split(|c| !is_part(c))
            .map(|word| word.trim_end_matches('.'));
        let names = names.filter(|name| name.ends_with(".md") && name.len() > ".md".len());
        let missing = names.filter(|name| !documents.contains(name));
        findings.extend(missing.map(|name| file.finding(number, format!("there is no {name}"))));
    }
    findings
}

/// A line without its comment and without the contents of its string literals.
///
/// A line at a time: a literal that spans lines is not recognised, which no rule here minds.
fn code_of(line: &str) -> String {
    let mut code = String::new();
    let mut in_string = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if in_string => {
                chars.next();
            }
            '"' => {
                in_string = !in_string;
                code.push(c);
            }
            '/' if !in_string && chars.peek() == Some(&'/') => break,
            _ if in_string => {}
            _ => code.push(c),
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    fn lines(findings: impl IntoIterator<Item = Finding>) -> Vec<usize> {
        findings.into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_line_of_101_columns_is_too_long() {
        let text = format!(
            "{}\n{}\n// https://{}\n//! | {} |\n",
            "é".repeat(100),
            "é".repeat(101),
            "x".repeat(101),
            "x".repeat(101)
        );
        assert_eq!(lines(line_length(&file("a.rs", &text))), [2]);
        assert_eq!(lines(line_length(&file("a.md", &text))), []);
    }

    #[test]
    fn a_file_of_901_lines_is_too_long() {
        assert_eq!(file_length(&file("a.rs", &"\n".repeat(900))), None);
        assert_eq!(lines(file_length(&file("a.rs", &"\n".repeat(901)))), [901]);
    }

    #[test]
    fn space_at_the_end_is_found() {
        assert_eq!(
            lines(trailing_space(&file("a.md", "a\nb \n c\n\t\n"))),
            [2, 4]
        );
    }

    #[test]
    fn a_file_without_a_module_doc_is_found() {
        assert_eq!(module_doc(&file("a.rs", "//! Says it.\n")), None);
        assert_eq!(
            lines(module_doc(&file("a.rs", "// Only a comment.\n"))),
            [1]
        );
        assert_eq!(lines(module_doc(&file("a.rs", ""))), [1]);
        assert_eq!(module_doc(&file("a.toml", "")), None);
    }

    #[test]
    fn unsafe_outside_of_its_files_is_found() {
        // A literal per line: this very file is checked line by line.
        let text = concat!(
            "#![forbid(unsafe_code)]\n",
            "// unsafe { }\n",
            "unsafe impl Send for X {}\n",
            "let a = unsafe { b };\n",
            "let s = \"unsafe { }\";\n",
        );
        assert_eq!(
            lines(unsafe_places(&file("core/src/slab.rs", text))),
            [3, 4]
        );
        assert_eq!(
            lines(unsafe_places(&file("dispatcher/src/parker.rs", text))),
            [3, 4]
        );
        assert_eq!(
            lines(unsafe_places(&file("dispatcher/src/ring.rs", text))),
            []
        );
        assert_eq!(
            lines(unsafe_places(&file("transport-zmq/src/message.rs", text))),
            []
        );
    }

    #[test]
    fn zeromq_in_another_manifest_is_found() {
        let text = "[dependencies]\nzmq.workspace = true\ntaskyard-zmq.workspace = true\n";
        assert_eq!(lines(zmq_places(&file("controller/Cargo.toml", text))), [2]);
        assert_eq!(
            lines(zmq_places(&file("transport-zmq/Cargo.toml", text))),
            []
        );
        assert_eq!(
            lines(zmq_places(&file("core/Cargo.toml", "zmq = \"0.10\"\n"))),
            [1]
        );
    }

    #[test]
    fn an_unexplained_ordering_is_found() {
        let explained = "// Ordering: pairs with …\na.load(ordering!(\"a.x\", Acquire));\n";
        let bare = "a.load(ordering!(\"a.x\", Acquire));\n";
        let far = format!("// Ordering: far\n{}{bare}", "\n".repeat(EXPLAINED_ABOVE));
        assert_eq!(
            lines(ordering_comments(&file(
                "dispatcher/src/ring.rs",
                explained
            ))),
            []
        );
        assert_eq!(
            lines(ordering_comments(&file("dispatcher/src/ring.rs", bare))),
            [1]
        );
        assert_eq!(
            lines(ordering_comments(&file("dispatcher/src/ring.rs", &far))),
            [17]
        );
        assert_eq!(
            lines(ordering_comments(&file("dispatcher/src/sync.rs", bare))),
            []
        );
    }

    #[test]
    fn a_document_that_does_not_exist_is_found() {
        let documents = BTreeSet::from(["DESIGN.md"]);
        let text = "see DESIGN.md.\nsee docs/MISSING.md, 3\nat https://a.b/c.md\n`*.md`\n";
        let findings = document_names(&file("a.rs", text), &documents);
        assert_eq!(findings[0].message, "there is no MISSING.md");
        assert_eq!(lines(findings), [2]);
    }

    #[test]
    fn comments_and_strings_are_not_code() {
        assert_eq!(code_of("a(\"b // \\\" c\"); // d"), "a(\"\"); ");
    }
}
