//! The proof that the proof can fail: one named memory ordering is weakened, and a model must see.
//!
//! `loom-tests/canaries.txt` has a line `ordering model` for each named ordering. A model that
//! still passes with its ordering weakened to `Relaxed` is a *survivor*: either the ordering is
//! unnecessary or the model is too weak, and this check fails. An ordering that the dispatcher
//! names and the list does not is a failure too; where loom cannot see one, a comment in the list
//! says why.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::output::say;
use crate::process::Ended;
use crate::verdict::NotPassed;
use crate::workspace::Workspace;
use crate::{loom, parallel, process};

const LIST: &str = "loom-tests/canaries.txt";
const SOURCES: &str = "dispatcher/src";
/// The variable that tells the loom build which ordering to weaken.
const WEAKEN: &str = "TASKYARD_WEAKEN";
/// A model that finds nothing takes seconds; one that hangs has no verdict.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs every canary and fails unless each one is caught.
///
/// # Errors
///
/// `Failed` if the list is missing, incomplete or wrong, or if a canary survives.
pub(crate) fn run(workspace: &Workspace) -> Result<(), NotPassed> {
    let list = fs::read_to_string(workspace.root.join(LIST))
        .map_err(|error| NotPassed::failed(format!("{LIST}: {error}")))?;
    let canaries = parse(&list).map_err(NotPassed::Failed)?;
    let sources = read_sources(&workspace.root.join(SOURCES))
        .map_err(|error| NotPassed::failed(format!("{SOURCES}: {error}")))?;
    let unlisted = unlisted(&sources, &list);
    if !unlisted.is_empty() {
        return Err(NotPassed::failed(format!(
            "not in {LIST}: {}",
            unlisted.join(", ")
        )));
    }

    let models = find_models(&build(workspace)?);
    let logs = workspace.target.join("loom/canaries");
    fs::create_dir_all(&logs)
        .map_err(|error| NotPassed::failed(format!("{}: {error}", logs.display())))?;
    let wrong = parallel::map(&canaries, |canary| {
        let fate = try_one(canary, &models, &logs);
        say!("{:<9} {} by {}", fate.word(), canary.ordering, canary.model);
        (fate != Fate::Caught).then(|| format!("{} {fate}", canary.ordering))
    });
    let wrong: Vec<_> = wrong.into_iter().flatten().collect();
    if wrong.is_empty() {
        return Ok(());
    }
    say!("what each model printed: {}", logs.display());
    Err(NotPassed::failed(wrong.join("; ")))
}

/// A line of the list.
#[derive(Debug, PartialEq, Eq)]
struct Canary {
    ordering: String,
    model: String,
}

fn parse(list: &str) -> Result<Vec<Canary>, String> {
    let mut canaries = Vec::new();
    for (number, line) in list.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        match *line.split_whitespace().collect::<Vec<_>>() {
            [] => {}
            [ordering, model] => {
                canaries.push(Canary {
                    ordering: ordering.into(),
                    model: model.into(),
                });
            }
            _ => return Err(format!("{LIST}:{}: not `ordering model`", number + 1)),
        }
    }
    if canaries.is_empty() {
        Err(format!("{LIST} lists no canary"))
    } else {
        Ok(canaries)
    }
}

/// The code of the files that may name an ordering, without comments.
fn read_sources(folder: &Path) -> io::Result<String> {
    let mut code = String::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path)?;
            let lines = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            lines.for_each(|line| code.extend([line, "\n"]));
        }
    }
    Ok(code)
}

/// The orderings that the code names, `ordering!("name", …)`, and the list nowhere mentions.
fn unlisted<'a>(code: &'a str, list: &str) -> Vec<&'a str> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    let mentioned = |name: &str| {
        let words = list.split(|c| !is_part(c));
        words
            .map(|word| word.trim_end_matches('.'))
            .any(|word| word == name)
    };
    let calls = code.split("ordering!(").skip(1);
    let names = calls.filter_map(|call| call.trim_start().strip_prefix('"')?.split('"').next());
    let mut names: Vec<_> = names.filter(|name| !mentioned(name)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Builds the models once and answers the test programs.
fn build(workspace: &Workspace) -> Result<Vec<PathBuf>, NotPassed> {
    let mut command = loom::cargo_test(workspace);
    command
        .args(["--no-run", "--color", "never"])
        .stdin(Stdio::null());
    let output = command
        .output()
        .map_err(|error| NotPassed::failed(format!("cargo cannot be run: {error}")))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        eprint!("{stderr}");
        return Err(NotPassed::failed("the models do not build"));
    }
    let programs = executables(&stderr)
        .into_iter()
        .map(|path| workspace.root.join(path));
    Ok(programs.collect())
}

/// The paths in lines such as `  Executable tests/ring.rs (target/debug/deps/ring-0123)`.
fn executables(stderr: &str) -> Vec<PathBuf> {
    let lines = stderr
        .lines()
        .filter(|line| line.trim_start().starts_with("Executable "));
    lines
        .filter_map(|line| Some(line.rsplit_once('(')?.1.strip_suffix(')')?.into()))
        .collect()
}

/// A test and the program that holds it.
#[derive(Debug)]
struct Model {
    program: PathBuf,
    test: String,
}

fn find_models(programs: &[PathBuf]) -> Vec<Model> {
    let mut models = Vec::new();
    for program in programs {
        let mut list = Command::new(program);
        let text = process::stdout_of(list.args(["--list", "--format", "terse"]));
        for test in tests_in_list(text.as_deref().unwrap_or_default()) {
            models.push(Model {
                program: program.clone(),
                test: test.to_owned(),
            });
        }
    }
    models
}

fn tests_in_list(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| line.strip_suffix(": test"))
}

/// The models that a name means: the test of that name, whatever module it stands in.
fn resolve<'a>(name: &str, models: &'a [Model]) -> Vec<&'a Model> {
    let is_named = |test: &str| {
        test == name
            || test
                .strip_suffix(name)
                .is_some_and(|module| module.ends_with("::"))
    };
    models
        .iter()
        .filter(|model| is_named(&model.test))
        .collect()
}

/// What became of a canary.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// The model failed, as it must.
    Caught,
    /// The model passed although the ordering was weakened.
    Survived,
    /// There was no answer, for this reason.
    Unknown(String),
}

impl Fate {
    fn word(&self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Survived => "SURVIVED",
            Self::Unknown(_) => "UNKNOWN",
        }
    }
}

impl std::fmt::Display for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Caught => f.write_str("was caught"),
            Self::Survived => f.write_str("survived"),
            Self::Unknown(reason) => f.write_str(reason),
        }
    }
}

fn try_one(canary: &Canary, models: &[Model], logs: &Path) -> Fate {
    let model = match *resolve(&canary.model, models) {
        [model] => model,
        [] => return Fate::Unknown(format!("names no model: {}", canary.model)),
        [..] => return Fate::Unknown(format!("names several models: {}", canary.model)),
    };
    let log = logs.join(format!("{}.{}.log", canary.ordering, canary.model));
    weaken(canary, model, &log).unwrap_or_else(|error| Fate::Unknown(error.to_string()))
}

/// Runs one model with the ordering weakened; what it prints goes to `log`.
fn weaken(canary: &Canary, model: &Model, log: &Path) -> io::Result<Fate> {
    let out = File::create(log)?;
    let mut command = Command::new(&model.program);
    // Uncaptured, so that the panic is in the log even if a second one aborts the process.
    command
        .args(["--exact", &model.test, "--nocapture"])
        .env(WEAKEN, &canary.ordering);
    command
        .stdin(Stdio::null())
        .stderr(out.try_clone()?)
        .stdout(out);
    match process::status_within(&mut command, LIMIT)? {
        Ended::Killed => Ok(Fate::Unknown(format!("gave no verdict in {LIMIT:?}"))),
        Ended::Itself(status) => Ok(judge(status, &String::from_utf8_lossy(&fs::read(log)?))),
    }
}

/// Only a model that ran and then panicked or crashed counts as caught: a program that could not
/// start or found no such test proves nothing.
fn judge(status: ExitStatus, log: &str) -> Fate {
    if !log.contains("running 1 test") {
        Fate::Unknown("did not run".into())
    } else if status.success() {
        Fate::Survived
    } else if log.contains("panicked at") || status.code().is_none() {
        Fate::Caught
    } else {
        Fate::Unknown(format!("ended without a panic: {status}"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn the_list_has_two_words_a_line() {
        let list = "# orderings\n\nring.publish  ring_1\npool.take pool_1 # why\n";
        let canaries = parse(list).unwrap();
        assert_eq!(canaries.len(), 2);
        assert_eq!(
            canaries[1],
            Canary {
                ordering: "pool.take".into(),
                model: "pool_1".into()
            }
        );
        assert_eq!(
            parse("a b\nc\n").unwrap_err(),
            format!("{LIST}:2: not `ordering model`")
        );
        assert!(parse("# nothing\n").is_err(), "an empty list must not pass");
    }

    #[test]
    fn an_ordering_without_a_canary_is_found() {
        let code =
            "ordering!(\"a.x\", Acquire), ordering!(\n    \"a.y\", Release)\nordering!(\"a.z\"";
        assert_eq!(
            unlisted(code, "a.x m1\n# a.y: loom cannot see it.\n"),
            ["a.z"]
        );
        assert_eq!(unlisted(code, "a.xx m1\na.y m2\n# like a.z.\n"), ["a.x"]);
    }

    #[test]
    fn programs_are_read_from_what_cargo_prints() {
        let stderr = "   Compiling x\n  Executable unittests src/lib.rs (target/loom/deps/x-01)\n  \
                      Executable tests/ring.rs (/t/deps/ring-02)\n";
        assert_eq!(
            executables(stderr),
            [
                Path::new("target/loom/deps/x-01"),
                "/t/deps/ring-02".as_ref()
            ]
        );
        assert!(executables("Finished (in 2 s)").is_empty());
    }

    #[test]
    fn a_model_is_found_in_any_module_by_its_whole_name() {
        let models: Vec<_> = tests_in_list("ring_1: test\npool::ring_2: test\nx: benchmark\n")
            .map(|test| Model {
                program: "p".into(),
                test: test.into(),
            })
            .collect();
        assert_eq!(models.len(), 2);
        assert_eq!(resolve("ring_2", &models)[0].test, "pool::ring_2");
        assert_eq!(resolve("ring_1", &models).len(), 1);
        assert!(resolve("ing_1", &models).is_empty());
    }

    #[test]
    fn only_a_model_that_ran_and_failed_is_caught() {
        let [ok, failed, aborted] = [0, 101 << 8, 6].map(ExitStatus::from_raw);
        let ran = "running 1 test\n";
        let panicked = "running 1 test\nthread 'm' panicked at x.rs\n";
        assert_eq!(judge(failed, panicked), Fate::Caught);
        assert_eq!(judge(aborted, ran), Fate::Caught);
        assert_eq!(judge(ok, ran), Fate::Survived);
        assert!(matches!(judge(failed, ran), Fate::Unknown(_)));
        assert!(matches!(judge(ok, "running 0 tests\n"), Fate::Unknown(_)));
        assert!(matches!(judge(failed, "no such file"), Fate::Unknown(_)));
    }
}
