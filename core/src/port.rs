//! One port: who behind it has something to be told.

use crate::client::Turn;
use crate::list::{Link, List, linked};
use crate::worker::Control;

/// Role: the ports with replies due.
pub(crate) enum Due {}

/// One attachment to the driver.
#[derive(Debug)]
pub(crate) struct PortRecord {
    /// Workers with control replies due.
    pub(crate) control: List<Control>,
    /// Clients with outcomes due; the first is next.
    pub(crate) turns: List<Turn>,
    pub(crate) due: Link,
}

linked!(PortRecord, Due, due);

impl PortRecord {
    /// A port with nothing due.
    pub(crate) const fn new() -> Self {
        Self {
            control: List::new(),
            turns: List::new(),
            due: Link::UNLINKED,
        }
    }
}
