//! The scheduler as a driver sees it: scenarios by hand, random operations by seed, and garbage.

mod env;
mod garbage;
mod scenarios;
mod world;
