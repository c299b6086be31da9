//! One test per rule, by hand. Each ends with `finish`: nothing may be left over.

mod carried;
mod contract;
mod control;
mod early;
mod loss;
mod multicast;
mod prefetch;
mod pressure;
mod sessions;
mod tasks;
mod told;
