//! The wire format of Taskyard and the sessions of its peers. It cannot open a socket, read a
//! clock, start a thread or look into a payload: bytes and frames go in, frames and ring entries
//! come out, so every byte transport shares it.
//!
//! | to | see |
//! | --- | --- |
//! | read and write messages | [`wire`], with the numbers of [`read_outcome`] and its siblings |
//! | serve clients and workers on a socket of your own | [`Sessions`], [`Outbox`] |
//! | be a client or a worker | [`remote`], [`Wire`] |
//! | do any of this in another language | `docs/PROTOCOL.md` |

#![forbid(unsafe_code)]

mod client_sessions;
mod codes;
mod control;
mod labels;
mod log;
mod names;
mod output;
mod peer;
mod peers;
pub mod remote;
mod sessions;
mod submits;
mod tickets;
pub mod wire;
mod worker_sessions;

pub use codes::{
    Rejection, STILL_RUNS, Topic, is_of_session, read_outcome, refusal_from_extra,
    refusal_to_extra, stream_from_code, stream_to_code, verdict_from_code, verdict_to_code,
    write_outcome,
};
pub use control::{
    Authority, ControlOrder, Owner, TopicRef, Which, WorkerRef, read_answer,
    read_worker_descriptions, write_answer,
};
pub use labels::{LABEL_MAX, LABELS_MAX, is_label, read_labels, write_labels};
pub use log::WorkerLog;
pub use names::{TriedWorker, WorkerDescription, WorkerNames};
pub use output::{OUTPUT_BYTES_MAX, OUTPUT_MAX, OUTPUT_PIECES_MAX};
pub use peer::{FromInline, Incoming, Outbox, PeerKey, SendError, Side, Wire};
pub use sessions::SessionCounts;
pub use sessions::{SessionOptions, SessionStats, Sessions};
#[doc(hidden)]
pub use taskyard_dispatcher::{Answer, OrderRefusal, Page, Statistics};
