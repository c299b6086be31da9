//! The controller as a library: a dispatcher and its ZeroMQ shards, put together as the `taskyard`
//! program and the bench harness run them. It cannot start workers or submit tasks; they attach.

mod access;
mod controller;
mod error;
mod one_line;
mod options;

pub use controller::Controller;
pub use error::Error;
pub use one_line::one_line;
pub use options::{Mode, Options};
