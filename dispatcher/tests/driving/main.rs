//! The dispatcher and its ports, driven by hand: scenarios, random histories, and threads that
//! park.

mod random;
mod scenarios;
mod stress;
mod support;
