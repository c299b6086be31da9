//! Who may come in, over real sockets: by the better mechanism that the linked libzmq has.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use taskyard_core::Target;
use taskyard_zmq::{
    ClientOptions, Credentials, Endpoint, Error, Key, Mechanism, RemoteClient, RemoteWorker, Role,
    Security, Shard, ShardOptions, WorkerEvent, WorkerOptions,
};

mod common;
use common::{Controller, PATIENCE, context, ipc, next_outcome, submit, tcp, wait_for};

const ROLES: [Role; 3] = [Role::Client, Role::Worker, Role::Operator];
/// Who is not let in is not answered: that takes so long to find.
const SHORT: Duration = Duration::from_millis(300);

/// A run that is meant for one mechanism says so, and must not pass with the other.
#[test]
fn the_mechanism_is_the_better_one_that_there_is() {
    let mechanism = format!("{:?}", Mechanism::best()).to_lowercase();
    if let Ok(expected) = std::env::var("TASKYARD_MECHANISM") {
        assert_eq!(mechanism, expected);
    }
    let features = taskyard_zmq::LibzmqFeatures::probe().unwrap();
    assert_eq!(features.curve, mechanism == "curve");
    assert_eq!(Security::fresh().unwrap().mechanism(), Mechanism::best());
}

fn guarded(endpoint: fn() -> Endpoint, security: &Security) -> Controller {
    let mut options = ShardOptions::new(Some(endpoint()), endpoint());
    options.security = security.clone();
    Controller::hosted(options)
}

fn client(
    controller: &Controller,
    credentials: Credentials,
    timeout: Duration,
) -> Result<RemoteClient, Error> {
    let mut options = ClientOptions::new(controller.clients.clone()).credentials(credentials);
    options.connect_timeout = timeout;
    RemoteClient::connect(&context(), &options)
}

fn worker(controller: &Controller, credentials: Credentials) -> RemoteWorker {
    let options = WorkerOptions::new(controller.workers[0].clone(), "w").credentials(credentials);
    RemoteWorker::connect(&context(), &options).unwrap()
}

fn is_registered(worker: &mut RemoteWorker, timeout: Duration) -> bool {
    let due = Instant::now() + timeout;
    while worker.registered().is_none() && Instant::now() < due {
        worker.wait(due - Instant::now()).unwrap();
    }
    worker.registered().is_some()
}

fn refused(controller: &Controller, credentials: Credentials) {
    let error = client(controller, credentials.clone(), SHORT).unwrap_err();
    assert!(matches!(error, Error::NoAnswer { .. }), "{error}");
    assert!(!is_registered(&mut worker(controller, credentials), SHORT));
}

/// The same with another key.
fn with_a_wrong_key(credentials: &Credentials) -> Credentials {
    let mut wrong = credentials.clone();
    match &mut wrong {
        Credentials::Plain { key, .. } | Credentials::Curve { key, .. } => {
            *key = Key::fresh().unwrap();
        }
        Credentials::None => panic!("there are keys"),
    }
    wrong
}

#[test]
fn each_role_comes_in_at_its_own_side_alone() {
    for endpoint in [tcp, ipc] {
        let security = Security::fresh().unwrap();
        let controller = guarded(endpoint, &security);
        for role in ROLES {
            let credentials = security.credentials(role).unwrap();
            if role == Role::Worker {
                assert!(client(&controller, credentials.clone(), SHORT).is_err());
                let mut worker = worker(&controller, credentials);
                assert!(is_registered(&mut worker, PATIENCE));
                worker.leave();
            } else {
                client(&controller, credentials.clone(), PATIENCE).unwrap();
                assert!(!is_registered(&mut worker(&controller, credentials), SHORT));
            }
        }
        let stats = controller.stop()[0];
        assert!(stats.clients.auth_failed >= 1 && stats.workers.auth_failed >= 2);
    }
}

#[test]
fn without_the_right_key_nobody_comes_in() {
    let security = Security::fresh().unwrap();
    let controller = guarded(tcp, &security);
    let good = security.credentials(Role::Client).unwrap();
    let plain = |role, key| Credentials::Plain { role, key };
    let mut others = vec![
        Credentials::None,
        with_a_wrong_key(&good),
        plain(Role::Client, Key::fresh().unwrap()),
        // The key of one under the name of another.
        match &good {
            Credentials::Plain { key, .. } => plain(Role::Worker, key.clone()),
            other => with_a_wrong_key(other),
        },
    ];
    if let Credentials::Curve { key, server } = &good {
        // Somebody who pretends to be the controller is found out by the client.
        let (key, mut server) = (key.clone(), *server);
        server[0] ^= 1;
        others.push(Credentials::Curve { key, server });
    }
    let count = others.len() as u64;
    for credentials in others {
        refused(&controller, credentials);
    }
    drop(client(&controller, good, PATIENCE).unwrap());
    let stats = controller.stop()[0];
    for side in [stats.clients, stats.workers] {
        assert!(side.auth_failed >= count, "{side:?}");
    }
    assert_eq!(stats.workers.received, 0);
}

#[test]
fn what_is_asked_of_nobody_is_answered_to_all_but_holders_of_keys() {
    let controller = guarded(tcp, &Security::None);
    drop(client(&controller, Credentials::None, PATIENCE).unwrap());
    let key = Key::fresh().unwrap();
    let role = Role::Client;
    refused(&controller, Credentials::Plain { role, key });
}

#[test]
fn who_was_in_comes_back_by_itself_after_a_restart_with_the_same_keys() {
    let security = Security::fresh().unwrap();
    let first = guarded(tcp, &security);
    let mut options = ShardOptions::new(Some(first.clients.clone()), first.workers[0].clone());
    options.security = security.clone();
    let credentials = |role| security.credentials(role).unwrap();
    let mut client = client(&first, credentials(Role::Client), PATIENCE).unwrap();
    let mut worker = worker(&first, credentials(Role::Worker));
    assert!(is_registered(&mut worker, PATIENCE));
    drop(first);
    let _second = Controller::hosted(options);
    let serving = std::thread::spawn(move || {
        loop {
            match worker.wait(PATIENCE).unwrap() {
                Some(WorkerEvent::Task(task, payload)) => {
                    let verdict = taskyard_core::Verdict::Completed;
                    worker.report(&task, verdict, Some(common::copy(&payload)));
                    // It leaves only as fast as the link is looked after.
                    while worker.wait(SHORT).unwrap().is_some() {}
                    return;
                }
                Some(_) => {}
                None => panic!("no task came"),
            }
        }
    });
    submit(&mut client, Target::Any, b"again");
    let seen = next_outcome(&mut client);
    assert_eq!(seen.payload.unwrap().bytes(), Some(&b"again"[..]));
    serving.join().unwrap();
}

#[test]
fn who_was_turned_away_for_a_while_comes_back_by_itself() {
    let [ours, others] = [(); 2].map(|()| Security::fresh().unwrap());
    let first = guarded(tcp, &ours);
    let mut options = ShardOptions::new(Some(first.clients.clone()), first.workers[0].clone());
    let credentials = |role| ours.credentials(role).unwrap();
    let mut worker = worker(&first, credentials(Role::Worker));
    assert!(is_registered(&mut worker, PATIENCE));
    drop(first);
    options.security = others;
    let wrong = Controller::hosted(options.clone());
    let due = Instant::now() + 4 * SHORT;
    while Instant::now() < due {
        let _ = worker.wait(SHORT).unwrap();
    }
    let stats = wrong.stop()[0];
    assert!(stats.workers.auth_failed > 0, "{stats:?}");
    assert_eq!(stats.workers.received, 0);
    options.security = ours;
    let _right = Controller::hosted(options);
    let due = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < due, "it gave up");
        if matches!(
            worker.wait(SHORT).unwrap(),
            Some(WorkerEvent::Registered { .. })
        ) {
            break;
        }
    }
}

#[test]
fn sockets_in_the_file_system_are_for_ourselves_alone() {
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let controller = guarded(ipc, &Security::None);
    let path = controller.clients.as_str().strip_prefix("ipc://").unwrap();
    let path = Path::new(path).to_owned();
    let folder = path.parent().unwrap().to_owned();
    assert_eq!((mode(&path), mode(&folder)), (0o600, 0o700));
    drop(controller);
    wait_for("the folder to go", || !folder.exists());
}

#[test]
fn nothing_is_said_in_the_clear_to_other_hosts_unless_they_ask_for_it() {
    for text in ["tcp://0.0.0.0:*", "tcp://*:*", "tcp://[::]:*"] {
        let everywhere: Endpoint = text.parse().unwrap();
        for (clients, workers) in [(None, everywhere.clone()), (Some(everywhere), tcp())] {
            let options = ShardOptions::new(clients, workers);
            let error = Shard::bind(&context(), &options).unwrap_err();
            assert!(matches!(error, Error::InsecureNetwork(_)), "{error}");
            assert_eq!(error.to_string().lines().count(), 1);
        }
    }
    // Loopback in a notation that is not recognised as such: it stands for another host's.
    let mapped: Endpoint = "tcp://[::ffff:127.0.0.1]:*".parse().unwrap();
    let mut options = ShardOptions::new(None, mapped);
    assert!(Shard::bind(&context(), &options).is_err());
    options.security = Security::fresh().unwrap();
    let is_encrypted = options.security.mechanism() == Mechanism::Curve;
    assert_eq!(Shard::bind(&context(), &options).is_ok(), is_encrypted);
    options.insecure_network = true;
    assert!(Shard::bind(&context(), &options).is_ok());
}

#[test]
fn controllers_of_one_context_have_the_same_keys() {
    let context = context();
    let mut options = ShardOptions::new(None, tcp());
    options.security = Security::fresh().unwrap();
    let one = Shard::bind(&context, &options).unwrap();
    let _two = Shard::bind(&context, &options).unwrap();
    let other = Security::fresh().unwrap();
    let before = std::mem::replace(&mut options.security, other);
    let error = Shard::bind(&context, &options).unwrap_err();
    assert_eq!(error, Error::TwoSecurities);
    assert_ne!(before, options.security);
    drop((one, _two));
    assert!(
        Shard::bind(&context, &options).is_ok(),
        "the first are gone"
    );
}

#[test]
fn failed_handshakes_are_counted_although_nobody_ever_comes_in() {
    let security = Security::fresh().unwrap();
    let controller = guarded(tcp, &security);
    refused(&controller, Credentials::None);
    let stats = controller.stop()[0];
    // libzmq may try again.
    assert!(stats.clients.auth_failed >= 1 && stats.workers.auth_failed >= 1);
    assert_eq!((stats.clients.received, stats.workers.received), (0, 0));
}
