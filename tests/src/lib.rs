//! What the tests of the whole share. It cannot be used by anything but tests.

pub mod chaos;
pub mod cluster;
pub mod counting;
pub mod sim;

/// The programs in README.md: they must compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
