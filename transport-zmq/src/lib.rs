//! The ZeroMQ transport of Taskyard: the shards of a controller, and what a Rust program on another
//! host links to be a client or a worker. It cannot schedule, decide what becomes of a task, or
//! make sense of a payload; and no other crate of Taskyard names ZeroMQ.
//!
//! | to | use |
//! | --- | --- |
//! | listen for clients and workers | [`Shard`], attached to a dispatcher |
//! | submit tasks from another process | [`RemoteClient`] |
//! | run tasks in another process | [`RemoteWorker`], or [`WorkerHost`] for many on one thread |
//!
//! All `unsafe` is in the folder `sys`, for calls into C only.
//!
//! A controller, a worker and a client, here on three threads of one process:
//! ```
//! use std::time::Duration;
//! use taskyard_core::{Config, Outcome, Submit, Target, Verdict};
//! use taskyard_dispatcher::{Clock, Dispatcher};
//! use taskyard_zmq::*;
//!
//! let context = Context::new(ContextOptions::default())?;
//! let anywhere: Endpoint = "tcp://127.0.0.1:*".parse()?;
//! let options = ShardOptions::new(Some(anywhere.clone()), anywhere);
//! let mut shard = Shard::bind(&context, &options)?;
//! let clients = shard.clients_endpoint().expect("asked for").clone();
//! let workers = shard.workers_endpoint().clone();
//!
//! let stop = StopFlag::new();
//! std::thread::scope(|scope| {
//!     scope.spawn(|| {
//!         let mut dispatcher = Dispatcher::new(Config::default(), shard.unparker()).unwrap();
//!         let mut port = dispatcher.attach(shard.unparker()).unwrap();
//!         shard.run_hosted(&mut port, &mut dispatcher, Clock::start(), &stop).unwrap();
//!     });
//!     scope.spawn(|| {
//!         let names = ["shouter".to_owned()];
//!         let options = HostOptions::new(workers);
//!         let mut host = WorkerHost::connect(&context, &options, names).unwrap();
//!         host.run(
//!             |_, task| {
//!                 let shouted = task.bytes().unwrap_or_default().to_ascii_uppercase();
//!                 (Verdict::Completed, ZmqPayload::from_bytes(&shouted))
//!             },
//!             &stop,
//!         )
//!         .unwrap();
//!     });
//!     let mut client = RemoteClient::connect(&context, &ClientOptions::new(clients)).unwrap();
//!     let task = client.next_task_id();
//!     let payload = ZmqPayload::from_bytes(b"hello");
//!     client.submit(Submit::new(task, Target::Any), None, payload).unwrap();
//!     match client.wait(Duration::from_secs(30)).unwrap() {
//!         Some(ClientEvent::Outcome { outcome, payload, .. }) => {
//!             assert_eq!(outcome, Outcome::Completed);
//!             assert_eq!(payload, Some(ZmqPayload::from_bytes(b"HELLO")));
//!         }
//!         other => panic!("{other:?}"),
//!     }
//!     stop.stop();
//! });
//! # Ok::<(), Error>(())
//! ```

mod endpoint;
mod error;
mod heartbeat;
mod limits;
mod log;
mod message;
mod monitor;
mod multipart;
mod peers;
mod probe;
mod pulse;
mod remote;
mod router;
mod security;
mod shard;
mod sockets;
mod spare;
mod stop;
mod sys;
mod unpark;

pub use endpoint::Endpoint;
pub use error::Error;
pub use heartbeat::Heartbeat;
pub use limits::{
    MemoryBound, QueueLimits, controller_descriptors, raise_descriptor_limit, remote_descriptors,
};
pub use message::ZmqPayload;
pub use probe::LibzmqFeatures;
pub use remote::{
    ClientKey, ClientOptions, ControllerLiveness, HostOptions, RegisteredCount, RemoteClient,
    RemoteWorker, WorkerHost, WorkerOptions,
};
pub use router::RouterStats;
pub use security::{ConnectionDir, Credentials, Key, Keys, Mechanism, Published, Role, Security};
pub use shard::{Shard, ShardOptions, ShardStats};
pub use stop::StopFlag;
pub use sys::{Context, ContextOptions};
pub use taskyard_protocol::remote::{Assignment, ClientEvent, Repeats, WorkerEvent};
pub use taskyard_protocol::{
    Answer, ControlOrder, OUTPUT_MAX, OrderRefusal, Owner, Page, Statistics, TopicRef, TriedWorker,
    Which, WorkerDescription, WorkerNames, WorkerRef,
};
