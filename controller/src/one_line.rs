//! Errors of the command line, on one line.

/// What `clap` has to say about bad arguments, on one line: what is wrong, and where to read on.
///
/// ```
/// let said = "error: unexpected argument '--x' found\n\nUsage: taskyard <COMMAND>\n";
/// let line = taskyard_controller::one_line(said);
/// assert_eq!(line, "unexpected argument '--x' found (--help tells the options)");
/// ```
#[must_use]
pub fn one_line(message: &str) -> String {
    let lines = message.lines().map(str::trim);
    let said =
        lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let said: Vec<&str> = said.filter(|line| !line.is_empty()).collect();
    let said = said.join(" ");
    format!(
        "{} (--help tells the options)",
        said.trim_start_matches("error: ")
    )
}
