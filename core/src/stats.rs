//! Counters: how much of what happened, and how deep the queues are.

use crate::task::Route;

/// A struct of counters that can be named and counted.
macro_rules! counters {
    ($(#[$doc:meta])* pub struct $Counters:ident {
        $($(#[$field_doc:meta])* pub $field:ident: u64,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $Counters {
            $($(#[$field_doc])* pub $field: u64,)*
        }

        impl $Counters {
            /// The name of each counter, in the order in which they are declared: new ones are
            /// added at the end.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($field)),*];

            /// Each counter by its name.
            ///
            /// ```
            /// let stats = taskyard_core::Stats::default();
            /// assert_eq!(stats.named().next(), Some(("accepted", 0)));
            /// ```
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field)),*].into_iter()
            }

            /// From the values of all counters, in their order; those that are missing are 0.
            ///
            /// ```
            /// use taskyard_core::Stats;
            /// let stats = Stats::from_values([7, 2]);
            /// assert_eq!((stats.accepted, stats.refused, stats.known), (7, 2, 0));
            /// ```
            #[must_use]
            pub fn from_values(values: impl IntoIterator<Item = u64>) -> Self {
                let mut values = values.into_iter();
                Self {
                    $($field: values.next().unwrap_or(0),)*
                }
            }
        }
    };
}

counters! {
    /// Counters of a scheduler. Those named `depth_*`, `outstanding_*` and `open` are levels, the
    /// others only grow.
    pub struct Stats {
        /// Submits that were accepted; a multicast is one.
        pub accepted: u64,
        /// Submits that were refused.
        pub refused: u64,
        /// Submits of a task that was known.
        pub known: u64,
        /// Tasks and parts that were told to be running: by a claim, by a lost revoke, by the
        /// worker, or by their result.
        pub started: u64,
        /// Tasks and parts that ended as `Completed`.
        pub completed: u64,
        /// Tasks and parts that ended as `Failed`.
        pub failed: u64,
        /// Tasks and parts that ended as `WorkerLost`.
        pub lost: u64,
        /// Attempts that were lost and followed by another.
        pub rerun: u64,
        /// Attempts that went on because their worker came back and still ran them.
        pub carried: u64,
        /// Notices of re-runs that there was no place for.
        pub notices_dropped: u64,
        /// Results from before a restart that were kept for their clients.
        pub early_kept: u64,
        /// Results from before a restart that came too late, or that nobody has asked for.
        pub early_dropped: u64,
        /// Attempts that failed and were followed by another.
        pub retried: u64,
        /// Tasks that were sent to a worker ahead of its slots, as far as was told.
        pub prefetched: u64,
        /// Tasks that a worker was asked to give back.
        pub recalled: u64,
        /// Tasks that a worker gave back before it had started them.
        pub given_back: u64,
        /// Offers that were withdrawn because another worker was hungry.
        pub reoffered: u64,
        /// Waits of a task for its lost worker's name to return.
        pub held: u64,
        /// Tasks that queue control took away before they started.
        pub removed: u64,
        /// Tasks and parts that ended as `Cancelled`.
        pub cancelled: u64,
        /// Tasks and parts that ended as `TimedOut`.
        pub timed_out: u64,
        /// Tasks and parts that ended when nobody waited for them any more.
        pub forgotten: u64,
        /// Aborts that were sent.
        pub aborts: u64,
        /// Workers that were asked to leave.
        pub evictions: u64,
        /// Workers that were admitted.
        pub workers_admitted: u64,
        /// Workers that were lost.
        pub workers_lost: u64,
        /// Stale or senseless: a client that is not known or not attached.
        pub stale_client: u64,
        /// Stale or senseless: a claim.
        pub stale_claim: u64,
        /// Stale or senseless: a report, handed in or not.
        pub stale_report: u64,
        /// Stale or senseless: a claimed task that came back.
        pub stale_return: u64,
        /// Stale or senseless: the answer to a revoke.
        pub stale_revoke: u64,
        /// Stale or senseless: something about a worker.
        pub stale_worker: u64,
        /// Credit that came back though none was out.
        pub stale_credit: u64,
        /// Tasks and parts without an outcome.
        pub open: u64,
        /// Tasks for any worker that wait in the core.
        pub depth_any: u64,
        /// Tasks for one worker that wait in the core.
        pub depth_directed: u64,
        /// Tasks for the workers with some label that wait in the core.
        pub depth_label: u64,
        /// Bytes of the payloads of tasks without an outcome, as far as was said.
        pub payload_bytes: u64,
        /// Bytes of the results that wait for their clients, as far as was said.
        pub result_bytes: u64,
        /// Workers that may be given something and have nothing.
        pub hungry: u64,
        /// Envelopes in the pool, tombstones included.
        pub outstanding_pool: u64,
        /// Envelopes in mailboxes or of tasks out of mailboxes that run, tombstones included.
        pub outstanding_directed: u64,
        /// Pieces of output for clients that could be told, those included that were dropped then.
        pub output: u64,
        /// Pieces of output that were dropped because the client's port had no room to spare.
        pub output_dropped: u64,
        /// Stale or senseless: output of an attempt that its sender does not have.
        pub stale_output: u64,
    }
}

impl Stats {
    /// The depth of a kind of topic.
    #[inline]
    pub(crate) const fn depth_of(&mut self, route: Route) -> &mut u64 {
        match route {
            Route::Any => &mut self.depth_any,
            Route::Worker(_) => &mut self.depth_directed,
            Route::Label(_) => &mut self.depth_label,
        }
    }
}
