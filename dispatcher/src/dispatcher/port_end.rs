//! The dispatcher's side of an attachment: the other ends of a port's rings, and who is behind
//! them.

use std::sync::Arc;

use taskyard_core::{ClientId, WorkerId};

use crate::doorbell::Bell;
use crate::envelope::{Event, Reply};
use crate::parker::Unpark;
use crate::port::REPLIES;
use crate::ring::{Consumer, Producer, ring};
use crate::room::RoomFlag;
use crate::spare_room::{SpareBytes, spare_room};

/// One port, as the dispatcher has it.
pub(super) struct PortEnd<P> {
    pub(super) events: Consumer<Event<P>>,
    replies: Producer<Reply<P>>,
    reply_room: Arc<RoomFlag>,
    pub(super) event_room: Arc<RoomFlag>,
    /// Output that waits in either ring.
    pub(super) output_events: SpareBytes,
    pub(super) output_replies: SpareBytes,
    bell: Bell,
    pub(super) unpark: Arc<dyn Unpark>,
    /// There was no room for a reply: its events and replies wait for the port to ring.
    pub(super) blocked: bool,
    /// The scheduler has replies for it that wait for room.
    pub(super) deferred: bool,
    /// Has or had workers, so its thread has a place among the sleepers on the pool.
    pub(super) steals: bool,
    /// Places of the worker table whose owner is told by this port: from the registration on, until
    /// it was refused or the mailbox is back.
    pub(super) places: u32,
    /// Replies were pushed since its bell was last rung.
    unrung: bool,
    /// Its rings were closed, and its peers have been reported down.
    gone: bool,
    /// Its clients that are up, for the day on which it is gone.
    clients: Vec<ClientId>,
}

impl<P: Send> PortEnd<P> {
    pub(super) fn new(
        events: Consumer<Event<P>>,
        replies: Producer<Reply<P>>,
        reply_room: Arc<RoomFlag>,
        event_room: Arc<RoomFlag>,
        output: (SpareBytes, SpareBytes),
        bell: Bell,
        unpark: Arc<dyn Unpark>,
    ) -> Self {
        let (output_events, output_replies) = output;
        Self {
            events,
            replies,
            reply_room,
            event_room,
            output_events,
            output_replies,
            bell,
            unpark,
            blocked: false,
            deferred: false,
            steals: false,
            places: 0,
            unrung: false,
            gone: false,
            clients: Vec::new(),
        }
    }

    pub(super) const fn is_gone(&self) -> bool {
        self.gone
    }

    /// Gone, and nothing that the scheduler has still to say is meant for it.
    pub(super) const fn is_vacant(&self) -> bool {
        self.gone && self.places == 0
    }

    /// Whether a reply may be pushed. If not, the port will ring when there is room again.
    pub(super) fn has_reply_room(&mut self) -> bool {
        if self.blocked {
            return false;
        }
        if self.replies.has_room(1) {
            return true;
        }
        // Announce, then look again: the port may have drained in between.
        self.reply_room.want();
        // Nobody will ever make room in a ring without a reader, and nobody misses the reply.
        self.blocked = !self.replies.has_room(1) && !self.replies.is_closed();
        !self.blocked
    }

    /// Whether there is so much room that a reply of so many bytes may be pushed that can as well
    /// be dropped. Nobody waits for it.
    pub(super) fn has_spare_room(&mut self, bytes: usize) -> bool {
        let places = spare_room(self.replies.capacity());
        let is_open = !self.blocked && !self.gone;
        is_open && self.output_replies.has_room(bytes) && self.replies.has_room(places)
    }

    /// Passes a reply on, for which there is room.
    ///
    /// A port may be dropped at any moment, and its last events are handled all the same. What they
    /// are answered goes nowhere.
    pub(super) fn reply(&mut self, reply: Reply<P>) {
        self.unrung = true;
        let is_pushed = self.replies.push(reply).is_ok();
        assert!(
            is_pushed || self.replies.is_closed(),
            "a reply was sent without asking for room"
        );
    }

    /// Rings the port's bell if there are new replies.
    pub(super) fn ring(&mut self) {
        if self.unrung {
            self.unrung = false;
            self.bell.ring(REPLIES);
        }
    }

    /// Says that this worker's mailbox has something.
    pub(super) fn ring_for(&self, worker: WorkerId) {
        self.bell.ring(worker.0 + 1);
    }

    /// A client may say hello again without having been down.
    pub(super) fn remember_client(&mut self, client: ClientId) {
        if !self.clients.contains(&client) {
            self.clients.push(client);
        }
    }

    pub(super) fn forget_client(&mut self, client: ClientId) {
        self.clients.retain(|other| *other != client);
    }

    /// Marks the port as gone, and gives its last clients. The rings are freed, with the replies
    /// that nobody has read.
    pub(super) fn close(&mut self) -> Vec<ClientId> {
        self.gone = true;
        self.steals = false;
        self.events = ring(0).1;
        self.replies = ring(0).0;
        std::mem::take(&mut self.clients)
    }
}
