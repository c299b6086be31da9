//! The `taskyard` program as people and other programs use it: real controllers, real processes,
//! real signals.

mod commands;
mod submit;
mod support;
mod top;
mod workers;
