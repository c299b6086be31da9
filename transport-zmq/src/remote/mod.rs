//! What a program on another host links: clients and workers of a controller.

mod client;
mod host;
mod link;
mod worker;

pub use client::{ClientKey, ClientOptions, RemoteClient};
pub use host::{HostOptions, RegisteredCount, WorkerHost};
pub use link::ControllerLiveness;
pub use worker::{RemoteWorker, WorkerOptions};
