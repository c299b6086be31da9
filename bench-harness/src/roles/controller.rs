//! The system under test: the very controller that the `taskyard` program runs.

use taskyard_controller::{Controller, Mode as ControllerMode, Options};

use super::serve;
use crate::error::Error;
use crate::messages::Endpoints;
use crate::options::Mode;

/// Controls until the process is ended.
pub(super) fn run(
    mode: Mode,
    endpoints: Endpoints,
    shards: u16,
    payload: u32,
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
    options.payload_max = options.payload_max.max(payload as usize);
    let controller = Controller::start(&options).map_err(Error::system)?;
    let (clients, workers) = (controller.clients_endpoint(), controller.workers_endpoint());
    let mode = Some(controller.mode().name().to_owned());
    serve::say_ready_at(clients.to_string(), workers.to_string(), mode)?;
    serve::serve_in_background();
    controller.wait().map_err(Error::system)
}
