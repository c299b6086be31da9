//! The controller's sessions, spoken to in bytes.

#[path = "../common/mod.rs"]
mod common;

mod anybody;
mod clients;
mod control;
mod named;
mod output;
mod support;
mod watchers;
mod wishes;
mod workers;
