//! Words that are not written in this project, each with the reason.

use super::{Finding, SourceFile};

/// A word and why it is not written. It is looked for as a whole word, in code and comments.
struct Word {
    text: &'static str,
    why: &'static str,
}

const fn word(text: &'static str, why: &'static str) -> Word {
    Word { text, why }
}

const UNFINISHED: &str = "finish it, or open an issue";
const ONE_MACHINE: &str = "a path that exists on one machine only";
const VOCABULARY: &str = "not a word of the vocabulary (DESIGN.md)";

const FORBIDDEN: &[Word] = &[
    word("todo!(", UNFINISHED),
    word("unimplemented!(", UNFINISHED),
    word("FIXME", UNFINISHED),
    word("TODO", UNFINISHED),
    word("XXX", UNFINISHED),
    word("HACK", UNFINISHED),
    word("dbg!(", "use `tracing`, or an assertion"),
    word("/home/", ONE_MACHINE),
    word("/root/", ONE_MACHINE),
    word("/work/", ONE_MACHINE),
    word("JobId", VOCABULARY),
    word("JobHandle", VOCABULARY),
    word("RequestId", VOCABULARY),
    word("NodeId", VOCABULARY),
    word("EngineId", VOCABULARY),
    word("prefill", VOCABULARY),
];

/// Every forbidden word in a file.
pub(super) fn forbidden(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in file.lines() {
        let found = FORBIDDEN
            .iter()
            .filter(|word| contains_word(line, word.text));
        findings.extend(
            found.map(|word| file.finding(number, format!("`{}`: {}", word.text, word.why))),
        );
    }
    findings
}

/// Whether `text` stands in `line` and is not a part of a longer word.
pub(super) fn contains_word(line: &str, text: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let opens_word = text.starts_with(is_part);
    let closes_word = text.ends_with(is_part);
    line.match_indices(text).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + text.len()..].chars().next();
        !(opens_word && before.is_some_and(is_part) || closes_word && after.is_some_and(is_part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_forbidden_word_is_found() {
        for Word { text, why } in FORBIDDEN {
            let file = SourceFile {
                path: "a.rs".into(),
                text: format!("ok\nx {text} y\n"),
            };
            let findings = forbidden(&file);
            assert_eq!(findings.len(), 1, "{text}");
            assert_eq!(findings[0].line, 2);
            assert!(findings[0].message.ends_with(why));
        }
    }

    #[test]
    fn a_part_of_a_longer_word_is_another_word() {
        assert!(contains_word("// FIXME: later", "FIXME"));
        assert!(!contains_word("let fixmes = FIXMES;", "FIXME"));
        assert!(!contains_word("my_todo!()", "todo!("));
        assert!(contains_word("todo!()", "todo!("));
        assert!(contains_word("FIXMES FIXME", "FIXME"));
    }
}
