//! A worker that was sent on to where nobody answers.

use std::time::{Duration, Instant};

use taskyard_protocol::wire::{Flags, Head, Header, Kind, Message};
use taskyard_zmq::{
    Context, ContextOptions, HostOptions, RemoteWorker, StopFlag, WorkerEvent, WorkerHost,
    WorkerOptions,
};

const PATIENCE: Duration = Duration::from_secs(30);
/// Nobody listens on a port below 1024 here.
const NOWHERE: &str = "tcp://127.0.0.1:1";

/// A controller that only sends workers away.
struct Doorman {
    socket: zmq::Socket,
    endpoint: String,
}

impl Doorman {
    fn new(context: &zmq::Context) -> Self {
        let socket = context.socket(zmq::ROUTER).unwrap();
        socket.set_linger(0).unwrap();
        socket.set_rcvtimeo(10).unwrap();
        socket.bind("tcp://127.0.0.1:*").unwrap();
        let endpoint = socket.get_last_endpoint().unwrap().unwrap();
        Self { socket, endpoint }
    }

    /// Answers one message, if there is one; a registration is sent on, and comes back.
    fn answer(&self) -> Option<Header> {
        let (mut id, mut first) = (zmq::Message::new(), zmq::Message::new());
        self.socket.recv(&mut id, 0).ok()?;
        self.socket.recv(&mut first, 0).unwrap();
        let (head, register) = match Message::decode(&first) {
            Ok(Message { header, .. }) if header.kind == Kind::Register => {
                let mut redirect = Header::new(Kind::Redirect);
                redirect.id = header.seq.into();
                let head = Head::new(&redirect).body(NOWHERE.as_bytes());
                (head, Some(header))
            }
            _ => (Head::new(&Header::new(Kind::WhoAreYou)), None),
        };
        self.socket.send(id, zmq::SNDMORE).unwrap();
        self.socket.send(head.as_slice(), 0).unwrap();
        register
    }
}

#[test]
fn it_comes_back_to_its_first_endpoint() {
    let raw_context = zmq::Context::new();
    let doorman = Doorman::new(&raw_context);
    let context = Context::new(ContextOptions::default()).unwrap();
    let options = WorkerOptions::new(doorman.endpoint.parse().unwrap(), "w");
    let mut worker = RemoteWorker::connect(&context, &options).unwrap();
    let (mut registers, mut redirects) = (Vec::new(), Vec::new());
    let end = Instant::now() + PATIENCE;
    while registers.len() < 2 {
        assert!(Instant::now() < end, "it did not come back");
        registers.extend(doorman.answer());
        let event = worker.wait(Duration::from_millis(10)).unwrap();
        if let Some(WorkerEvent::Redirect(endpoint)) = event {
            redirects.push(endpoint);
        }
    }
    assert_eq!(redirects[..2], [NOWHERE, &doorman.endpoint]);
    let numbers = registers.iter().map(|header| header.seq);
    assert_eq!(numbers.collect::<Vec<_>>(), [1, 2]);
    assert!(
        registers
            .iter()
            .all(|header| !header.flags.has(Flags::NO_REDIRECT)),
        "it may be sent on again"
    );
}

#[test]
fn so_do_many_on_one_thread() {
    const COUNT: usize = 20;
    let raw_context = zmq::Context::new();
    let doorman = Doorman::new(&raw_context);
    let context = Context::new(ContextOptions::default()).unwrap();
    let options = HostOptions::new(doorman.endpoint.parse().unwrap());
    let names = (0..COUNT).map(|n| format!("w{n}"));
    let mut host = WorkerHost::connect(&context, &options, names).unwrap();
    let stop = StopFlag::new();
    let theirs = stop.clone();
    let thread = std::thread::spawn(move || {
        host.run(|_, _| unreachable!("nobody gives them a task"), &theirs)
            .unwrap();
    });
    let end = Instant::now() + PATIENCE;
    let mut registers = 0;
    while registers < 2 * COUNT {
        assert!(Instant::now() < end, "only {registers} registrations came");
        registers += usize::from(doorman.answer().is_some());
    }
    stop.stop();
    thread.join().unwrap();
}
