//! What can happen around the sessions of a shard, in few bytes each.

use arbitrary::Arbitrary;

/// A choice among what is known; a high one is made up.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) struct Pick(pub(super) u8);

/// What a peer that means harm says: a header made of what has been seen on the wire.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) struct Wording {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) seq: u8,
    pub(super) ack: u8,
    /// An attempt that was seen, or its parts made up.
    pub(super) attempt: Pick,
    pub(super) shift: u8,
    pub(super) id: Pick,
    pub(super) code: u8,
    pub(super) extra: u8,
    pub(super) name: u8,
    pub(super) tail: Tail,
}

/// What stands behind a header.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Tail {
    Nothing,
    /// A client's key: one of a few, none of them an honest one's.
    Key(u8),
    Inline(u8),
    Frames(u8, u8),
    Unusable(u8),
    /// The frame ends too early, by so much.
    Cut(u8),
}

/// What is said of another's attempt.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Forgery {
    Result,
    HandIn,
    StillRuns,
    Started,
    Revoked,
}

/// Where an honest task shall run.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Goal {
    Any,
    Worker(u8),
    Named(u8),
    All,
}

/// What happens.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Operation {
    /// A peer that means harm connects, greeted by libzmq's empty message or not.
    Connect {
        at_workers: bool,
        probed: bool,
    },
    Say(Pick, Wording),
    /// A worker that means harm speaks of an attempt as if it were its own.
    Forge(Pick, Forgery, Pick, u8),
    Raw(Pick, u8, [u8; 36]),
    Probe(Pick),
    Hangup(Pick),
    /// The next so many sends are refused.
    Refuse {
        count: u8,
        full: bool,
    },
    /// The shard reads one message of some connection.
    Read(Pick),
    /// And all that there is room for.
    ReadAll,
    Dispatch(u8),
    /// The shard reads, works and answers, as it does when nothing holds it up.
    Serve,
    Answer {
        replies: u8,
        deliveries: u8,
    },
    Pass(u8),
    /// The controller is started anew.
    Restart,
    Submit {
        client: bool,
        task: u8,
        goal: Goal,
        attempts: u8,
        within: u8,
    },
    Cancel {
        client: bool,
        task: u8,
    },
    /// An honest peer reads what it was sent.
    Hear(Pick),
    /// An honest client acknowledges, or an honest worker starts what waits.
    Tend(Pick),
    Report {
        worker: bool,
        at: u8,
        failed: bool,
    },
    /// An honest peer introduces itself again, unasked.
    Anew(Pick),
    /// An honest peer's connection breaks: so much of what is under way arrives, so much is sent
    /// again behind the next one's greeting, so much of what was sent to it is read late.
    Break {
        who: Pick,
        arrive: u8,
        kept: u8,
        late: u8,
    },
}
