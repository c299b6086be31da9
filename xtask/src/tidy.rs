//! The house rules that neither rustfmt nor clippy knows, checked on the text of every file.
//!
//! [`lints`] holds one function per rule; [`words`] the list of words that are not written here;
//! [`code_map`] compares ARCHITECTURE.md with the tree.
//! A rule that can be a clippy lint is one (`clippy.toml`, the workspace's lint table).

mod code_map;
mod lints;
mod words;

use std::collections::BTreeSet;
use std::path::Path;
use std::{fmt, fs, io};

use crate::output::say;
use crate::verdict::NotPassed;
use crate::workspace::Workspace;

/// This folder quotes what it forbids, so the rules about words leave it out.
const OWN_FOLDER: &str = "xtask/src/tidy/";

/// Checks every source file of the workspace.
///
/// # Errors
///
/// `Failed` if a rule is broken or a file cannot be read.
pub(crate) fn run(workspace: &Workspace) -> Result<(), NotPassed> {
    let mut files = Vec::new();
    collect(&workspace.root, "", &mut files)
        .map_err(|error| NotPassed::failed(format!("reading the sources: {error}")))?;
    let findings = check(&files);
    for finding in &findings {
        say!("{finding}");
    }
    say!("{} files", files.len());
    match findings.len() {
        0 => Ok(()),
        count => Err(NotPassed::failed(format!("{count} findings"))),
    }
}

/// A file as the lints see it.
#[derive(Debug)]
struct SourceFile {
    /// From the root, with `/` between folders.
    path: String,
    text: String,
}

impl SourceFile {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn is_manifest(&self) -> bool {
        self.path.ends_with("Cargo.toml")
    }

    /// Lines with their numbers, from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }

    fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding {
            path: self.path.clone(),
            line,
            message: message.into(),
        }
    }
}

/// A broken rule, printed so that editors can jump to it.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

fn check(files: &[SourceFile]) -> Vec<Finding> {
    let documents = files.iter().filter_map(|file| file.path.rsplit('/').next());
    let documents: BTreeSet<_> = documents.filter(|name| name.ends_with(".md")).collect();
    let mut findings = Vec::new();
    for file in files {
        findings.extend(lints::line_length(file));
        findings.extend(lints::file_length(file));
        findings.extend(lints::trailing_space(file));
        findings.extend(lints::module_doc(file));
        findings.extend(lints::unsafe_places(file));
        findings.extend(lints::zmq_places(file));
        findings.extend(lints::ordering_comments(file));
        if !file.path.starts_with(OWN_FOLDER) {
            findings.extend(words::forbidden(file));
            findings.extend(lints::document_names(file, &documents));
        }
    }
    findings.extend(code_map::code_map(files));
    findings
}

/// Reads the text files below `folder`, in the order of their names.
fn collect(root: &Path, folder: &str, files: &mut Vec<SourceFile>) -> io::Result<()> {
    let mut entries = fs::read_dir(root.join(folder))?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = if folder.is_empty() {
            name.clone()
        } else {
            format!("{folder}/{name}")
        };
        if entry.file_type()?.is_dir() {
            if !is_foreign(&name) {
                collect(root, &path, files)?;
            }
        } else if is_text(&name) {
            files.push(SourceFile {
                text: fs::read_to_string(entry.path())?,
                path,
            });
        }
    }
    Ok(())
}

/// Whether a folder holds what programs wrote, or nothing of the project's.
fn is_foreign(name: &str) -> bool {
    name.starts_with('.') || matches!(name, "target" | "bench-out" | "node_modules")
}

fn is_text(name: &str) -> bool {
    [".rs", ".toml", ".md", ".py"]
        .iter()
        .any(|extension| name.ends_with(extension))
}

/// A file for the tests of the rules.
#[cfg(test)]
fn file(path: &str, text: &str) -> SourceFile {
    SourceFile {
        path: path.into(),
        text: text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_file_has_no_findings() {
        let files = [file("core/src/lib.rs", "//! What it is.\n\nfn main() {}\n")];
        assert_eq!(check(&files), []);
    }

    #[test]
    fn findings_print_as_places() {
        let finding = file("core/src/lib.rs", "").finding(3, "why");
        assert_eq!(finding.to_string(), "core/src/lib.rs:3: why");
    }

    #[test]
    fn this_very_folder_is_collected_and_build_output_is_not() {
        let workspace = Workspace::find(false).unwrap();
        let mut files = Vec::new();
        collect(&workspace.root, "", &mut files).unwrap();
        assert!(files.iter().any(|file| file.path == "xtask/src/tidy.rs"));
        assert!(files.iter().all(|file| !file.path.starts_with("target/")));
    }
}
