//! The dispatcher and its ports, driven by hand: scenarios, random histories, and real threads:
//! that park, that stand still, that end, and that are many.

mod frozen_thief;
mod random;
mod scale;
mod scenarios;
mod shutdown;
mod stress;
mod support;
