//! Real processes for a test: a controller, workers; all of them end with the test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use taskyard_core::{Outcome, Submit, TaskId};
use taskyard_zmq::{
    ClientEvent, ClientOptions, ConnectionDir, Context, Credentials, RemoteClient, Role,
    TriedWorker, ZmqPayload,
};

/// Long enough for a loaded machine; only a failure waits for it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A process that is killed, if it still runs, when it is dropped.
#[derive(Debug)]
pub struct Process(pub Child);

impl Process {
    /// Kills it as a power cut would.
    ///
    /// # Panics
    /// If the system does not let us.
    pub fn kill(&mut self) {
        self.0.kill().expect("a child can be killed");
        self.0.wait().expect("a child can be waited for");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(Instant::now() < end, "a process did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running `taskyard controller`.
#[derive(Debug)]
pub struct ControllerProcess {
    /// The process.
    pub process: Process,
    /// Where clients connect.
    pub clients: String,
    /// Where workers connect.
    pub workers: String,
    /// The folder of its connection files.
    pub connection: PathBuf,
    /// The same, if the test did not name one: gone with the controller.
    _scratch: Option<Scratch>,
}

/// A folder that is gone when it is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A path that nobody else has; the folder is not there yet.
    #[must_use]
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("taskyard-test-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl ControllerProcess {
    /// Starts one on free TCP ports, with further arguments, and waits until it listens.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(args: &[&str]) -> Self {
        let anywhere = "tcp://127.0.0.1:*";
        let mut all = vec!["--clients", anywhere, "--workers", anywhere];
        all.extend(args);
        Self::start_at(&all)
    }

    /// Starts one with exactly these arguments, and connection files of its own unless they name a
    /// folder.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_at(args: &[&str]) -> Self {
        let scratch = (!args.contains(&"--connection-dir")).then(Scratch::new);
        let mut command = taskyard();
        command.arg("controller").args(args);
        if let Some(scratch) = &scratch {
            command.arg("--connection-dir").arg(scratch.path());
        }
        let mut child = command
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the controller starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut line = |key: &str| {
            let line = lines
                .next()
                .expect("it says where it listens")
                .expect("a line of text");
            let (word, value) = line.split_once(' ').expect("a key and a value");
            assert_eq!(word, key);
            value.to_owned()
        };
        let (clients, workers) = (line("clients"), line("workers"));
        let (_mode, connection) = (line("mode"), line("connection"));
        Self {
            process: Process(child),
            clients,
            workers,
            connection: connection.into(),
            _scratch: scratch,
        }
    }

    /// The connection file of a role.
    #[must_use]
    pub fn file_of(&self, role: Role) -> PathBuf {
        ConnectionDir::file_of(&self.connection, role)
    }

    /// Starts a process with so many workers, named `PREFIX.0` and so on.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start_workers(&self, prefix: &str, count: u32) -> Process {
        worker_process(&self.file_of(Role::Worker), prefix, &[&count.to_string()])
    }

    /// Connects a client.
    ///
    /// # Panics
    /// If it is not welcome.
    #[must_use]
    pub fn client(&self, context: &Context) -> RemoteClient {
        let file = self.file_of(Role::Client);
        let mut options = ClientOptions::from_connection_file(file).expect("a connection file");
        options.connect_timeout = PATIENCE;
        RemoteClient::connect(context, &options).expect("a client connects")
    }
}

/// Starts a process with workers that come in by this connection file: `args` are how many, and
/// another endpoint if they shall connect to one, or `label=…` for a label of each; one worker if
/// it is empty.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn worker_process(file: &Path, prefix: &str, args: &[&str]) -> Process {
    let args = if args.is_empty() { &["1"] } else { args };
    let child = Command::new(binary("task-worker"))
        .arg(file)
        .arg(prefix)
        .args(args)
        .stdin(Stdio::piped())
        .spawn()
        .expect("workers start");
    Process(child)
}

/// Lets a bare socket in as this role.
///
/// # Panics
/// If there is no connection file for it.
pub fn let_in(socket: &zmq::Socket, connection: &Path, role: Role) {
    let file = ConnectionDir::file_of(connection, role);
    let credentials = Credentials::from_connection_file(file).expect("a connection file");
    match credentials {
        Credentials::None => {}
        Credentials::Plain { role, key } => {
            socket
                .set_plain_username(Some(role.name()))
                .expect("an option");
            let password = key.to_text();
            socket
                .set_plain_password(Some(&password))
                .expect("an option");
        }
        Credentials::Curve { .. } => panic!("these tests speak PLAIN with bare sockets"),
    }
}

/// One outcome, as a test looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which task.
    pub task: TaskId,
    /// What became of it.
    pub outcome: Outcome,
    /// How many executions were started.
    pub attempts: u8,
    /// Which worker had it last, by its place.
    pub worker: Option<u32>,
    /// One of several.
    pub part: bool,
    /// The result's frames.
    pub frames: Vec<Vec<u8>>,
    /// The names of the workers that lost or failed it, if it was lost.
    pub tried: Vec<String>,
}

/// Submits a task with a payload of one frame.
///
/// # Panics
/// If the client does not take it.
pub fn submit(client: &mut RemoteClient, submit: Submit, payload: &str) {
    client
        .submit(submit, None, ZmqPayload::from_bytes(payload.as_bytes()))
        .expect("it is taken");
}

/// The next outcome.
///
/// # Panics
/// If there is none in time.
pub fn next_outcome(client: &mut RemoteClient) -> Seen {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let event = client.wait(PATIENCE).expect("the client works");
        if let Some(ClientEvent::Outcome {
            task,
            outcome,
            worker,
            attempts,
            part,
            payload,
            tried,
        }) = event
        {
            let frames = payload
                .iter()
                .flat_map(ZmqPayload::frames)
                .map(<[u8]>::to_vec)
                .collect();
            let worker = worker.map(|(worker, _)| worker.0);
            let name = |tried: TriedWorker| tried.name.map(String::from).unwrap_or_default();
            return Seen {
                task,
                outcome,
                attempts,
                worker,
                part,
                frames,
                tried: tried.into_iter().map(name).collect(),
            };
        }
    }
    panic!("no outcome in time");
}

/// Waits until so many workers are attached: a multicast reaches them all.
///
/// # Panics
/// If they do not come in time.
pub fn await_workers(client: &mut RemoteClient, count: u32) {
    let end = Instant::now() + PATIENCE;
    loop {
        let task = client.next_task_id();
        submit(
            client,
            Submit::new(task, taskyard_core::Target::All),
            "echo here",
        );
        let parts = loop {
            let seen = next_outcome(client);
            if let Outcome::Summary { parts, .. } = seen.outcome {
                break parts;
            }
        };
        if parts == count {
            return;
        }
        assert!(Instant::now() < end, "{parts} of {count} workers came");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The `taskyard` program of this build.
#[must_use]
pub fn taskyard() -> Command {
    Command::new(binary("taskyard"))
}

/// A program of this workspace, built if it is not there: a test of one package builds only its
/// own.
fn binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let path = target_dir().join(name);
    if !path.exists() {
        BUILT.get_or_init(|| {
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "--workspace", "--bins"]);
            if target_dir().ends_with("release") {
                build.arg("--release");
            }
            assert!(
                build.status().expect("cargo runs").success(),
                "the programs do not build"
            );
        });
    }
    path
}

/// Where cargo puts programs: above the `deps` folder that test executables are in.
fn target_dir() -> PathBuf {
    let mut path = std::env::current_exe().expect("a test has a path");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path
}
