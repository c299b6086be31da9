//! What a client asks for: a submit as the scheduler takes it, or why it cannot be taken.

use taskyard_core::{Refusal, Submit, Target, TaskId, WorkerId};
use taskyard_dispatcher::{Payload, Port};

use crate::codes::Topic;
use crate::labels::is_label;
use crate::sessions::SessionStats;
use crate::wire::{Flags, Header, Message};

/// The submit that a message stands for.
pub(crate) fn read_submit<P: Payload>(
    message: &Message<'_>,
    port: &Port<P>,
) -> Result<Submit, Refusal> {
    let Header {
        id,
        worker,
        attempt,
        code,
        flags,
        ..
    } = message.header;
    let target = match Topic::from_code(code).ok_or(Refusal::Malformed)? {
        Topic::Any => Target::Any,
        Topic::Worker => Target::Worker(WorkerId(worker)),
        Topic::Named => Target::Named(port.name_key(message.name.ok_or(Refusal::Malformed)?)),
        Topic::Label => {
            let label = message.name.filter(|label| is_label(label));
            Target::Label(port.label_key(label.ok_or(Refusal::Malformed)?))
        }
        Topic::All => Target::All,
    };
    let (start_within_ms, finish_within_ms) = message.deadlines.unwrap_or_default();
    let options = message.options.unwrap_or_default();
    let default = Submit::new(TaskId(id), target);
    Ok(Submit {
        attempts_max: if attempt == 0 {
            default.attempts_max
        } else {
            attempt
        },
        start_within_ms,
        finish_within_ms,
        priority: options.priority,
        retries_on_failure: options.retries,
        hold_ms: options.hold_ms,
        resent: flags.has(Flags::RESENT),
        ..default
    })
}

/// Takes note of a submit that the sessions refuse by themselves.
pub(crate) fn count_refusal(refusal: Refusal, stats: &mut SessionStats) {
    match refusal {
        Refusal::PayloadTooLarge => stats.payload_refused += 1,
        _ => stats.malformed += 1,
    }
}
