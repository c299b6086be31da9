//! Commands and their results as payloads: the form that `taskyard submit` sends, and that both
//! kinds of worker understand.
//!
//! A payload's first frame begins with four bytes that say what it is. A command is `SH1` and JSON;
//! its result is the same again with how it ended, then a frame of standard output and one of
//! standard error. What Python's clients send begins with `PY1`, what fails there with `PYE`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use taskyard_dispatcher::Payload as _;
use taskyard_zmq::ZmqPayload;

const COMMAND: &[u8; 4] = b"SH1\0";
const PYTHON_CALL: &[u8; 4] = b"PY1\0";
const PYTHON_ERROR: &[u8; 4] = b"PYE\0";

/// Bytes kept of standard output, and of standard error: both fit into a payload of 16 MiB, with
/// the words about them.
pub(crate) const OUTPUT_MAX: usize = (8 << 20) - 4096;

/// A command as it travels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandText {
    /// A program and its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) argv: Option<Vec<String>>,
    /// Or a text for the shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shell: Option<String>,
    /// Where to run it; where the worker is, if it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cwd: Option<String>,
    /// Variables beside those of the worker.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) env: BTreeMap<String, String>,
}

/// How a command ended, as it travels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResultText {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    #[serde(default)]
    pub(crate) stdout_truncated: bool,
    #[serde(default)]
    pub(crate) stderr_truncated: bool,
}

/// What a payload asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To run a program.
    Program(Vec<String>, CommandText),
    /// To run a text by the shell, whose bytes need not be UTF-8.
    Shell(Vec<u8>, CommandText),
}

/// What a payload says about how its task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    /// A command ran.
    Ran {
        how: ResultText,
        stdout: &'a [u8],
        stderr: &'a [u8],
    },
    /// Something failed in Python.
    Python,
    /// Something else.
    Other,
}

impl CommandText {
    /// As a payload.
    pub(crate) fn to_payload(&self) -> Result<ZmqPayload, serde_json::Error> {
        let mut frame = COMMAND.to_vec();
        serde_json::to_writer(&mut frame, self)?;
        Ok(ZmqPayload::from_bytes(&frame))
    }
}

/// Reads what a task asks for, or says why there is no word for it here.
pub(crate) fn read_command(payload: &ZmqPayload) -> Result<Asked, String> {
    let first = payload.frame(0).unwrap_or_default();
    if let Some(json) = first.strip_prefix(COMMAND) {
        let text: CommandText = serde_json::from_slice(json)
            .map_err(|error| format!("a command that cannot be read: {error}"))?;
        return match text.clone() {
            CommandText {
                argv: Some(argv),
                shell: None,
                ..
            } if !argv.is_empty() => Ok(Asked::Program(argv, text)),
            CommandText {
                argv: None,
                shell: Some(shell),
                ..
            } => Ok(Asked::Shell(shell.into_bytes(), text)),
            _ => Err("a command has either argv, which is not empty, or shell".into()),
        };
    }
    if first.starts_with(PYTHON_CALL) || first.starts_with(PYTHON_ERROR) {
        return Err(
            "this worker runs commands only (taskyard worker --exec): submit Python \
                    functions to a worker of Python's"
                .into(),
        );
    }
    match payload.bytes() {
        Some(text) => Ok(Asked::Shell(text.to_vec(), CommandText::default())),
        None => Err("a payload of several frames is no command".into()),
    }
}

/// How a command ended, as a payload.
pub(crate) fn write_result(how: &ResultText, stdout: &[u8], stderr: &[u8]) -> ZmqPayload {
    let mut frame = COMMAND.to_vec();
    // Numbers and truth values: that cannot fail.
    serde_json::to_writer(&mut frame, how).unwrap_or_default();
    ZmqPayload::from_frames(&[frame.as_slice(), stdout, stderr])
        .expect("three frames make a payload")
}

/// Reads what a result says.
pub(crate) fn read_result(payload: &ZmqPayload) -> Said<'_> {
    let first = payload.frame(0).unwrap_or_default();
    if first.starts_with(PYTHON_ERROR) {
        return Said::Python;
    }
    let how = first.strip_prefix(COMMAND).map(serde_json::from_slice);
    match how {
        Some(Ok(how)) => Said::Ran {
            how,
            stdout: payload.frame(1).unwrap_or_default(),
            stderr: payload.frame(2).unwrap_or_default(),
        },
        _ => Said::Other,
    }
}

/// A failure as Python's clients read it: the pickle of a dict of texts.
pub(crate) fn write_refusal(message: &str, worker: &str) -> ZmqPayload {
    let mut frame = PYTHON_ERROR.to_vec();
    frame.extend(b"\x80\x02}(");
    let mut put = |text: &str| {
        frame.push(b'X');
        // Names and messages of ours: they fit.
        frame.extend(u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
        frame.extend(text.as_bytes());
    };
    let said = [
        ("type", "TypeError"),
        ("message", message),
        ("traceback", message),
        ("worker", worker),
        ("exception", ""),
    ];
    for (key, value) in said {
        put(key);
        if !value.is_empty() {
            put(value);
        }
    }
    frame.extend(b"Nu.");
    ZmqPayload::from_bytes(&frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_come_back_as_they_were() {
        let text = CommandText {
            argv: Some(vec!["echo".into(), "a b".into()]),
            cwd: Some("/tmp".into()),
            env: [("A".to_owned(), "1".to_owned())].into(),
            ..CommandText::default()
        };
        let payload = text.to_payload().unwrap();
        let argv = text.argv.clone().unwrap();
        assert_eq!(read_command(&payload), Ok(Asked::Program(argv, text)));
        let raw = ZmqPayload::from_bytes(b"echo \xff");
        let shell = Asked::Shell(b"echo \xff".to_vec(), CommandText::default());
        assert_eq!(read_command(&raw), Ok(shell));
    }

    #[test]
    fn what_is_no_command_is_refused_in_words() {
        for (frame, says) in [
            (&b"SH1\0{}"[..], "either argv"),
            (b"SH1\0{\"argv\":[]}", "either argv"),
            (b"SH1\0{\"argv\":[\"a\"],\"shell\":\"b\"}", "either argv"),
            (b"SH1\0nonsense", "cannot be read"),
            (b"PY1\0...", "commands only"),
        ] {
            let said = read_command(&ZmqPayload::from_bytes(frame)).unwrap_err();
            assert!(said.contains(says), "{said}");
        }
        let frames = ZmqPayload::from_frames(&[b"a", b"b"]).unwrap();
        assert!(read_command(&frames).unwrap_err().contains("frames"));
    }

    #[test]
    fn results_come_back_as_they_were() {
        let how = ResultText {
            code: Some(3),
            stderr_truncated: true,
            ..ResultText::default()
        };
        let payload = write_result(&how, b"out", b"err");
        let (stdout, stderr) = (&b"out"[..], &b"err"[..]);
        assert_eq!(
            read_result(&payload),
            Said::Ran {
                how,
                stdout,
                stderr
            }
        );
        assert_eq!(read_result(&write_refusal("no", "w")), Said::Python);
        assert_eq!(read_result(&ZmqPayload::from_bytes(b"x")), Said::Other);
    }
}
