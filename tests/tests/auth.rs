//! The `taskyard` program and those who should not come in: keys, files, links in their way, and
//! peers that never introduce themselves.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use taskyard_core::{Outcome, Submit, Target, TaskId};
use taskyard_tests::cluster::{
    ControllerProcess, PATIENCE, Process, Scratch, await_workers, let_in, next_outcome, submit,
    taskyard, worker_process,
};
use taskyard_zmq::{ClientOptions, Context, ContextOptions, Error, RemoteClient, Role};

/// Who is not let in is not answered: that takes so long to find.
const SHORT: Duration = Duration::from_millis(500);
const ANYWHERE: [&str; 4] = [
    "--clients",
    "tcp://127.0.0.1:*",
    "--workers",
    "tcp://127.0.0.1:*",
];
/// Memory that strangers may cost, all together.
const STRANGERS_MAX_KIB: u64 = 32 << 10;

fn context() -> Context {
    Context::new(ContextOptions::default()).expect("a context")
}

fn connect(file: &Path, timeout: Duration) -> Result<RemoteClient, Error> {
    let mut options = ClientOptions::from_connection_file(file)?;
    options.connect_timeout = timeout;
    RemoteClient::connect(&context(), &options)
}

fn works(client: &mut RemoteClient) {
    let task = client.next_task_id();
    submit(client, Submit::new(task, Target::Any), "echo fine");
    assert_eq!(next_outcome(client).frames, [b"fine"]);
}

/// Starts a controller that shall not start, and returns what it says.
fn advice(folder: &Path, args: &[&str]) -> String {
    let mut command = taskyard();
    command
        .arg("controller")
        .args(args)
        .arg("--connection-dir")
        .arg(folder)
        .env("RUST_LOG", "error");
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{args:?} was accepted");
    assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
    text
}

#[test]
fn each_file_opens_its_own_door_alone() {
    let controller = ControllerProcess::start(&[]);
    for role in [Role::Client, Role::Operator] {
        assert!(
            connect(&controller.file_of(role), PATIENCE).is_ok(),
            "{role}"
        );
    }
    // A worker's key at the clients' endpoint, and the other way round.
    let at_the_wrong_door = |role, endpoint: &str| {
        let text = fs::read_to_string(controller.file_of(role)).expect("a file");
        let right = match role {
            Role::Worker => &controller.workers,
            _ => &controller.clients,
        };
        let path = controller.connection.join("wrong.json");
        fs::write(&path, text.replace(right.as_str(), endpoint)).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
        path
    };
    let wrong = at_the_wrong_door(Role::Worker, &controller.clients);
    assert!(matches!(
        connect(&wrong, SHORT),
        Err(Error::NoAnswer { .. })
    ));
    let mut client = connect(&controller.file_of(Role::Client), PATIENCE).expect("it is let in");
    for role in [Role::Client, Role::Operator] {
        let wrong = at_the_wrong_door(role, &controller.workers);
        let _stranger = worker_process(&wrong, "stranger", &[]);
        thread::sleep(SHORT);
    }
    let _workers = controller.start_workers("w", 2);
    await_workers(&mut client, 2);
}

#[test]
fn bare_sockets_without_a_key_are_not_heard() {
    let controller = ControllerProcess::start(&[]);
    let zmq = zmq::Context::new();
    let mut answer = zmq::Message::new();
    for endpoint in [&controller.clients, &controller.workers] {
        let stranger = zmq.socket(zmq::DEALER).expect("a socket");
        stranger.set_probe_router(true).expect("an option");
        stranger.set_rcvtimeo(500).expect("an option");
        stranger.set_linger(0).expect("an option");
        stranger.connect(endpoint).expect("an endpoint");
        assert_eq!(stranger.recv(&mut answer, 0), Err(zmq::Error::EAGAIN));
    }
    let known = zmq.socket(zmq::DEALER).expect("a socket");
    known.set_probe_router(true).expect("an option");
    known.set_linger(0).expect("an option");
    let_in(&known, &controller.connection, Role::Client);
    known.connect(&controller.clients).expect("an endpoint");
    assert_eq!(known.recv(&mut answer, 0), Ok(()), "it is asked who it is");
}

#[test]
fn everybody_is_let_in_if_told_so() {
    let controller = ControllerProcess::start(&["--no-auth"]);
    let options = ClientOptions::new(controller.clients.parse().expect("an endpoint"));
    let mut client = RemoteClient::connect(&context(), &options).expect("it is let in");
    let file = fs::read_to_string(controller.file_of(Role::Worker)).expect("a file");
    assert!(
        file.contains("\"null\"") && !file.contains("\"key\""),
        "{file}"
    );
    let _workers = controller.start_workers("w", 1);
    await_workers(&mut client, 1);
}

#[test]
fn a_restart_finds_its_peers_again_and_fresh_keys_shut_them_out() {
    for endpoints in [ANYWHERE, ["--clients", "ipc://*", "--workers", "ipc://*"]] {
        let scratch = Scratch::new();
        let folder = scratch.path().to_str().expect("text");
        let args = [&endpoints[..], &["--connection-dir", folder]].concat();
        let mut first = ControllerProcess::start_at(&args);
        let mut client = connect(&first.file_of(Role::Client), PATIENCE).expect("it is let in");
        let _workers = first.start_workers("w", 2);
        await_workers(&mut client, 2);
        first.process.kill();
        // Nobody is there to take it; it is kept.
        submit(
            &mut client,
            Submit::new(TaskId(7_000), Target::Any),
            "echo kept",
        );
        let mut second = ControllerProcess::start_at(&args);
        assert_eq!(
            (&second.clients, &second.workers),
            (&first.clients, &first.workers)
        );
        let seen = next_outcome(&mut client);
        assert_eq!(
            (seen.task, seen.outcome),
            (TaskId(7_000), Outcome::Completed)
        );
        await_workers(&mut client, 2);

        let old = fs::read_to_string(second.file_of(Role::Client)).expect("a file");
        second.process.kill();
        let third = ControllerProcess::start_at(&[&args[..], &["--fresh-keys"]].concat());
        let new = fs::read_to_string(third.file_of(Role::Client)).expect("a file");
        assert_ne!(old, new);
        let kept = third.connection.join("kept.json");
        fs::write(&kept, old).expect("a file");
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o600)).expect("ours");
        assert!(connect(&kept, SHORT).is_err());
        assert!(connect(&third.file_of(Role::Client), PATIENCE).is_ok());
    }
}

#[test]
fn a_port_that_is_taken_since_is_replaced() {
    let scratch = Scratch::new();
    let folder = scratch.path().to_str().expect("text");
    let args = [&ANYWHERE[..], &["--connection-dir", folder]].concat();
    let mut first = ControllerProcess::start_at(&args);
    first.process.kill();
    let address = first.clients.strip_prefix("tcp://").expect("TCP");
    let squatter = std::net::TcpListener::bind(address).expect("it is free now");
    let second = ControllerProcess::start_at(&args);
    assert_ne!(second.clients, first.clients);
    assert!(connect(&second.file_of(Role::Client), PATIENCE).is_ok());
    drop(squatter);
}

#[test]
fn files_that_are_not_safe_are_refused_with_advice() {
    let scratch = Scratch::new();
    let folder = scratch.path();
    let args = [
        &ANYWHERE[..],
        &["--connection-dir", folder.to_str().expect("text")],
    ]
    .concat();
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    let mut controller = ControllerProcess::start_at(&args);
    assert!(advice(folder, &ANYWHERE).contains("another controller uses the folder"));
    controller.process.kill();
    let file = folder.join("taskyard-controller.json");
    assert_eq!((mode(folder), mode(&file)), (0o700, 0o600));
    set_mode(&file, 0o644);
    assert!(advice(folder, &ANYWHERE).contains("chmod 600"));
    set_mode(&file, 0o600);
    fs::write(&file, "garbage").expect("it is ours");
    assert!(advice(folder, &ANYWHERE).contains("remove it and start anew"));
    let victim = folder.join("victim");
    fs::write(&victim, "precious").expect("a file");
    fs::remove_file(&file).expect("it is ours");
    symlink(&victim, &file).expect("a link");
    assert!(advice(folder, &ANYWHERE).contains("symbolic link"));
    fs::remove_file(&file).expect("it is ours");
    let other = folder.join("taskyard-worker.json");
    fs::remove_file(&other).expect("it is ours");
    symlink(&victim, &other).expect("a link");
    assert!(advice(folder, &ANYWHERE).contains("remove it"));
    assert_eq!(
        fs::read_to_string(&victim).expect("it is there"),
        "precious"
    );
    set_mode(folder, 0o777);
    assert!(advice(folder, &ANYWHERE).contains("chmod 700"));
}

#[test]
fn nothing_goes_over_a_network_in_the_clear_unless_one_insists() {
    let scratch = Scratch::new();
    // Loopback in a notation that stands for any other host's address.
    let elsewhere = "tcp://[::ffff:127.0.0.1]:*";
    let only_workers = ["--clients", "tcp://127.0.0.1:*", "--workers", elsewhere];
    let both = ["--clients", elsewhere, "--workers", elsewhere];
    for args in [
        &only_workers[..],
        &both,
        &[&both[..], &["--no-auth"]].concat(),
    ] {
        let said = advice(scratch.path(), args);
        assert!(said.contains("--insecure-network"), "{said}");
    }
    for every in ["tcp://*:*", "tcp://0.0.0.0:*", "tcp://[::]:*"] {
        let args = ["--clients", every, "--workers", "tcp://127.0.0.1:*"];
        assert!(advice(scratch.path(), &args).contains("--insecure-network"));
    }
    // It says so each time that it starts, past every setting of the log.
    let args = [&both[..], &["--insecure-network"]].concat();
    for _ in 0..2 {
        let mut command = taskyard();
        command.arg("controller").args(&args);
        command.arg("--connection-dir").arg(scratch.path());
        command.env("RUST_LOG", "off").stdout(Stdio::null());
        let mut child = Process(command.stderr(Stdio::piped()).spawn().expect("it starts"));
        let stderr = child.0.stderr.take().expect("a pipe");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stderr));
        for _ in 0..2 {
            let line = lines.next().expect("a line").expect("text");
            assert!(line.starts_with("INSECURE: "), "{line}");
        }
    }
}

// ---- strangers ----

#[test]
fn strangers_cost_no_memory_and_hold_nobody_up() {
    let controller = ControllerProcess::start(&[]);
    let mut client = controller.client(&context());
    let _workers = controller.start_workers("w", 2);
    await_workers(&mut client, 2);
    let before = resident_kib(&controller);
    let mut held = Vec::new();
    for endpoint in [&controller.clients, &controller.workers] {
        for attack in [endless_frames, half_handshakes, wrong_passwords] {
            held.extend(attack(endpoint));
            works(&mut client);
        }
    }
    let after = resident_kib(&controller);
    assert!(
        after < before + STRANGERS_MAX_KIB,
        "{before} KiB became {after}"
    );
    println!(
        "{} strangers: {before} KiB before, {after} after",
        held.len()
    );
    works(&mut client);
}

fn resident_kib(controller: &ControllerProcess) -> u64 {
    let pid = controller.process.0.id();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.expect("a number").parse().expect("a number")
}

fn stranger(endpoint: &str) -> TcpStream {
    let address = endpoint.strip_prefix("tcp://").expect("a TCP endpoint");
    let stream = TcpStream::connect(address).expect("the controller accepts");
    stream
        .set_write_timeout(Some(Duration::from_millis(200)))
        .expect("an option");
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("an option");
    stream
}

fn greeting(mechanism: &[u8]) -> [u8; 64] {
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
    greeting[12..12 + mechanism.len()].copy_from_slice(mechanism);
    greeting
}

/// Greets, and then sends empty frames of one message without end: no option of libzmq bounds them.
fn endless_frames(endpoint: &str) -> Vec<TcpStream> {
    const EMPTY_MORE: [u8; 2] = [1, 0];
    let frames = EMPTY_MORE.repeat(1 << 15);
    let ready = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER";
    let mut streams = Vec::new();
    for mechanism in [&b"NULL"[..], b"PLAIN", b"CURVE"] {
        let mut stream = stranger(endpoint);
        // It may be closed on us at any point, which is as it should be.
        let _ = stream.write_all(&greeting(mechanism));
        let _ = stream.write_all(ready);
        // Until both ends are ready any further frame ends the connection.
        let mut answer = [0; 70];
        let _ = stream.read_exact(&mut answer);
        let end = Instant::now() + SHORT;
        while Instant::now() < end && stream.write_all(&frames).is_ok() {}
        streams.push(stream);
    }
    streams
}

/// Stops anywhere on the way in.
fn half_handshakes(endpoint: &str) -> Vec<TcpStream> {
    let whole = [&greeting(b"PLAIN")[..], b"\x04\x20\x05HELLO\x06client\x28"].concat();
    let cuts = (0..=whole.len()).cycle().take(300);
    cuts.map(|cut| {
        let mut stream = stranger(endpoint);
        let _ = stream.write_all(&whole[..cut]);
        stream
    })
    .collect()
}

/// Guesses.
fn wrong_passwords(endpoint: &str) -> Vec<TcpStream> {
    let hello = [&b"\x04\x16\x05HELLO\x06worker\x08"[..], b"password"].concat();
    (0..300)
        .map(|_| {
            let mut stream = stranger(endpoint);
            let _ = stream.write_all(&greeting(b"PLAIN"));
            let _ = stream.write_all(&hello);
            stream
        })
        .collect()
}

/// The canary: the same frames, where nobody is asked for a key.
#[test]
fn endless_frames_do_cost_memory_where_nobody_is_asked() {
    let controller = ControllerProcess::start(&["--no-auth"]);
    let before = resident_kib(&controller);
    let held = endless_frames(&controller.clients);
    let end = Instant::now() + PATIENCE;
    while resident_kib(&controller) < before + STRANGERS_MAX_KIB {
        assert!(Instant::now() < end, "the attack is no attack");
        thread::sleep(Duration::from_millis(10));
    }
    drop(held);
}

#[test]
fn the_program_says_what_a_stranger_is_told() {
    let help = Command::new(taskyard().get_program())
        .args(["controller", "--help"])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    for option in [
        "--connection-dir",
        "--fresh-keys",
        "--no-auth",
        "--insecure-network",
    ] {
        assert!(text.contains(option), "{option}");
    }
}
