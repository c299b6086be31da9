//! Queue control from another process: of a client's own tasks, and with the operator's key of all.

use std::time::{Duration, Instant};

use taskyard_protocol::remote::ClientEvent;
use taskyard_protocol::{Answer, ControlOrder, WorkerDescription};

use super::RemoteClient;
use crate::Error;

impl RemoteClient {
    /// Asks or orders something, and returns the number of the question: a
    /// [`ClientEvent::Controlled`] with the same number answers it, unless the connection breaks
    /// before. `None` if there is no session now, or a name in it is none: nothing was sent.
    pub fn control(&mut self, order: ControlOrder<'_>) -> Option<u64> {
        self.question += 1;
        let sent = self.state.control(self.question, order, self.link.wire());
        sent.then_some(self.question)
    }

    /// Asks or orders something and waits for the answer; on a new connection it asks again. What
    /// else comes meanwhile is kept for [`poll`](Self::poll) and [`wait`](Self::wait).
    ///
    /// # Errors
    /// [`Error::Unanswered`] after this time; [`Error::Name`] if a name in it is none; else as for
    /// [`poll`](Self::poll).
    pub fn ask(&mut self, order: ControlOrder<'_>, timeout: Duration) -> Result<Answer, Error> {
        Ok(self.ask_described(order, timeout)?.0)
    }

    /// As [`ask`](Self::ask); with the names and labels of the workers, if the answer is a list of
    /// workers, in its order.
    ///
    /// # Errors
    /// As for [`ask`](Self::ask).
    pub fn ask_described(
        &mut self,
        order: ControlOrder<'_>,
        timeout: Duration,
    ) -> Result<(Answer, Vec<WorkerDescription>), Error> {
        if let Some(name) = order.name()
            && order.write(0).is_none()
        {
            return Err(Error::Name(name.len()));
        }
        let due = Instant::now() + timeout;
        let mut asked = None;
        loop {
            asked = asked.or_else(|| self.control(order));
            match self.wait_until(due)? {
                Some(ClientEvent::Controlled {
                    question,
                    answer,
                    workers,
                }) if asked == Some(question) => return Ok((answer, workers)),
                Some(event) => {
                    if matches!(event, ClientEvent::Welcome { .. }) {
                        asked = None;
                    }
                    self.aside.push(event);
                }
                None => return Err(Error::Unanswered { waited: timeout }),
            }
        }
    }
}
