//! The program as a caller sees it: what it writes, and what it says when it cannot.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A folder of one test; gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let name = format!("bench-harness-test-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("the temporary folder takes a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn bench(arguments: &str, out: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench-harness"))
        .args(arguments.split_whitespace())
        .arg("--out")
        .arg(out)
        .output()
        .expect("the program starts")
}

fn summary(out: &Path) -> Value {
    let text = fs::read_to_string(out.join("summary.json")).expect("there is a summary");
    serde_json::from_str(&text).expect("it is JSON")
}

/// The points of one series, each with a figure and without a lost task.
fn check_points(summary: &Value, series: &str, at_least: usize) {
    let points = summary["points"].as_array().expect("points are a list");
    let points: Vec<_> = points
        .iter()
        .filter(|point| point["series"] == series)
        .collect();
    assert!(points.len() >= at_least, "{series}: {}", points.len());
    for point in points {
        assert_eq!(point["lost"], 0, "{point}");
        assert!(point["count"].as_u64() > Some(0), "{point}");
        assert!(
            point["p50_us"].as_f64() <= point["max_us"].as_f64(),
            "{point}"
        );
    }
}

#[test]
fn a_small_run_over_sockets_measures_everything_beside_both_floors() {
    let folder = Folder::new("sockets");
    let options = "--workers 1,3 --transport zmq-ipc --duration 0.1 --rate 500 --payload 200";
    let output = bench(options, &folder.0);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(
        said, "",
        "nothing is shown of the progress when it is piped"
    );

    let summary = summary(&folder.0);
    assert_eq!(summary["version"], 1);
    // Two counts, two modes, two topics.
    check_points(&summary, "latency_vs_workers", 8);
    check_points(&summary, "floor_vs_workers", 4);
    check_points(&summary, "raw_vs_workers", 2);
    check_points(&summary, "multicast", 4);
    check_points(&summary, "floor_multicast", 2);
    check_points(&summary, "capacity", 2);
    check_points(&summary, "latency_vs_load", 1);
    check_points(&summary, "floor_vs_load", 1);
    assert!(summary["capacity_tasks_per_s"].as_f64() > Some(0.0));
    assert!(summary["memory"]["controller_idle_bytes"].as_u64() > Some(0));

    let points = summary["points"].as_array().expect("points are a list");
    let files = fs::read_dir(&folder.0)
        .expect("the folder is there")
        .flatten();
    let histograms = files.filter(|file| file.path().extension().is_some_and(|end| end == "hgrm"));
    assert_eq!(histograms.count(), points.len());
    let page = fs::read_to_string(folder.0.join("report.html")).expect("there is a page");
    assert!(page.contains("<svg"));
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("floor_vs_load"), "{table}");
}

#[test]
fn a_small_run_without_sockets_spins_and_parks() {
    let folder = Folder::new("inproc");
    let output = bench(
        "--workers 3 --transport inproc --duration 0.05 --rate 5000",
        &folder.0,
    );
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let summary = summary(&folder.0);
    check_points(&summary, "latency_vs_workers", 8);
    check_points(&summary, "multicast", 4);
    check_points(&summary, "latency_vs_load", 2);
}

#[test]
fn what_cannot_be_done_is_told_in_one_line() {
    let folder = Folder::new("refused");
    let in_the_way = folder.0.join("file");
    fs::write(&in_the_way, "").expect("the folder takes a file");
    for (options, out, says) in [
        ("--workers 0", &folder.0, "--workers 0"),
        ("--mode fast", &folder.0, "possible values"),
        ("--quick", &in_the_way, "--out"),
    ] {
        let output = bench(options, out);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{options}: {said}");
        assert_eq!(said.lines().count(), 1, "{options}: {said}");
        assert!(said.contains(says), "{options}: {said}");
    }
}

/// Looks again and again until there is something, as long as any machine may need.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The children of a process that have become what they were started as.
fn children(parent: u32) -> Vec<u32> {
    let listed = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let listed = listed.unwrap_or_default();
    let numbers = listed.split_whitespace().filter_map(|pid| pid.parse().ok());
    numbers.filter(|&pid| is_alive(pid)).collect()
}

/// Whether a process still runs our program: one that has ended has no command line.
fn is_alive(pid: u32) -> bool {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.contains("bench-harness") && line.contains("role")
}

#[test]
fn a_signal_in_the_middle_leaves_neither_a_process_nor_a_folder_behind() {
    let folder = Folder::new("signal");
    let scratch = folder.0.join("tmp");
    fs::create_dir(&scratch).expect("the folder takes a folder");
    let mut run = Command::new(env!("CARGO_BIN_EXE_bench-harness"))
        .args([
            "--workers",
            "4",
            "--transport",
            "zmq-ipc",
            "--duration",
            "600",
            "--out",
        ])
        .arg(folder.0.join("out"))
        .env("TMPDIR", &scratch)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let pid = run.id();
    let entries = || fs::read_dir(&scratch).expect("it is there").count();
    // Four systems of a controller or forwarder, a host of workers, a client.
    let started = wait_for("children", || {
        let started = children(pid);
        (started.len() == 12).then_some(started)
    });
    assert_eq!(entries(), 1, "Unix sockets have a folder");

    let run_pid = Pid::from_raw(pid.cast_signed()).expect("a child has a number");
    kill_process(run_pid, Signal::INT).expect("it still runs");
    let status = run.wait().expect("it ends");
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "{status}");
    assert_eq!(entries(), 0, "the folder is gone");
    wait_for("end of the children", || {
        (!started.iter().any(|&pid| is_alive(pid))).then_some(())
    });
}

#[test]
fn starvation_reports_a_wait_for_each_strategy() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench-harness"))
        .args(["starvation", "--seconds", "0.1"])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for strategy in ["spin", "backoff", "park"] {
        let row = text.lines().find(|line| line.starts_with(strategy));
        let row = row.unwrap_or_else(|| panic!("no row for {strategy}: {text}"));
        assert_eq!(row.split_whitespace().count(), 6, "{row}");
    }
    let refused = Command::new(env!("CARGO_BIN_EXE_bench-harness"))
        .args(["starvation", "--seconds", "0"])
        .output()
        .expect("it runs");
    assert!(!refused.status.success());
}

#[test]
fn a_quick_race_of_every_joint_leaves_its_figures() {
    let folder = Folder::new("contention");
    let output = bench("contention --quick --rounds 1", &folder.0);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = fs::read_to_string(folder.0.join("contention.json")).expect("there is a file");
    let file: Value = serde_json::from_str(&text).expect("it is JSON");
    let races = file["races"].as_array().expect("races are a list");
    for word in [
        "ring",
        "pool",
        "claim",
        "bells",
        "wake-up",
        "round trip",
        "window",
    ] {
        let is_there = |race: &Value| race["race"].as_str().is_some_and(|it| it.starts_with(word));
        assert!(races.iter().any(is_there), "{word}: {text}");
    }
    for race in races {
        let [low, median, high] = ["low", "median", "high"].map(|end| race["ratio"][end].as_f64());
        assert!(low > Some(0.0) && low <= median && median <= high, "{race}");
    }
}

#[test]
fn a_race_that_is_not_there_is_refused_in_one_line() {
    let folder = Folder::new("no-such-race");
    let output = bench("contention --only horses", &folder.0);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(said.contains("horses"), "{said}");
}

#[test]
fn a_few_deaths_and_a_small_storm_leave_their_figures() {
    let folder = Folder::new("failures");
    let few = "failures --quick --only deaths,storm --workers 4 --kills 4 --way ipc \
               --storm-workers 8";
    let output = bench(few, &folder.0);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for (file, rows) in [("deaths", 1), ("deaths-each", 4), ("storm", 2)] {
        let path = folder.0.join(format!("failures-{file}.csv"));
        let text = fs::read_to_string(path).expect("there is a file");
        assert_eq!(text.lines().count(), rows + 1, "{text}");
    }
}
