//! The system under test: the very controller that the `taskyard` program runs.

use std::time::Duration;

use taskyard_controller::{Controller, Mode as ControllerMode, Options};
use taskyard_zmq::Heartbeat;

use super::serve;
use crate::error::Error;
use crate::messages::{Endpoints, HeartbeatMs};
use crate::options::Mode;

/// Controls until the process is ended.
pub(super) fn run(
    mode: Mode,
    endpoints: Endpoints,
    shards: u16,
    payload: u32,
    heartbeat: Option<HeartbeatMs>,
) -> Result<(), Error> {
    let clients = endpoints.clients.parse().map_err(Error::system)?;
    let workers = endpoints.workers.parse().map_err(Error::system)?;
    let mut options = Options::new(clients, workers);
    options.mode = match mode {
        Mode::Auto => ControllerMode::Auto,
        Mode::Pinned => ControllerMode::Pinned,
        Mode::Hosted => ControllerMode::Hosted,
    };
    options.shards = shards;
    // The namespaces of `failures` are no network: they end with it.
    options.insecure_network = true;
    options.connection_dir = endpoints.connection.unwrap_or(options.connection_dir);
    options.payload_max = options.payload_max.max(payload as usize);
    if let Some(HeartbeatMs { interval, timeout }) = heartbeat {
        let [interval, timeout] = [interval, timeout].map(Duration::from_millis);
        options.heartbeat = Some(Heartbeat::new(interval, timeout).map_err(Error::system)?);
    }
    let controller = Controller::start(&options).map_err(Error::system)?;
    let endpoints = Endpoints {
        clients: controller.clients_endpoint().to_string(),
        workers: controller.workers_endpoint().to_string(),
        connection: Some(controller.connection_dir().into()),
    };
    let mode = Some(controller.mode().name().to_owned());
    serve::say_ready_at(endpoints, mode)?;
    serve::serve_in_background();
    controller.wait().map_err(Error::system)
}
