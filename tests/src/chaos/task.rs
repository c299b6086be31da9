//! Tasks: what the seed makes of each, the command that a worker is sent, and the result that it
//! must give.

use taskyard_core::{Outcome, Priority, Submit, Target, TaskId};
use taskyard_zmq::ZmqPayload;

use crate::sim::{Rng, mix};

/// Stands for a number that there is not.
pub(crate) const NONE: u64 = u64::MAX;

/// Where a task may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    Any,
    /// Only on the worker with this number.
    Named(u64),
    All,
}

/// All that there is to know of a task: client and task number give the same in every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) client: u64,
    pub(crate) task: u64,
    pub(crate) aim: Aim,
    /// Most starts.
    pub(crate) attempts: u8,
    pub(crate) run_ms: u64,
    pub(crate) fails: bool,
    pub(crate) start_within_ms: u32,
    pub(crate) finish_within_ms: u32,
    pub(crate) is_cancelled: bool,
    frames: usize,
    size: usize,
    salt: u64,
}

impl Spec {
    pub(crate) fn draw(seed: u64, workers: u64, client: u64, task: u64) -> Self {
        let salt = mix(seed ^ mix(client << 40 ^ task));
        let mut rng = Rng::new(salt);
        // A multicast is as many tasks as there are workers.
        let to_all = (240 / workers.max(1)).clamp(2, 20);
        let aim = match rng.below(1000) {
            drawn if drawn < to_all => Aim::All,
            0..150 => Aim::Named(rng.below(workers)),
            _ => Aim::Any,
        };
        let attempts = match aim {
            Aim::Any if rng.chance(650) => 3,
            _ => 1,
        };
        let (all, any) = (aim == Aim::All, aim == Aim::Any);
        Self {
            client,
            task,
            aim,
            attempts,
            run_ms: match rng.below(10) {
                0 => 0,
                1..9 => rng.between(1, 250),
                _ => rng.between(250, 1_000),
            },
            fails: rng.chance(30),
            start_within_ms: if any && rng.chance(40) { 300 } else { 0 },
            finish_within_ms: if any && rng.chance(30) { 800 } else { 0 },
            is_cancelled: !all && rng.chance(50),
            frames: if rng.chance(100) {
                rng.between(2, 5) as usize
            } else {
                1
            },
            size: match rng.below(1000) {
                0..100 => 0,
                100..960 => rng.below(300) as usize,
                960..998 => rng.below(40_000) as usize,
                // Where it goes to all, it goes as often as there are workers.
                _ if all => 5_000,
                _ => rng.below(1 << 20) as usize,
            },
            salt,
        }
    }

    pub(crate) fn name(&self) -> Option<String> {
        match self.aim {
            Aim::Named(worker) => Some(worker_name(worker)),
            _ => None,
        }
    }

    pub(crate) fn submit(&self) -> Submit {
        let target = match self.aim {
            Aim::All => Target::All,
            // The name, where there is one, is what counts.
            Aim::Any | Aim::Named(_) => Target::Any,
        };
        Submit::new(TaskId(self.task), target)
            .attempts(self.attempts)
            .priority(Priority::new((self.salt % Priority::COUNT as u64) as u8))
            .start_within_ms(self.start_within_ms)
            .finish_within_ms(self.finish_within_ms)
    }

    /// What is sent: a line for the worker, then bytes of which it knows nothing.
    pub(crate) fn payload(&self) -> ZmqPayload {
        let fails = u8::from(self.fails);
        let line = format!("{} {} {} {fails}\n", self.client, self.task, self.run_ms);
        in_frames(line.into_bytes(), &self.filler(), self.frames)
    }

    fn filler(&self) -> Vec<u8> {
        let mut rng = Rng::new(self.salt);
        let words = std::iter::repeat_with(|| rng.next().to_le_bytes());
        words.flatten().take(self.size).collect()
    }

    /// Whether this is what a worker must make of it, byte for byte.
    pub(crate) fn is_right(&self, result: &Read) -> bool {
        let expected = self.filler().into_iter().map(turned);
        result.frames == self.frames && expected.eq(result.filler.iter().copied())
    }
}

pub(crate) fn worker_name(number: u64) -> String {
    format!("w{number}")
}

/// What a worker does to each byte.
fn turned(byte: u8) -> u8 {
    byte ^ 0x5a
}

/// A payload taken apart.
#[derive(Debug)]
pub(crate) struct Read {
    /// The numbers of its first line.
    pub(crate) line: Vec<u64>,
    filler: Vec<u8>,
    frames: usize,
}

impl Read {
    /// `None` if it does not begin with a line of `numbers` numbers.
    pub(crate) fn of(payload: &ZmqPayload, numbers: usize) -> Option<Self> {
        let mut all = Vec::new();
        let mut frames = 0;
        for frame in payload.frames() {
            all.extend_from_slice(frame);
            frames += 1;
        }
        let end = all.iter().position(|&byte| byte == b'\n')?;
        let filler = all.split_off(end + 1);
        let line = std::str::from_utf8(&all[..end]).ok()?.split(' ');
        let line: Vec<u64> = line.map(str::parse).collect::<Result<_, _>>().ok()?;
        (line.len() == numbers).then_some(Self {
            line,
            filler,
            frames,
        })
    }

    /// The result for it, from this attempt of this worker.
    pub(crate) fn result(&self, worker: u64, boot: u64, handle: u64, attempt: u8) -> ZmqPayload {
        let line = format!("{worker} {boot} {handle} {attempt}\n");
        let filler: Vec<u8> = self.filler.iter().copied().map(turned).collect();
        in_frames(line.into_bytes(), &filler, self.frames)
    }
}

/// The line in the first frame; the bytes behind it, or in frames of their own if there are some.
fn in_frames(mut line: Vec<u8>, filler: &[u8], frames: usize) -> ZmqPayload {
    if frames <= 1 {
        line.extend_from_slice(filler);
        return ZmqPayload::from_bytes(&line);
    }
    let others = frames - 1;
    let each = filler.len() / others;
    let mut parts = vec![line];
    for index in 0..others {
        let end = if index + 1 == others {
            filler.len()
        } else {
            (index + 1) * each
        };
        parts.push(filler[index * each..end].to_vec());
    }
    ZmqPayload::from_frames(&parts).expect("a few frames")
}

/// An outcome as a number in a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerCode {
    Completed,
    Failed,
    WorkerLost,
    /// Provably never started.
    Unstarted,
    Cancelled,
    TimedOut,
    Refused,
    Summary,
    /// A refusal that no client of ours may get.
    Misunderstood,
}

impl AnswerCode {
    const ALL: [Self; 9] = [
        Self::Completed,
        Self::Failed,
        Self::WorkerLost,
        Self::Unstarted,
        Self::Cancelled,
        Self::TimedOut,
        Self::Refused,
        Self::Summary,
        Self::Misunderstood,
    ];

    pub(crate) fn of(outcome: Outcome) -> Self {
        use taskyard_core::Refusal;
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::Failed => Self::Failed,
            Outcome::WorkerLost => Self::WorkerLost,
            Outcome::Cancelled { started: false } => Self::Unstarted,
            Outcome::Cancelled { started: true } => Self::Cancelled,
            Outcome::TimedOut(_) => Self::TimedOut,
            Outcome::Summary { .. } => Self::Summary,
            Outcome::Refused(
                Refusal::TasksFull
                | Refusal::QuotaFull
                | Refusal::NoSuchName
                | Refusal::BytesFull
                | Refusal::MulticastTooWide,
            ) => Self::Refused,
            _ => Self::Misunderstood,
        }
    }

    pub(crate) fn read(code: u64) -> Self {
        let index = usize::try_from(code).ok();
        let code = index.and_then(|index| Self::ALL.get(index));
        *code.unwrap_or(&Self::Misunderstood)
    }

    pub(crate) fn code(self) -> u64 {
        self as u64
    }
}

/// What a client found in a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quality {
    Wrong,
    Right,
    /// There was none.
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_right_byte_for_byte() {
        for task in 0..300 {
            let spec = Spec::draw(7, 60, 1, task);
            let sent = Read::of(&spec.payload(), 4).expect("a command");
            assert_eq!(sent.line[..2], [1, task]);
            let mut result = Read::of(&sent.result(3, 4, 5, 1), 4).expect("a result");
            assert!(spec.is_right(&result), "{spec:?}");
            if let Some(byte) = result.filler.last_mut() {
                *byte ^= 1;
                assert!(!spec.is_right(&result), "{spec:?}");
            }
        }
    }

    #[test]
    fn codes_are_read_as_they_were_written() {
        for code in AnswerCode::ALL {
            assert_eq!(AnswerCode::read(code.code()), code);
        }
    }
}
