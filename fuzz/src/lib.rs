//! The bodies of the fuzz targets. They cannot find anything by themselves: libFuzzer feeds them,
//! and plain tests of `taskyard-core` and `taskyard-protocol` replay what it has found worth
//! keeping (`corpus/`), without a nightly compiler.

pub mod decode;
pub mod remote;
pub mod scheduler_ops;
pub mod sessions;
